//! `ruminate bench`: how fast a model runs here, beside how fast this machine could run it.

mod cases;
mod load;
mod pace;
mod report;
mod roofs;

use std::io::{self, Write};

use anyhow::Context;
use engine::{CacheSize, KvType, Model, Options, Plan};
use formats::{Access, Checkpoint};
use model::{Kv, Limits};
use par::Pool;
use simd::Best;
use spec::ModelSpec;

use crate::args;
use crate::terminal::{bars, locate, remark};
use cases::{Bench, Case};
use report::Row;
use roofs::Roofs;

const EXAMPLES: &str = "\
Examples:
  ruminate bench ./model.gguf
  ruminate bench ./model.gguf --prompt 512 --decode 128 --streams 1,8,32 --threads 1,2
  ruminate bench ./model.gguf --prompt 0 --context 0,4096 --json
  ruminate bench ./model.gguf --prompt 0 --decode 0 --crowd 8:32+16,32:128+128

Every case is checked before its clock starts: finite logits, and the same bits as one stream gets
alone on one thread. The share of the roof is that of the binding one: the bytes that must be read
over the measured read bandwidth, or the operations over the measured peaks of their types.
Where latent attention has a cheaper form for prompts, which gives up that its bits are those of
decoding, prompts are measured in it too.
A prompt or decode length of 0 leaves these cases out. Docs: docs/performance.md.";

/// Arguments of `bench`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// A GGUF file, a folder, or a name on the hub: org/repo or org/repo:Q4_K_M.
    #[arg(value_name = "MODEL", required = true)]
    model: Option<String>,
    /// Tokens of a prompt.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [512])]
    prompt: Vec<usize>,
    /// Tokens that each stream decodes.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [128])]
    decode: Vec<usize>,
    /// Streams that decode together.
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = args::positive,
          default_values_t = [1])]
    streams: Vec<usize>,
    /// Tokens in each stream's cache before it decodes.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [0])]
    context: Vec<usize>,
    /// Streams that start empty: how many, tokens of their prompts and of their answers.
    #[arg(long, value_name = "B:IN+OUT,…", value_delimiter = ',', value_parser = cases::crowd)]
    crowd: Vec<Case>,
    /// Threads to compute with [default: one a processor].
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = args::positive)]
    threads: Vec<usize>,
    /// Times that a case runs; the median counts.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 5)]
    runs: usize,
    /// How cached keys and values are stored: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", value_parser = args::kv_type, default_value = "f16")]
    kv_type: KvType,
    /// Memory to stay within, such as 8GiB [default: what is available].
    #[arg(long, value_name = "SIZE", value_parser = args::bytes)]
    memory: Option<u64>,
    /// Print a JSON list of the cases.
    #[arg(long)]
    json: bool,
    /// Say "ready" before each run and wait for a line on stdin: for measuring in turn with others.
    #[arg(long, requires = "json")]
    paced: bool,
}

/// What else is measured.
#[derive(clap::Subcommand)]
enum Other {
    /// Put a load on a running server.
    Serve(load::Args),
}

/// Prompt tokens that a step takes.
const TOKENS_PER_STEP: usize = 512;

/// Measures the roofs, then each case under them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Other::Serve(args)) = &args.other {
        return load::run(args);
    }
    let threads = match &args.threads[..] {
        [] => vec![Pool::threads_available()],
        given => given.to_vec(),
    };
    let cases = Case::list(args);
    let best = Best::detect();
    // Before loading: the numbers that are read for it would lie beside the model.
    let pools: Vec<Pool> = threads.iter().map(|&threads| Pool::new(threads)).collect();
    let roofs: Vec<Roofs> = pools.iter().map(|pool| Roofs::measure(best, pool)).collect();
    let model = args.model.as_deref().expect("an argument that must be there");
    let checkpoint = formats::open_with(&locate::path_of(model)?, Access::Map)?;
    let Model { mut decoder, mut kv, .. } = load(args, &checkpoint, &cases)?;
    for (pool, roofs) in pools.iter().zip(&roofs) {
        let line = roofs.line(best, pool.threads());
        if args.json && !args.paced {
            remark(&line)
        } else {
            writeln!(io::stdout(), "{line}")?
        };
    }
    let mut bench = Bench::new(&mut decoder, &mut kv, args);
    let mut rows = Vec::new();
    let mut measure = |bench: &mut Bench<'_>, cases: &[Case]| {
        for (pool, roofs) in pools.iter().zip(&roofs) {
            for &case in cases {
                let row = Row::new(case, pool.threads(), &bench.run(case, pool)?, roofs);
                if !args.json {
                    writeln!(io::stdout(), "{}", row.line(bench.family(), best))?;
                }
                rows.push(row);
            }
        }
        anyhow::Ok(())
    };
    measure(&mut bench, &cases)?;
    // Last, since it cannot be taken back.
    let plain: Vec<Case> = cases.iter().filter_map(|case| case.plain()).collect();
    if !plain.is_empty() && bench.allow_plain(&checkpoint)? {
        measure(&mut bench, &plain)?;
    }
    if args.json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        writeln!(io::stdout(), "{:#}", serde_json::Value::from(rows))?;
    }
    Ok(())
}

/// The model with a cache that holds the largest case.
fn load(args: &Args, checkpoint: &Checkpoint, cases: &[Case]) -> anyhow::Result<Model> {
    let spec = ModelSpec::from_config(&checkpoint.config)
        .with_context(|| checkpoint.path.display().to_string())?;
    let streams = cases.iter().map(|case| case.streams()).max().unwrap_or(1);
    let pages = cases.iter().map(|case| case.streams() * case.pages()).max().unwrap_or(1);
    let options = Options {
        context: cases.iter().map(|case| case.context_end()).max(),
        sequences_max: streams,
        kv_type: args.kv_type,
        // Not as many as the longest case of the most streams: no case is both.
        cache: CacheSize::Bytes(pages as u64 * Kv::page_bytes(&spec, args.kv_type) as u64),
        memory: args.memory,
        ..Options::default()
    };
    let limits = Limits { tokens_per_step: TOKENS_PER_STEP.max(streams), logits_per_step: streams };
    let plan = Plan::of(checkpoint, &spec, &options, limits)?;
    let bar = bars::loading();
    let progress = |done, total| bars::advance(&bar, done, total);
    let model = plan.load(checkpoint, spec, &options, &progress)?;
    bar.finish_and_clear();
    Ok(model)
}
