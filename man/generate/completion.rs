//! Completions for bash, zsh and fish.

use std::path::PathBuf;

use clap::{Command, ValueHint};
use clap_complete::{Shell, generate};

/// Values that options are known to take, beside others: program, its command, option, values. They
/// are not in the parsers, which would then take nothing else.
pub(crate) const VALUES: [(&str, Option<&str>, &str, &[&str]); 5] = [
    ("mmptune", None, "features", &["mmp", "^mmp"]),
    ("mmptune", None, "extended", &["mmp_update_interval=", "clear_mmp"]),
    ("mmprun", None, "fence", &["watchdog", "sysrq"]),
    ("mmpd", Some("hold"), "fence", &["watchdog", "sysrq"]),
    ("mmpd", Some("hold"), "on_loss", &["exit", "report"]),
];

/// Each file's place below share/, and its text. `mount.mmp` is called by mount(8), never typed.
pub(crate) fn all() -> Vec<(PathBuf, Vec<u8>)> {
    let programs = || mmp::cli::commands().into_iter().filter(|c| c.get_name() != "mount.mmp");
    let shells = [
        (Shell::Bash, "bash-completion/completions/NAME"),
        (Shell::Zsh, "zsh/site-functions/_NAME"),
        (Shell::Fish, "fish/vendor_completions.d/NAME.fish"),
    ];
    let file = |command: Command, (shell, place): (Shell, &str)| {
        let name = command.get_name().to_owned();
        let mut command = with_values(command, shell);
        let mut text = Vec::new();
        generate(shell, &mut command, &name, &mut text);
        (place.replace("NAME", &name).into(), text)
    };
    shells.into_iter().flat_map(|shell| programs().map(move |c| file(c, shell))).collect()
}

/// The command, with the values that its options are known to take.
fn with_values(mut command: Command, shell: Shell) -> Command {
    let name = command.get_name().to_owned();
    for (_, form, option, values) in VALUES.into_iter().filter(|(program, ..)| *program == name) {
        let quoted = |value: &&'static str| match (shell, *value) {
            // zsh takes the words of a list for patterns.
            (Shell::Zsh, "^mmp") => "'^mmp'",
            (_, value) => value,
        };
        let words: Vec<_> = values.iter().map(quoted).collect();
        // No space after what goes on.
        let goes_on = values.iter().any(|value| value.ends_with('='));
        let hint = if goes_on { ValueHint::Other } else { ValueHint::Unknown };
        let offer = |form: Command| {
            form.mut_arg(option, |option| option.value_parser(words).value_hint(hint))
        };
        command = match form {
            Some(form) => command.mut_subcommand(form, offer),
            None => offer(command),
        };
    }
    command
}
