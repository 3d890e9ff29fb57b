//! `ruminate calibrate`: where the signals of `--think auto` turn for one model, found on
//! questions with known answers.
//!
//! Each question is answered fast, without thinking, and slowly, with trial answers on the way;
//! both are scored, and `fit` chooses the thresholds that would have taken the fewest tokens.

mod fit;
mod measure;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use engine::{Core, Engine, Options, Thresholds};
use serde_json::{Value, json};

use crate::args::{self, ModelArgs};
use crate::{questions, thresholds};
use fit::{Fitted, Outcome};
use measure::{Measured, Measuring};

const EXAMPLES: &str = "\
Examples:
  ruminate calibrate ./model.gguf questions.jsonl
  ruminate calibrate ./model.gguf questions.jsonl --loss 0.02 --out fast.toml --json
  ruminate run ./model.gguf --think auto --thinking-thresholds thinking.toml \"...\"

A line of QUESTIONS is {\"question\": \"...\", \"answer\": \"...\", \"verifier\": \"number\"}; the
verifier may be left out. The file that is written says what it was found on.";

/// Arguments of `calibrate`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Questions and their answers, one JSON object a line.
    #[arg(value_name = "QUESTIONS")]
    questions: PathBuf,
    /// Where to write the thresholds.
    #[arg(long, value_name = "FILE", default_value = "thinking.toml")]
    out: PathBuf,
    /// The part of all questions that may be answered worse than by always thinking.
    #[arg(long, value_name = "X", value_parser = share, default_value = "0.01")]
    loss: f64,
    /// What scores an answer whose line names nothing.
    #[arg(long, value_name = "NAME", default_value = "math")]
    verifier: String,
    /// Tokens of an answer at most, its thinking included.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 2048)]
    max_tokens: usize,
    /// Tokens of prompt and answer together [default: what fits, up to 32768].
    #[arg(long, value_name = "N", value_parser = args::positive, help_heading = "Model")]
    context: Option<usize>,
    /// Answers that are computed together.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 4)]
    streams: usize,
    /// The same seed gives the same thresholds.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

/// Measures, fits, writes and tells.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    questions::check_verifier(&args.verifier)?;
    let questions = questions::read(&args.questions, &args.verifier)?;
    let options =
        Options { context: args.context, sequences_max: args.streams, ..args.model.options() };
    let loaded = args.model.load(&options)?;
    let (vocabulary, path) = (loaded.vocabulary.clone(), loaded.path.clone());
    if vocabulary.thinking.is_none() {
        bail!("{}: this model does not think, so there is nothing to calibrate", path.display());
    }
    let engine = Engine::start(Core::new(loaded)?);
    let measuring = Measuring {
        engine: &engine,
        vocabulary: &vocabulary,
        max_tokens: args.max_tokens,
        streams: args.streams,
        seed: args.seed,
    };
    let measured = measuring.all(&questions)?;
    let default = Thresholds::default();
    let fitted = fit::fit(&measured, &default, args.loss);
    let rows = rows(&measured, &default, &fitted);
    let head = head(args, &path.display().to_string(), &rows, measured.len());
    let out = args.out.display();
    fs::write(&args.out, thresholds::text(&fitted.thresholds, &head))
        .with_context(|| format!("{out}: cannot write"))?;
    if args.json {
        return tell_json(args, &measured, &rows, &fitted);
    }
    let mut stdout = io::stdout().lock();
    for line in table(&rows, measured.len()) {
        writeln!(stdout, "{line}")?;
    }
    writeln!(stdout, "{out} is written.")?;
    Ok(())
}

/// How each way of answering does on the questions.
fn rows(
    measured: &[Measured],
    default: &Thresholds,
    fitted: &Fitted,
) -> Vec<(&'static str, Outcome)> {
    vec![
        ("off", fit::always(measured, false)),
        ("on", fit::always(measured, true)),
        ("auto, default", fit::outcome(measured, default)),
        ("auto, fitted", fitted.outcome),
    ]
}

/// How many standard errors wide an interval of 95 % is.
const STANDARD_ERRORS: f64 = 1.96;

fn table(rows: &[(&str, Outcome)], n: usize) -> Vec<String> {
    let head = format!("{:14} {:>9} {:>8} {:>12} {:>10}", "", "right", "±", "tokens each", "fast");
    let mut lines = vec![head];
    for (name, outcome) in rows {
        let (right, n) = (outcome.right, n as f64);
        let error = STANDARD_ERRORS * (right * (1.0 - right) / n).sqrt();
        lines.push(format!(
            "{name:14} {:>7.1} % {:>6.1} % {:>12.1} {:>8.1} %",
            100.0 * right,
            100.0 * error,
            outcome.tokens,
            100.0 * outcome.fast
        ));
    }
    lines
}

/// What the file says of itself.
fn head(args: &Args, model: &str, rows: &[(&str, Outcome)], n: usize) -> Vec<String> {
    let mut head = vec![
        "Thresholds of --think auto, written by `ruminate calibrate`.".into(),
        format!("Model: {}", model.rsplit('/').next().unwrap_or(model)),
        format!("Questions: {n}, seed {}, at most {} tokens each", args.seed, args.max_tokens),
        format!("May lose: {} of the answers that thinking gets right", args.loss),
        String::new(),
    ];
    head.extend(table(rows, n));
    head.iter().map(|line| line.trim_end().to_string()).collect()
}

fn tell_json(
    args: &Args,
    measured: &[Measured],
    rows: &[(&str, Outcome)],
    fitted: &Fitted,
) -> anyhow::Result<()> {
    let row = |it: &Outcome| json!({ "right": it.right, "tokens": it.tokens, "fast": it.fast });
    let ways: serde_json::Map<String, Value> =
        rows.iter().map(|(name, outcome)| (name.to_string(), row(outcome))).collect();
    let found = &fitted.thresholds;
    // JSON has no infinity: what never or always holds is null.
    let object = json!({
        "file": args.out,
        "questions": measured.iter().map(Measured::json).collect::<Vec<_>>(),
        "ways": ways,
        "thresholds": {
            "ends_at_once": found.ends_at_once,
            "short_mean": found.short_mean,
            "short_min": found.short_min,
            "short_tokens": found.short_tokens,
            "trial_every": found.trial_every,
            "trial_mean": found.trial_mean,
            "trials_agree": found.trials_agree,
        },
    });
    writeln!(io::stdout(), "{object}")?;
    Ok(())
}
