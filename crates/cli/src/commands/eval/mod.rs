//! `ruminate eval`: how many questions a model gets right, and what thinking costs and brings.
//!
//! Each question is answered fast, slowly and in auto, by an engine here or by a server; a
//! verifier scores each answer.

mod answers;
mod estimate;
mod local;
mod remote;
mod report;
mod summary;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use engine::sampler::PartialParams;
use engine::{Options, choice_seed};

use crate::args::{self, LoadArgs, Usage};
use crate::questions;
use crate::terminal::interrupt::{self, Interrupts};
use crate::terminal::notice;
use answers::{Answers, Ask, Ending};
use local::{How, Local};
use remote::{Address, Remote};
use report::Report;

/// Answers to one question in one mode.
const SAMPLES_MAX: usize = 1024;
/// Answers in all: each is kept until the end.
const ANSWERS_MAX: usize = 1_000_000;
/// Answers under way at once: a server is asked by a thread for each.
const STREAMS_MAX: usize = 1024;
/// Presses of Ctrl-C: the first shows what there is.
const PRESSES_MAX: usize = 2;
/// Seeds that every server takes: they have no sign in 32 bits.
const SEED_MASK: u64 = 0x7fff_ffff;

const EXAMPLES: &str = "\
Examples:
  ruminate eval ./model.gguf tasks.jsonl
  ruminate eval ./model.gguf tasks.jsonl --samples 8 --modes slow,auto --svg plot.svg
  ruminate eval --url http://127.0.0.1:8080 tasks.jsonl --streams 16 --json > found.json

A line of TASKS is {\"question\": \"...\", \"answer\": \"...\", \"verifier\": \"number\",
\"difficulty\": 3}; the last two may be left out. Ctrl-C shows what there is so far. The exit code
is 1 if an answer failed. Docs: docs/evaluating.md.";

/// Arguments of `eval`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, allow_missing_positional = true)]
pub(crate) struct Args {
    /// A GGUF file, a folder, or a name on the hub: org/repo or org/repo:Q4_K_M.
    #[arg(value_name = "MODEL", required_unless_present = "url", conflicts_with = "url")]
    model: Option<String>,
    /// Questions and their answers, one JSON object a line.
    #[arg(value_name = "TASKS")]
    tasks: PathBuf,
    /// How to answer: fast without thinking, slow with it, auto as the model's own signals say
    /// [default: all three; fast for a model that does not think].
    #[arg(long, value_name = "MODE,MODE", value_delimiter = ',', value_parser = mode)]
    modes: Vec<Mode>,
    /// Answers to each question in each mode, for pass@k.
    #[arg(long, value_name = "K", value_parser = samples, default_value_t = 1)]
    samples: usize,
    /// What scores an answer whose line names nothing.
    #[arg(long, value_name = "NAME", default_value = "math")]
    verifier: String,
    /// Only the first N questions.
    #[arg(long, value_name = "N", value_parser = args::positive)]
    limit: Option<usize>,
    /// What is said before each question.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tokens of an answer at most, its thinking included.
    #[arg(long, value_name = "N", value_parser = args::positive, default_value_t = 2048)]
    max_tokens: usize,
    /// Where the signals of auto turn: a file that `ruminate calibrate` writes.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    thinking_thresholds: Option<PathBuf>,
    /// Answers that are under way together.
    #[arg(long, value_name = "N", value_parser = streams, default_value_t = 4)]
    streams: usize,
    /// The same seed gives the same answers.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print one JSON object, with every answer.
    #[arg(long)]
    json: bool,
    /// Write the plot of right answers over tokens to an SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Randomness: 0 always takes the likeliest token [default: what the model's files say].
    #[arg(long, value_name = "X", help_heading = "Sampling")]
    temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 for all.
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,
    /// Choose among the fewest tokens whose probabilities reach P; 1 for all.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,
    /// Choose among tokens at least P times as probable as the likeliest; 0 for all.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,
    /// Ask a server that speaks OpenAI's chat completions, up to its port or to /v1.
    #[arg(long, value_name = "URL", help_heading = "Server")]
    url: Option<String>,
    /// Which of its models [default: the first that it lists].
    #[arg(long, value_name = "NAME", conflicts_with = "model", help_heading = "Server")]
    model_name: Option<String>,
    /// The key, if the server wants one.
    #[arg(
        long,
        value_name = "KEY",
        env = "RUMINATE_API_KEY",
        hide_env_values = true,
        help_heading = "Server"
    )]
    key: Option<String>,
    /// Tokens of prompt and answer together [default: what fits, up to 32768].
    #[arg(long, value_name = "N", value_parser = args::positive, help_heading = "Model")]
    context: Option<usize>,
    #[command(flatten)]
    loading: LoadArgs,
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Without thinking.
    Fast,
    /// With it.
    Slow,
    /// As the model's own signals say.
    Auto,
}

impl Mode {
    const ALL: [Mode; 3] = [Mode::Fast, Mode::Slow, Mode::Auto];

    fn name(self) -> &'static str {
        match self {
            Mode::Fast => "fast",
            Mode::Slow => "slow",
            Mode::Auto => "auto",
        }
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    let found = Mode::ALL.into_iter().find(|mode| mode.name() == text);
    found.ok_or_else(|| "expected fast, slow or auto".into())
}

