//! Commands with what they say, as documents show them.

/// Text with what may differ made equal: numbers, names in quotes after `node` and `device`, names
/// of days and months, and how lines are broken.
fn shape(text: &str) -> String {
    const CALENDAR: [&str; 19] = [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun",
        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut shape: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let named = shape.last().is_some_and(|last| last == "node" || last == "device");
        shape.push(match word {
            word if CALENDAR.contains(&word) => "DATE".to_owned(),
            word if named && word.starts_with('\'') => "NAME".to_owned(),
            word => without_numbers(word),
        });
    }
    shape.join(" ")
}

/// Every number, also one with a point or in hexadecimal, as one `N`.
fn without_numbers(word: &str) -> String {
    let mut shape = String::new();
    let (mut inside, mut hexadecimal) = (false, false);
    let mut characters = word.chars().peekable();
    while let Some(c) = characters.next() {
        let goes_on = inside && (c == '.' && characters.peek().is_some_and(char::is_ascii_digit));
        if c.is_ascii_digit() || goes_on || (hexadecimal && c.is_ascii_hexdigit()) {
            if !inside {
                shape.push('N');
            }
            inside = true;
        } else if inside && c == 'x' && !hexadecimal {
            hexadecimal = true;
        } else {
            (inside, hexadecimal) = (false, false);
            shape.push(c);
        }
    }
    shape
}

/// The commands of a transcript, each with the lines that continue it.
fn commands(transcript: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut continued = false;
    for line in transcript.lines() {
        if let Some(command) = line.strip_prefix("# ") {
            commands.push(command.to_owned());
        } else if continued {
            *commands.last_mut().expect("a command before") += &format!("\n{line}");
        }
        continued = line.ends_with('\\') && (continued || line.starts_with("# "));
    }
    assert!(!commands.is_empty(), "no prompt: {transcript}");
    commands
}

/// A script that types the commands of a transcript and shows them.
pub(super) fn script(transcript: &str) -> String {
    let mut script = "exec 2>&1\nstatus=0\n".to_owned();
    for command in commands(transcript) {
        let quoted = command.replace('\'', "'\\''");
        // `$?` is the command's before.
        script += &format!("printf '%s\\n' '# {quoted}'\n(exit $status)\n{command}\nstatus=$?\n");
    }
    script
}

#[track_caller]
pub(super) fn assert_like(said: &str, documented: &str) {
    assert_eq!(shape(said), shape(documented), "\nsaid:\n{said}\ndocumented:\n{documented}");
}

/// What may differ is taken as equal, and what may not is told.
pub(super) fn tells() {
    let documented = "# mmpcheck d\nd: in use by node 'a' device 'b' at Sun Nov 22 03:12:49 2026: \
                      changed within\n4.1 s";
    assert_like(&documented.replace("4.1", "0.25").replace("'a'", "'xyz'"), documented);
    assert_like(
        &documented.replace("Sun Nov", "Wed May").replace("within\n", "within "),
        documented,
    );
    assert_eq!(shape("0x1fe2 12 s"), "N N s");
    for (old, new) in [("in use", "free"), ("4.1 s", "4.1 min"), ("node", "nodes"), ("d:", "e:")] {
        assert_ne!(shape(&documented.replace(old, new)), shape(documented), "{old}");
    }
    let script = script("# false\n# echo $? \\\n  b\n1 b\n# echo 'c'\nc\n");
    let said = super::stage::shell(&script);
    assert_eq!(said.out, "# false\n# echo $? \\\n  b\n1 b\n# echo 'c'\nc\n");
}
