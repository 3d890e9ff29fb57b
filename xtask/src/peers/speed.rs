//! Both engines on one model, run by run in turn.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Bench;
use super::driver::{self, Llama, Paced, Prepared, RoofedRow, Said};
use super::models::{Model, PROMPT};

/// What the first token is asked for with: with a vocabulary that spells bytes as many tokens.
const FIRST_PROMPT: &str = "The river was wide and slow that";

/// What is measured, as `ruminate bench` names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Case {
    Prompt { len: usize, plain: bool },
    Decode { len: usize, past: usize },
    Crowd { streams: usize, input: usize, output: usize },
}

impl Case {
    /// From a label such as `decode n=128 b=1 ctx=0 t=2`.
    pub(super) fn parse(label: &str) -> Option<Case> {
        let (name, rest) = label.split_once(' ')?;
        let value = |key: &str| {
            let find = |word: &str| word.strip_prefix(key)?.strip_prefix('=').map(String::from);
            rest.split(' ').find_map(find)
        };
        let count = |key: &str| value(key)?.parse::<usize>().ok();
        match name {
            "prompt" => Some(Case::Prompt { len: count("n")?, plain: false }),
            "prompt/plain" => Some(Case::Prompt { len: count("n")?, plain: true }),
            "decode" if count("b")? == 1 => {
                Some(Case::Decode { len: count("n")?, past: count("ctx")? })
            }
            "crowd" => {
                let lens = value("n")?;
                let (input, output) = lens.split_once('+')?;
                let (input, output) = (input.parse().ok()?, output.parse().ok()?);
                Some(Case::Crowd { streams: count("b")?, input, output })
            }
            _ => None,
        }
    }

    /// As `llama.py` takes it.
    pub(super) fn json(self) -> Value {
        let (streams, past, input, output) = match self {
            Case::Prompt { len, .. } => (1, 0, len, 0),
            Case::Decode { len, past } => (1, past, 0, len),
            Case::Crowd { streams, input, output } => (streams, 0, input, output),
        };
        json!({"streams": streams, "past": past, "input": input, "output": output})
    }

    /// Tokens that a run computes.
    fn tokens(self) -> usize {
        match self {
            Case::Prompt { len, .. } | Case::Decode { len, .. } => len,
            Case::Crowd { streams, input, output } => streams * (input + output),
        }
    }

    pub(super) fn title(self) -> String {
        match self {
            Case::Prompt { len, plain: false } => format!("prompt of {}", grouped(len)),
            Case::Prompt { len, plain: true } => {
                format!("prompt of {}, `--numerics fast`", grouped(len))
            }
            Case::Decode { len, past: 0 } => format!("decode {len}, 1 stream"),
            Case::Decode { len, past } => format!("decode {len}, {} cached", grouped(past)),
            Case::Crowd { streams, input, output } => {
                format!("{streams} streams, {input} in + {output} out")
            }
        }
    }
}

/// `4,096`.
pub(super) fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The median of several runs, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Figure {
    pub(super) fn of(mut values: Vec<f64>) -> Figure {
        assert!(!values.is_empty(), "a case has runs");
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        let median = f64::midpoint(values[last / 2], values[last.div_ceil(2)]);
        Figure { median, min: values[0], max: values[last] }
    }
}

/// What a row's figures are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    TokensPerSecond,
    Seconds,
    Bytes,
}

pub(super) struct Row {
    pub(super) title: String,
    pub(super) unit: Unit,
    pub(super) ours: Figure,
    pub(super) theirs: Figure,
    /// Of ours, and what it is bound by.
    pub(super) roof: Option<(f64, String)>,
    pub(super) flash: Option<Prepared>,
}

impl Row {
    /// How many times better ours is.
    pub(super) fn gain(&self) -> f64 {
        match self.unit {
            Unit::TokensPerSecond => self.ours.median / self.theirs.median,
            Unit::Seconds | Unit::Bytes => self.theirs.median / self.ours.median,
        }
    }
}

/// All rows of a model.
pub(super) struct Measured {
    pub(super) model: &'static Model,
    pub(super) file_bytes: u64,
    /// How llama.cpp holds it.
    pub(super) buffers: Vec<String>,
    /// The roofs in words.
    pub(super) roofs: String,
    pub(super) rows: Vec<Row>,
}

