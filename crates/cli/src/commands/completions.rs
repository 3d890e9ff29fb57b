//! `ruminate completions`: what a shell needs to complete commands and flags.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::Cli;

const EXAMPLES: &str = "\
Examples:
  ruminate completions bash > ~/.local/share/bash-completion/completions/ruminate
  ruminate completions zsh > ~/.zfunc/_ruminate
  ruminate completions fish > ~/.config/fish/completions/ruminate.fish";

/// Arguments of `completions`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell to write for.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for a shell.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // Into memory first: clap_complete panics if its output is closed.
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "ruminate", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
