//! The part of JSON Schema (draft 2020-12) that docs/json-schema.json uses, and stricter: a field
//! that the schema does not name is an error. A keyword that is not known here is one, too.

use serde_json::Value;

/// Asserts that `document` is what docs/json-schema.json says.
#[track_caller]
pub(crate) fn assert_valid(document: &Value) {
    let root: Value =
        serde_json::from_str(include_str!("../../docs/json-schema.json")).expect("JSON");
    let faults = Schema { root: &root }.faults(&root, document, "");
    assert!(faults.is_empty(), "{faults:#?} in {document:#}");
}

struct Schema<'a> {
    root: &'a Value,
}

impl Schema<'_> {
    fn faults(&self, schema: &Value, value: &Value, place: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |fine: bool, why: String| {
            if !fine {
                faults.push(format!("{place}: {why}"));
            }
        };
        let mut deeper = Vec::new();
        for (keyword, rule) in schema.as_object().expect("an object") {
            match keyword.as_str() {
                "$schema" | "title" | "description" | "$defs" => {}
                "$ref" => {
                    let pointer = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("local");
                    let target = self.root.pointer(pointer).expect("a definition");
                    deeper.extend(self.faults(target, value, place));
                }
                "oneOf" => {
                    let all = rule.as_array().expect("an array").iter();
                    let tries: Vec<_> = all.map(|one| self.faults(one, value, place)).collect();
                    let fitting = tries.iter().filter(|faults| faults.is_empty()).count();
                    // The nearest miss is the one that was meant.
                    let nearest = tries.iter().min_by_key(|faults| faults.len());
                    check(fitting == 1, format!("{fitting} fit; {nearest:#?}"));
                }
                "const" => check(value == rule, format!("{value} is not {rule}")),
                "enum" => {
                    let fits = rule.as_array().expect("an array").contains(value);
                    check(fits, format!("{value} is none of {rule}"));
                }
                "type" => check(is_a(value, rule), format!("{value} is no {rule}")),
                "minimum" => {
                    let fits = value.as_f64() >= rule.as_f64();
                    check(fits, format!("{value} is less than {rule}"));
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        deeper.extend(self.faults(rule, item, &format!("{place}/{index}")));
                    }
                }
                "required" => {
                    for name in rule.as_array().expect("an array") {
                        let name = name.as_str().expect("a name");
                        check(value.get(name).is_some(), format!("{name} is missing"));
                    }
                }
                "properties" => {
                    for (name, field) in value.as_object().into_iter().flatten() {
                        match rule.get(name) {
                            Some(rule) => {
                                deeper.extend(self.faults(rule, field, &format!("{place}/{name}")));
                            }
                            None => check(false, format!("{name} is not in the schema")),
                        }
                    }
                }
                other => panic!("{other}: no such keyword"),
            }
        }
        faults.extend(deeper);
        faults
    }
}

fn is_a(value: &Value, kind: &Value) -> bool {
    if let Some(kinds) = kind.as_array() {
        return kinds.iter().any(|kind| is_a(value, kind));
    }
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("{other}: no such type"),
    }
}