pub(super) fn measure(
    bench: &Bench<'_>,
    model: &'static Model,
    runs: usize,
) -> anyhow::Result<Measured> {
    let file = model.file(bench)?;
    println!("{}:", model.title);
    let file_bytes = fs::metadata(&file).context("a model's file")?.len();
    let mut llama = Llama::start(&bench.peer)?;
    let buffers = llama.load(&file, bench.threads)?;
    let mut paced = Paced::start(bench, &arguments(bench, model, &file, runs))?;
    let mut cases: Vec<(Case, Prepared, Vec<f64>, Vec<f64>)> = Vec::new();
    let mut roofs = String::new();
    let roofed = loop {
        let label = match paced.next()? {
            Said::Ready(label) => label,
            Said::Roofs(line) => {
                roofs = line;
                continue;
            }
            Said::Rows(rows) => break rows,
        };
        let case = Case::parse(&label).with_context(|| format!("ruminate bench says {label}"))?;
        if cases.last().is_none_or(|last| last.0 != case) {
            cases.push((case, llama.prepare(case)?, Vec::new(), Vec::new()));
        }
        let (.., ours, theirs) = cases.last_mut().expect("a case was pushed");
        let tokens = case.tokens() as f64;
        ours.push(tokens / paced.run()?);
        theirs.push(tokens / llama.run()?);
    };
    // Both give their memory back before the next rows measure it.
    drop((llama, paced));
    let mut rows = Vec::new();
    for ((case, flash, ours, theirs), roofed) in cases.into_iter().zip(&roofed) {
        rows.push(speed_row(case, flash, (ours, theirs), roofed)?);
        say(&rows);
    }
    for row in first_token(bench, &file, runs)? {
        rows.push(row);
        say(&rows);
    }
    Ok(Measured { model, file_bytes, buffers, roofs, rows })
}

fn arguments(bench: &Bench<'_>, model: &Model, file: &Path, runs: usize) -> Vec<String> {
    let crowds = model.crowds.iter().map(|(b, input, output)| format!("{b}:{input}+{output}"));
    let crowds: Vec<String> = crowds.collect();
    let (past, threads) = (format!("0,{}", model.past), bench.threads.to_string());
    let flags = [
        ("--prompt", PROMPT.to_string()),
        ("--decode", model.decode.to_string()),
        ("--context", past),
        ("--crowd", crowds.join(",")),
        ("--threads", threads),
        ("--runs", runs.to_string()),
    ];
    let mut args = vec![file.display().to_string(), "--json".into(), "--paced".into()];
    args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_string(), value]));
    args
}

fn speed_row(
    case: Case,
    flash: Prepared,
    (ours, theirs): (Vec<f64>, Vec<f64>),
    roofed: &RoofedRow,
) -> anyhow::Result<Row> {
    if Case::parse(&roofed.case) != Some(case) {
        bail!("ruminate bench: the row of {case:?} is of {}", roofed.case);
    }
    let ours = Figure::of(ours);
    // The share is that of its median, which for an even number of runs is another one than ours.
    let share = roofed.share_of_roof * ours.median / roofed.tok_per_s;
    Ok(Row {
        title: case.title(),
        unit: Unit::TokensPerSecond,
        ours,
        theirs: Figure::of(theirs),
        roof: Some((share, roofed.bound.clone())),
        flash: Some(flash),
    })
}

/// From a file in the page cache to its first token: the seconds, and the most memory.
fn first_token(bench: &Bench<'_>, file: &Path, runs: usize) -> anyhow::Result<[Row; 2]> {
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..runs {
        let ours = driver::first_of_ours(bench, file, FIRST_PROMPT)?;
        let theirs = driver::first_of_peer(bench, file, ours.prompt_tokens()?)?;
        let run = [ours.seconds, theirs.seconds, ours.peak_bytes, theirs.peak_bytes];
        for (figures, figure) in figures.iter_mut().zip(run) {
            figures.push(figure);
        }
    }
    let [ours, theirs, our_peak, their_peak] = figures.map(Figure::of);
    let row = |title: &str, unit, ours, theirs| Row {
        title: title.into(),
        unit,
        ours,
        theirs,
        roof: None,
        flash: None,
    };
    Ok([
        row("file to first token", Unit::Seconds, ours, theirs),
        row("most memory for it", Unit::Bytes, our_peak, their_peak),
    ])
}

/// The last row, so that somebody who waits sees that it goes on.
fn say(rows: &[Row]) {
    if let Some(row) = rows.last() {
        let (ours, theirs) = (row.ours.median, row.theirs.median);
        println!("  {:36} {ours:>14.2} {theirs:>14.2}  {:.2}x", row.title, row.gain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_bench_are_read() {
        let cases = [
            ("prompt n=512 t=2", Case::Prompt { len: 512, plain: false }),
            ("prompt/plain n=512 t=2", Case::Prompt { len: 512, plain: true }),
            ("decode n=64 b=1 ctx=4096 t=2", Case::Decode { len: 64, past: 4096 }),
            ("crowd n=32+16 b=8 t=2", Case::Crowd { streams: 8, input: 32, output: 16 }),
        ];
        for (label, case) in cases {
            assert_eq!(Case::parse(label), Some(case), "{label}");
        }
        for wrong in ["decode n=64 b=8 ctx=0 t=2", "prompt", "crowd n=32 b=8 t=2", "nap n=1 t=2"] {
            assert_eq!(Case::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_crowd_counts_prompts_and_answers() {
        assert_eq!(Case::Crowd { streams: 8, input: 32, output: 16 }.tokens(), 384);
    }

    #[test]
    fn the_figure_is_the_middle_one() {
        let of = |values: &[f64]| Figure::of(values.to_vec());
        assert_eq!(of(&[3.0, 1.0, 2.0]), Figure { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(of(&[4.0, 1.0]).median, 2.5);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 4096, 1_234_567].map(grouped), ["0", "999", "4,096", "1,234,567"]);
    }
}
