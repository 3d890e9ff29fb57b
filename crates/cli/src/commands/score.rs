//! `ruminate score`: the log-probability of each token of a text, and its perplexity.
//!
//! The first token has none: nothing comes before it. Lists keep its place with a null.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use engine::{Error, Model, Options, Plan, Scored, Vocabulary};
use formats::{Checkpoint, TensorLayout, safetensors};
use model::{Limits, Numerics};
use quant::QuantType;
use serde_json::{Value, json};
use simd::{Best, math};
use spec::ModelSpec;

use crate::args::{ModelArgs, Usage};
use crate::terminal::{bars, locate};

/// Rows of logits that are computed together: with a large vocabulary, some 80 MB.
const ROWS: usize = 128;
/// A text is read whole, and no context holds more.
const TEXT_BYTES_MAX: u64 = 64 << 20;

const EXAMPLES: &str = "\
Examples:
  ruminate score ./model.gguf --text essay.txt
  ruminate score ./model.gguf --ids 5,7,9 --json
  ruminate score ./model.gguf --text essay.txt --logits logits.safetensors --top 3

The text is tokenized as a document, with the token that begins one where the vocabulary says so.
--json prints tokens, logprobs, nll (the mean of -logprob) and perplexity (e to the nll).";

/// Arguments of `score`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["text", "ids"])))]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A file of text; - for what a pipe brings.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens by their numbers.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    ids: Vec<u32>,
    /// Write `logits` (tokens, vocabulary) in f32 to a safetensors file.
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Show the N likeliest tokens at each place too.
    #[arg(long, value_name = "N", default_value_t = 0)]
    top: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A token that might have come, and its log-probability.
type Likely = (u32, f32);

/// Prints what the model thinks of a text.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let options = args.model.options();
    let checkpoint = formats::open_with(&locate::path_of(&args.model.model)?, options.access)?;
    let path = checkpoint.path.display().to_string();
    let spec = ModelSpec::from_config(&checkpoint.config).with_context(|| path)?;
    let vocabulary = vocabulary(args, &checkpoint, spec.family)?;
    let ids = match (&args.text, &vocabulary) {
        (Some(file), Some(vocabulary)) => vocabulary.tokenizer.encode_document(&read(file)?)?,
        _ => args.ids.clone(),
    };
    if ids.is_empty() {
        bail!("{}: there is no token to score", args.model.model);
    }
    let mut model = load(&checkpoint, spec, &ids, &options)?;
    let mut tops = Vec::new();
    let scored = score(args, &mut model, &ids, &mut tops)?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", describe(args, &ids, &scored, &tops))?;
        return Ok(());
    }
    let show = |id| {
        vocabulary.as_ref().map_or_else(String::new, |vocabulary| {
            format!("{:?}", String::from_utf8_lossy(vocabulary.tokenizer.bytes(id)))
        })
    };
    let logprobs = [None].into_iter().chain(scored.logprobs.iter().map(Some));
    for (position, (&id, logprob)) in ids.iter().zip(logprobs).enumerate() {
        let logprob = logprob.map_or_else(|| "-".into(), |logprob| format!("{logprob:.4}"));
        writeln!(out, "{position:>6} {id:>7} {logprob:>10}  {}", show(id))?;
        if let Some(top) = position.checked_sub(1).and_then(|before| tops.get(before)) {
            for &(id, logprob) in top {
                writeln!(out, "       {id:>7} {logprob:>10.4}    {}", show(id))?;
            }
        }
    }
    let (n, nll, perplexity) = (ids.len(), scored.nll(), scored.perplexity());
    writeln!(out, "{n} tokens, mean log-probability {:.4}, perplexity {perplexity:.4}", -nll)?;
    Ok(())
}

