//! `ruminate synthesize`: a model with a true shape and random weights.

use std::path::PathBuf;
use std::time::Instant;

use convert::{Shape, Source, Synthetic, Target};
use par::Pool;

use super::quantize::{report, target};
use crate::args::{Usage, positive, threads};
use crate::terminal::bars;

const EXAMPLES: &str = "\
Examples:
  ruminate synthesize deepseek-r1 r1.gguf --type q4_0 --layers 3
  ruminate synthesize deepseek-v2-lite lite.gguf --type q4_0
  ruminate synthesize --header distill-qwen-7b.gguf distill.gguf

What the weights say is noise; how fast they say it is not.";

/// Arguments of `synthesize`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A known model's shape, such as deepseek-r1 or qwq-32b, and the file to write; the file alone
    /// with --header.
    #[arg(value_names = ["SHAPE", "OUT.gguf"], num_args = 1..=2, required = true)]
    what: Vec<String>,
    /// What matrices become; a header says it itself.
    #[arg(long = "type", value_name = "TYPE", value_parser = target,
          required_unless_present = "header", conflicts_with = "header")]
    target: Option<Target>,
    /// As many layers as this, instead of all.
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "header")]
    layers: Option<usize>,
    /// With the layer that predicts the token after next, where the model has one.
    #[arg(long, conflicts_with = "header")]
    next_token: bool,
    /// A GGUF file whose keys and table of tensors to take; its data need not be there.
    #[arg(long, value_name = "FILE")]
    header: Option<PathBuf>,
    /// The same seed gives the same file.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Threads to compute with [default: one a processor].
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,
}

/// Writes the file and says what it holds.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (source, out) = match (&args.what[..], &args.header, args.target) {
        ([out], Some(header), _) => (Source::Header(header), PathBuf::from(out)),
        ([name, out], None, Some(target)) => {
            let (layers, next_token) = (args.layers, args.next_token);
            (Source::Shape(Shape { name, target, layers, next_token }), PathBuf::from(out))
        }
        (_, Some(_), _) => anyhow::bail!(Usage("--header takes the file to write alone".into())),
        _ => anyhow::bail!(Usage("give a shape and the file to write".into())),
    };
    let pool = Pool::new(args.threads.unwrap_or_else(Pool::threads_available));
    let what = Synthetic { source, seed: args.seed, replace: args.force };
    let bar = bars::making("Making up");
    let started = Instant::now();
    let progress = |done, total| bars::advance(&bar, done, total);
    let summary = convert::synthesize(&what, &out, &pool, &progress);
    bar.finish_and_clear();
    report(&out, &summary?, started.elapsed())
}
