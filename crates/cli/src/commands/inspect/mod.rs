//! `ruminate inspect`: what a model is, what it costs and whether it fits; or two side by side.
//!
//! Only headers are read: a model larger than memory is described as well as a small one.

mod compare;
mod describe;
mod table;

use std::io::{self, Write};
use std::path::Path;

use engine::KvType;

use crate::args;
use crate::terminal::locate;
use describe::Description;

const EXAMPLES: &str = "\
Examples:
  ruminate inspect ./model.gguf
  ruminate inspect ./qwq-32b.gguf ./deepseek-r1.gguf --context 0,8192,65536
  ruminate inspect ./model.gguf --json | jq .parameters.active
  ruminate inspect --header ./first-megabytes.gguf

Bytes are those of the tensors that a token is multiplied with, each in its own type.
For a batch they are shared by its tokens; of experts, the distinct ones that even routing takes.";

/// Arguments of `inspect`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// One model, or two to set side by side: a GGUF file, a folder, or a name on the hub.
    #[arg(value_name = "MODEL", required = true, num_args = 1..=2)]
    models: Vec<String>,
    /// Batches for which bytes a token are reckoned.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = args::positive,
          default_values_t = [1, 8, 32, 128])]
    batch: Vec<usize>,
    /// Cached tokens for which bytes and operations are reckoned.
    #[arg(long, value_name = "N,N", value_delimiter = ',',
          default_values_t = [0, 4096, 32768])]
    context: Vec<u64>,
    /// How cached keys and values are stored: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", value_parser = args::kv_type, default_value = "f16")]
    kv_type: KvType,
    /// Memory to fit into, such as 8GiB [default: what is available].
    #[arg(long, value_name = "SIZE", value_parser = args::bytes)]
    memory: Option<u64>,
    /// The file is the beginning of a GGUF file: its tensors need not be there.
    #[arg(long)]
    header: bool,
    /// Print JSON: an object, or for two models their objects and the comparison.
    #[arg(long)]
    json: bool,
}

/// Prints what the models are.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let descriptions = args.models.iter().map(|model| describe(args, model));
    let descriptions = descriptions.collect::<anyhow::Result<Vec<_>>>()?;
    let mut out = io::stdout().lock();
    match &descriptions[..] {
        [one] if args.json => writeln!(out, "{:#}", one.json())?,
        [one] => write!(out, "{}", table::one(one))?,
        [a, b] => {
            let comparison = compare::Comparison::new([a, b], &a.batches, &a.contexts);
            if args.json {
                let models = [a.json(), b.json()];
                let both = serde_json::json!({ "models": models, "comparison": comparison.json() });
                writeln!(out, "{both:#}")?;
            } else {
                write!(out, "{}", table::two([a, b]))?;
                for sentence in comparison.sentences() {
                    writeln!(out, "\n{sentence}")?;
                }
            }
        }
        _ => unreachable!("clap takes one model or two"),
    }
    Ok(())
}

fn describe(args: &Args, model: &str) -> anyhow::Result<Description> {
    if args.header {
        return Description::new(&formats::open_header(Path::new(model))?, None, args);
    }
    let checkpoint = formats::open(&locate::path_of(model)?)?;
    Description::new(&checkpoint.header()?, Some(&checkpoint), args)
}