/// The vocabulary, where something needs it or can show it.
fn vocabulary(
    args: &Args,
    checkpoint: &Checkpoint,
    family: &'static str,
) -> anyhow::Result<Option<Vocabulary>> {
    if args.text.is_none() && args.json {
        return Ok(None);
    }
    match Vocabulary::read(&checkpoint.path, &checkpoint.text, family) {
        Ok(vocabulary) => Ok(Some(vocabulary)),
        Err(Error::NoText { .. }) if args.text.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The text of a file, or of stdin.
fn read(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let mut source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(File::open(file).with_context(|| format!("{name}: cannot open"))?),
    };
    let mut bytes = Vec::new();
    source
        .by_ref()
        .take(TEXT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name}: cannot read"))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        bail!("{name}: the text is longer than {TEXT_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name}: the text is not UTF-8"))
}

/// The model with a cache for as many tokens as there are.
fn load(
    checkpoint: &Checkpoint,
    spec: ModelSpec,
    ids: &[u32],
    options: &Options,
) -> anyhow::Result<Model> {
    let (n, max) = (ids.len(), spec.context_max);
    if n > max {
        return Err(Error::TooLong { n, max }.into());
    }
    let options = Options { context: Some(n), ..options.clone() };
    let rows = ROWS.min(n);
    let limits = Limits { tokens_per_step: rows, logits_per_step: rows };
    let plan = Plan::of(checkpoint, &spec, &options, limits)?;
    let bar = bars::loading();
    let progress = |done, total| bars::advance(&bar, done, total);
    let mut model = plan.load(checkpoint, spec, &options, &progress)?;
    if options.numerics == Numerics::Fast {
        let (weights, dialect) = (&*checkpoint.weights, checkpoint.config.dialect);
        let allowed = model.decoder.allow_plain_prompts(weights, dialect, &model.pool);
        allowed.with_context(|| checkpoint.path.display().to_string())?;
    }
    bar.finish_and_clear();
    Ok(model)
}

/// Scores the tokens; notes the likeliest ones after each, and writes logits as they come: they are
/// never in memory all together.
fn score(
    args: &Args,
    model: &mut Model,
    ids: &[u32],
    tops: &mut Vec<Vec<Likely>>,
) -> anyhow::Result<Scored> {
    let mut note = |row: &[f32]| {
        if args.top > 0 {
            tops.push(likeliest(row, args.top));
        }
    };
    let Some(path) = &args.logits else {
        return Ok(engine::score(model, ids, |_, row| {
            note(row);
            Ok::<(), Error>(())
        })?);
    };
    if path.is_dir() {
        return Err(Usage(format!("--logits {}: this is a folder", path.display())).into());
    }
    let shape = vec![ids.len(), model.decoder.spec().vocab];
    let layout = TensorLayout { name: "logits".into(), quant: QuantType::F32, shape };
    // The writer only knows errors of its own kind: ours is carried past it.
    let mut outcome = None;
    let mut bytes = Vec::new();
    let written = safetensors::write(path, &[layout], |_, out| {
        let scored = engine::score(model, ids, |_, row| {
            note(row);
            bytes.clear();
            bytes.extend(row.iter().flat_map(|logit| logit.to_le_bytes()));
            Ok::<(), anyhow::Error>(out.write_all(&bytes)?)
        });
        let failed = scored.is_err();
        outcome = Some(scored);
        if failed { Err(io::Error::other("the model failed")) } else { Ok(()) }
    });
    match outcome {
        Some(Err(error)) => Err(error),
        Some(Ok(scored)) => written.map(|()| scored).map_err(Into::into),
        None => Err(written.err().map_or_else(|| anyhow::anyhow!("nothing written"), Into::into)),
    }
}

/// The `n` likeliest tokens by logits (V), likeliest first; of equals the lower number first.
fn likeliest(row: &[f32], n: usize) -> Vec<Likely> {
    let total = math::log_sum_exp(Best::detect(), row);
    let mut ids: Vec<u32> = (0..row.len() as u32).collect();
    let order = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
    let n = n.min(ids.len());
    if n < ids.len() {
        ids.select_nth_unstable_by(n, order);
        ids.truncate(n);
    }
    ids.sort_unstable_by(order);
    ids.into_iter().map(|id| (id, row[id as usize] - total)).collect()
}

/// The object that `--json` prints.
fn describe(args: &Args, ids: &[u32], scored: &Scored, tops: &[Vec<Likely>]) -> Value {
    let logprobs: Vec<Value> =
        [Value::Null].into_iter().chain(scored.logprobs.iter().map(|&x| json!(x))).collect();
    let mut object = json!({
        "tokens": ids,
        "logprobs": logprobs,
        "nll": scored.nll(),
        "perplexity": scored.perplexity(),
    });
    if args.top > 0 {
        let list = |top: &Vec<Likely>| {
            top.iter().map(|(id, logprob)| json!({ "token": id, "logprob": logprob })).collect()
        };
        let before_last = tops.iter().take(ids.len() - 1);
        let tops: Vec<Value> = [Value::Null].into_iter().chain(before_last.map(list)).collect();
        object["top"] = tops.into();
    }
    object
}
