//! The `ruminate` command: flags, files and the terminal around the engine.
//!
//! One file a command in `commands/`; what several of them share is in `args`, `session` and
//! `terminal/`. Not here: anything that another program would want to call.
//!
//! Invariants: stdout carries what was asked for and nothing else; a failure is one line on stderr
//! that names the fault, and an exit code: 2 for flags that cannot be, 130 for Ctrl-C, else 1.

#![forbid(unsafe_code)]

mod args;
mod asking;
mod built_in;
mod commands;
mod questions;
mod roofs;
mod run_page;
mod sandbox;
mod session;
mod terminal;
mod thresholds;

use std::panic::PanicHookInfo;
use std::process::{self, ExitCode};

use clap::{CommandFactory, Parser};

use commands::Command;

/// An engine for open reasoning models.
#[derive(Parser)]
#[command(name = "ruminate", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ruminate chat                                    Talk with the tiny built-in model
  ruminate chat Qwen/Qwen3-8B-GGUF:Q4_K_M          Talk with a model of the hub
  ruminate run ./model.gguf \"Why is the sky blue?\"  Ask a model on this machine once
  git diff | ruminate run ./model.gguf \"Review:\"    Ask about what a pipe brings
  ruminate serve ./model.gguf                      Serve it over HTTP, as OpenAI does
  ruminate pull Qwen/Qwen3-8B-GGUF:Q4_K_M          Download, and say where to

Environment:
  HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE  As Python's huggingface_hub reads them
  RUMINATE_ISA                                    Compute with scalar, avx2, avx512 or amx
  NO_COLOR                                        No escape sequences";

fn main() -> ExitCode {
    // Before anything else: this process may be a stage of the sandbox, which starts no thread.
    sandbox::become_child_if_told();
    std::panic::set_hook(Box::new(panicked));
    let isa = simd::Best::try_detect().map_err(anyhow::Error::from);
    match isa.and_then(|_| command()).and_then(Command::run) {
        Ok(code) => code,
        Err(error) if terminal::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::notice(&line(&error));
            let usage = error.chain().any(|cause| cause.is::<args::Usage>());
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// What the command line asks for, with what a file and the environment add to it.
fn command() -> anyhow::Result<Command> {
    let line = std::env::args_os().collect();
    let line = commands::with_config(&Cli::command(), line, |name| std::env::var_os(name))?;
    Ok(Cli::parse_from(line).command)
}

/// An error and its causes on one line. Many errors quote their cause: it's said once.
fn line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line += &format!(": {cause}");
        }
    }
    line.replace('\n', " ")
}

/// A panic of any thread is a bug, and ends the program with one line.
fn panicked(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let what = info.payload_as_str().unwrap_or("something went wrong").replace('\n', " ");
    terminal::notice(&format!("a bug at {place}: {what}"));
    process::exit(101);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line a flag: the command, the flag, its default.
    fn flags(command: &clap::Command, path: &str, lines: &mut Vec<String>) {
        for arg in command.get_arguments() {
            let values = arg.get_value_names().unwrap_or_default().join(" ");
            let name = match (arg.get_long(), arg.get_action().takes_values()) {
                (Some(long), true) => format!("--{long} {values}"),
                (Some(long), false) => format!("--{long}"),
                (None, _) => values,
            };
            let defaults: Vec<_> =
                arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let default = if defaults.is_empty() || !arg.get_action().takes_values() {
                String::new()
            } else {
                format!(" = {}", defaults.join(","))
            };
            lines.push(format!("{path} {name}{default}"));
        }
        for command in command.get_subcommands() {
            flags(command, &format!("{path} {}", command.get_name()), lines);
        }
    }

    #[test]
    fn the_flags_are_those_of_flags_txt() {
        let mut lines = Vec::new();
        flags(&Cli::command(), "ruminate", &mut lines);
        let found = lines.join("\n") + "\n";
        let expected = include_str!("../tests/flags.txt");
        assert!(found == expected, "crates/cli/tests/flags.txt should read:\n{found}");
    }

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_cause_that_is_quoted_is_said_once() {
        let cause = anyhow::anyhow!("no room");
        let quoted = cause.context("disk: no room");
        assert_eq!(line(&quoted), "disk: no room");
        let unquoted = anyhow::anyhow!("no\nroom").context("disk");
        assert_eq!(line(&unquoted), "disk: no room");
    }
}
