//! Completions for bash, zsh and fish.

use std::path::PathBuf;

use clap_complete::{Shell, generate};

/// Each file's place below share/, and its text. `mount.mmp` is called by mount(8), never typed.
pub(crate) fn all() -> Vec<(PathBuf, Vec<u8>)> {
    let programs = || mmp::cli::commands().into_iter().filter(|c| c.get_name() != "mount.mmp");
    let shells = [
        (Shell::Bash, "bash-completion/completions/NAME"),
        (Shell::Zsh, "zsh/site-functions/_NAME"),
        (Shell::Fish, "fish/vendor_completions.d/NAME.fish"),
    ];
    let file = |mut command: clap::Command, (shell, place): (Shell, &str)| {
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        generate(shell, &mut command, &name, &mut text);
        (place.replace("NAME", &name).into(), text)
    };
    shells.into_iter().flat_map(|shell| programs().map(move |c| file(c, shell))).collect()
}
