//! `ruminate quantize`: a model into a GGUF file of another type.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use convert::{Options, Summary, Target};
use engine::memory;
use par::Pool;
use quant::QuantType;

use crate::args::threads;
use crate::terminal::{bars, locate};

const EXAMPLES: &str = "\
Examples:
  ruminate quantize Qwen/Qwen3-8B qwen3-8b.gguf --type q4_k_m
  ruminate quantize ./checkpoint model.gguf --type q8_0 --keep-output f16
  ruminate quantize model-bf16.gguf model-q4_k.gguf --type q4_k --threads 8

Norms, biases and routers stay in F32. Rows that are not whole blocks of the type get one of shorter
blocks, as in llama.cpp.";

/// Arguments of `quantize`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A GGUF file, a folder, or a name on the hub: org/repo or org/repo:Q4_K_M.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The file to write.
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// What matrices become: a type such as q8_0, or a mixture: q4_k_s, q4_k_m, q5_k_s or q5_k_m.
    #[arg(long = "type", value_name = "TYPE", value_parser = target)]
    target: Target,
    /// The type of the output head [default: TYPE; q6_k in a mixture].
    #[arg(long, value_name = "TYPE", value_parser = quant_type)]
    keep_output: Option<QuantType>,
    /// Threads to compute with [default: one a processor].
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
    /// Replace a file that is there already.
    #[arg(long)]
    force: bool,
}

/// Writes the file and says what it holds.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let source = locate::path_of(&args.model)?;
    let pool = Pool::new(args.threads.unwrap_or_else(Pool::threads_available));
    let options = Options { target: args.target, head: args.keep_output, replace: args.force };
    let bar = bars::making("Quantizing");
    let started = Instant::now();
    let progress = |done, total| bars::advance(&bar, done, total);
    let summary = convert::quantize(&source, &args.out, &options, &pool, &progress);
    bar.finish_and_clear();
    report(&args.out, &summary?, started.elapsed())
}

/// Says what a new file holds.
pub(crate) fn report(out: &Path, summary: &Summary, took: Duration) -> anyhow::Result<()> {
    let mut to = io::stdout();
    let bytes = memory::bytes(summary.bytes);
    let (bits, seconds) = (summary.bits_per_weight(), took.as_secs_f64());
    writeln!(to, "{}: {bytes}, {bits:.2} bits a weight, {seconds:.1} s", out.display())?;
    for (ty, (n, bytes)) in &summary.types {
        writeln!(to, "  {:8} {n:5} tensors {:>10}", ty.name(), memory::bytes(*bytes))?;
    }
    let Some(first) = summary.fell_back.first() else { return Ok(()) };
    writeln!(
        to,
        "{} tensors fell back to types of shorter blocks, among them {}: its rows of {} are {}, \
         not {}",
        summary.fell_back.len(),
        first.name,
        first.columns,
        first.quant.name(),
        first.wished.name()
    )
    .context("cannot print")
}

/// A type or a mixture.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let known = || Target::names().collect::<Vec<_>>().join(", ");
    Target::from_name(text).ok_or_else(|| format!("no type of GGUF (known: {})", known()))
}

fn quant_type(text: &str) -> Result<QuantType, String> {
    QuantType::from_name(text)
        .filter(|ty| ty.ggml_id().is_some())
        .ok_or_else(|| "no type of GGUF: q6_k, q8_0 and f16 are".into())
}
