//! The commands, one file each.

mod inspect;
mod run;

use clap::Subcommand;

/// What `ruminate` can do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Answer one prompt and exit.
    Run(run::Args),
    /// Say what a model is, what it costs and whether it fits.
    Inspect(inspect::Args),
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Command::Run(args) => run::run(args),
            Command::Inspect(args) => inspect::run(args),
        }
    }
}
