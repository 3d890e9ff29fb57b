//! `ruminate inspect`: what a model is.

use std::path::PathBuf;

use anyhow::Context;

/// Arguments of `inspect`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A file or folder of a model.
    model: PathBuf,
}

/// Prints the family and the counts of a model.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let checkpoint = formats::open(&args.model)?;
    let spec = spec::ModelSpec::from_config(&checkpoint.config)
        .with_context(|| args.model.display().to_string())?;
    let count = spec.cost().parameters();
    println!("{} {} parameters, {} active", spec.family, count.total, count.active);
    Ok(())
}
