//! The `ruminate` command: flags, files and the terminal around the engine.
//!
//! One file a command in `commands/`. Not here: anything that another program would want to call.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::Parser;

use commands::Command;

/// An engine for open reasoning models.
#[derive(Parser)]
#[command(name = "ruminate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// The one line that a failure gets.
#[expect(clippy::print_stderr, reason = "this is where errors go")]
fn report(error: &anyhow::Error) {
    eprintln!("ruminate: {error:#}");
}