fn samples(text: &str) -> Result<usize, String> {
    at_most(text, SAMPLES_MAX)
}

fn streams(text: &str) -> Result<usize, String> {
    at_most(text, STREAMS_MAX)
}

fn at_most(text: &str, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=max).contains(&n) => Ok(n),
        _ => Err(format!("expected 1 to {max}")),
    }
}

/// Asks, scores and tells.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    questions::check_verifier(&args.verifier)?;
    let params = args.params()?;
    let how = How { system: args.system.clone(), params, max_tokens: args.max_tokens };
    let mut questions = questions::read(&args.tasks, &args.verifier)?;
    questions.truncate(args.limit.unwrap_or(questions.len()));
    let interrupts = Interrupts::install(PRESSES_MAX)?;
    let answers = args.answers(how)?;
    let modes = args.modes(&*answers)?;
    let asks = args.asks(questions.len(), &modes)?;
    let tasks = args.tasks.display().to_string();
    let (records, ending) =
        answers::all(&*answers, (&tasks, &questions), &asks, args.streams, &interrupts);
    let report = Report {
        model: answers.model(),
        tasks,
        samples: args.samples,
        seed: args.seed,
        max_tokens: args.max_tokens,
        ending,
        summaries: summary::all(&questions, &records, &modes),
        questions: &questions,
        records: &records,
    };
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", report.json())?,
        false => write!(out, "{}", report.text())?,
    }
    report.chart().save(args.svg.as_deref())?;
    let failed = records.iter().filter(|record| record.said.is_err()).count();
    if failed > 0 {
        notice(&format!("{failed} of {} answers failed", records.len()));
    }
    Ok(match ending {
        Ending::Interrupted => ExitCode::from(interrupt::EXIT_CODE),
        Ending::Complete | Ending::Failing => ExitCode::from(u8::from(failed > 0)),
    })
}

impl Args {
    fn params(&self) -> Result<PartialParams, Usage> {
        let given = PartialParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            ..PartialParams::default()
        };
        given.fill(0).map_err(|error| Usage(error.to_string()))?;
        if self.samples > 1 && self.temperature == Some(0.0) {
            notice("at --temperature 0 all answers to a question are the same");
        }
        Ok(given)
    }

    /// Who answers.
    fn answers(&self, how: How) -> anyhow::Result<Box<dyn Answers>> {
        if let Some(url) = &self.url {
            let LoadArgs { threads, memory, no_mmap, .. } = self.loading;
            if threads.is_some() || memory.is_some() || no_mmap || self.context.is_some() {
                let what = "the flags of a model are its server's: --url leaves no use for them";
                return Err(Usage(what.into()).into());
            }
            let (key, model) = (self.key.as_deref(), self.model_name.as_deref());
            return Ok(Box::new(Remote::connect(&Address { url, key, model }, how)?));
        }
        let options = Options {
            context: self.context,
            sequences_max: self.streams,
            ..self.loading.options()
        };
        let model = self.model.as_deref().context("no model was named")?;
        let thresholds = args::thresholds(model, self.thinking_thresholds.as_deref())?;
        let loaded = args::load(model, &options)?;
        Ok(Box::new(Local::start(loaded, how, thresholds)?))
    }

    /// Each mode once, as far as the model has it.
    fn modes(&self, answers: &dyn Answers) -> Result<Vec<Mode>, Usage> {
        let thinks = answers.thinks() != Some(false);
        let mut modes = Vec::new();
        for &mode in &self.modes {
            if !modes.contains(&mode) {
                modes.push(mode);
            }
        }
        match (modes.is_empty(), thinks) {
            (true, true) => Ok(Mode::ALL.to_vec()),
            (true, false) => {
                notice("this model does not think: it answers in one mode, fast");
                Ok(vec![Mode::Fast])
            }
            (false, false) if modes != [Mode::Fast] => {
                let given = report::names(&modes);
                Err(Usage(format!("--modes {given}: this model does not think; it has only fast")))
            }
            (false, _) => Ok(modes),
        }
    }

    /// Every answer that is wanted, question by question, so that an interruption leaves modes that
    /// answered the same.
    fn asks(&self, questions: usize, modes: &[Mode]) -> Result<Vec<Ask>, Usage> {
        let n = questions * modes.len() * self.samples;
        if n > ANSWERS_MAX {
            let what = format!("{n} answers are asked for; at most {ANSWERS_MAX} are kept");
            return Err(Usage(what));
        }
        let asks = (0..questions).flat_map(|question| {
            (0..self.samples).flat_map(move |sample| {
                let choice = question * SAMPLES_MAX + sample;
                let seed = choice_seed(self.seed, choice) & SEED_MASK;
                modes.iter().map(move |&mode| Ask { question, mode, sample, seed })
            })
        });
        Ok(asks.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_names_and_numbers_bounds() {
        for known in Mode::ALL {
            assert_eq!(mode(known.name()), Ok(known));
        }
        assert!(mode("on").is_err());
        assert_eq!(samples("1024"), Ok(1024));
        assert!(samples("0").is_err() && samples("1025").is_err() && streams("x").is_err());
    }
}
