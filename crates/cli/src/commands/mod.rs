//! The commands, one file each.

mod bench;
mod calibrate;
mod chat;
mod completions;
mod eval;
mod inspect;
mod plan;
mod pull;
mod quantize;
mod recipe;
mod run;
mod score;
mod serve;
mod synthesize;
mod tasks;
mod train;
mod verify;

use std::process::ExitCode;

pub(crate) use serve::with_config;

use clap::Subcommand;

/// What `ruminate` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Talk with a model.
    Chat(chat::Args),
    /// Answer one prompt and exit.
    Run(run::Args),
    /// Serve a model to many, over HTTP.
    Serve(Box<serve::Args>),
    /// Say what a model is, what it costs and whether it fits.
    Inspect(inspect::Args),
    /// Give the log-probability of each token of a text.
    Score(score::Args),
    /// Measure a model beside what this machine could do.
    Bench(bench::Args),
    /// Find where thinking in auto begins and ends, on questions with known answers.
    Calibrate(calibrate::Args),
    /// Answer questions with known answers: how many are right, and what thinking costs.
    Eval(Box<eval::Args>),
    /// Say what a model will do and earn on given machines.
    Plan(plan::Args),
    /// Download a model from the hub.
    Pull(pull::Args),
    /// Write a model to a GGUF file of another type.
    Quantize(quantize::Args),
    /// Make up a model: a true shape, random weights.
    Synthesize(synthesize::Args),
    /// Make a model from nothing, stage by stage.
    Recipe(recipe::Args),
    /// Make up questions with answers, to learn from or to be asked.
    Tasks(tasks::Args),
    /// Train a model: by example, or by answers that can be checked.
    Train(train::Args),
    /// Score what a model wrote, line by line.
    Verify(verify::Args),
    /// Print a script that completes commands in a shell.
    Completions(completions::Args),
}

impl Command {
    /// Runs the command; its exit code where that is not simply success.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Chat(args) => chat::run(&args),
            Command::Run(args) => run::run(args),
            Command::Serve(args) => serve::run(&args),
            Command::Inspect(args) => inspect::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Score(args) => score::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Calibrate(args) => calibrate::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Eval(args) => eval::run(&args),
            Command::Plan(args) => plan::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Pull(args) => pull::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Quantize(args) => quantize::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Synthesize(args) => synthesize::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Recipe(args) => recipe::run(&args),
            Command::Tasks(args) => tasks::run(&args),
            Command::Train(args) => train::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Completions(args) => completions::run(&args).map(|()| ExitCode::SUCCESS),
        }
    }
}
