//! `ruminate tasks`: questions with answers, made up by a seed.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use tasks::{Part, Problem, Task};

use crate::args;

const EXAMPLES: &str = "\
Examples:
  ruminate tasks chain --difficulty 1..4 --count 1000 > sums.jsonl
  ruminate tasks --held-out --count 200 > questions.jsonl
  ruminate tasks chain,talk --written half > warmup.jsonl

Each line is {\"question\", \"answer\", \"verifier\", \"difficulty\", …}, as `eval` and `train` read
it. Held-out questions are never among the others, whatever the seeds.";

/// Questions of one call at most.
const COUNT_MAX: usize = 10_000_000;

/// Arguments of `tasks`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which: chain, compare, story, countdown, talk, signs [default: all].
    #[arg(value_name = "TASK,TASK", value_delimiter = ',', value_parser = task)]
    tasks: Vec<Task>,
    /// Questions of each task.
    #[arg(long, value_name = "N", value_parser = count, default_value_t = 100)]
    count: usize,
    /// How hard: operators of a sum, numbers of a countdown
    /// [default: all that a task has].
    #[arg(long, value_name = "FROM..TO", value_parser = range)]
    difficulty: Option<(u32, u32)>,
    /// Those that are never learned from, in the place of those that may be.
    #[arg(long)]
    held_out: bool,
    /// With a column of what a model is to write: without thinking, with it, or as the toss of a
    /// coin has it.
    #[arg(long, value_name = "HOW", value_enum)]
    written: Option<Written>,
    /// The same seed gives the same questions.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// How an answer to learn is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Written {
    /// Without thinking.
    Fast,
    /// With it, where there is anything to think about.
    Slow,
    /// Half of them so and half so.
    Half,
}

/// A line with what is to be learned.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    #[serde(flatten)]
    problem: &'a Problem,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<String>,
}

impl<'a> Line<'a> {
    /// The question at this place of its list.
    pub(crate) fn new(problem: &'a Problem, written: Option<Written>, at: usize) -> Line<'a> {
        Line { problem, completion: written.map(|how| problem.written(how.thinks(at))) }
    }
}

fn task(text: &str) -> Result<Task, String> {
    let names = || Task::ALL.map(Task::name).join(", ");
    Task::of_name(text).ok_or_else(|| format!("expected {}", names()))
}

fn count(text: &str) -> Result<usize, String> {
    match args::positive(text)? {
        n if n <= COUNT_MAX => Ok(n),
        _ => Err(format!("expected 1 to {COUNT_MAX}")),
    }
}

/// `3` or `1..4`, both ends included.
fn range(text: &str) -> Result<(u32, u32), String> {
    let (least, greatest) = text.split_once("..").unwrap_or((text, text));
    match (least.parse(), greatest.parse()) {
        (Ok(least), Ok(greatest)) if least <= greatest => Ok((least, greatest)),
        _ => Err("expected a number, or two as in 1..4".into()),
    }
}

/// Writes the questions, the tasks in turn.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let chosen = if args.tasks.is_empty() { &Task::ALL[..] } else { &args.tasks };
    let part = if args.held_out { Part::HeldOut } else { Part::Training };
    let mut out = BufWriter::new(io::stdout().lock());
    let lists: Vec<Vec<Problem>> = chosen
        .iter()
        .map(|task| {
            let range = args.difficulty.unwrap_or(task.difficulties());
            tasks::make(*task, range, part, args.seed, args.count)
        })
        .collect();
    for at in 0..args.count {
        for list in &lists {
            let line = Line::new(&list[at], args.written, at);
            serde_json::to_writer(&mut out, &line).context("standard output")?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

impl Written {
    /// Whether the answer at this place thinks. Questions are drawn, so places are as good as a
    /// coin.
    fn thinks(self, at: usize) -> bool {
        match self {
            Written::Fast => false,
            Written::Slow => true,
            Written::Half => at.is_multiple_of(2),
        }
    }
}
