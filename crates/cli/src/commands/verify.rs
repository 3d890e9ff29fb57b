//! `ruminate verify`: a file of answers to a score for each, one line for one line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use train::judge::Server;
use train::scorer::{self, Outside};
use verifiers::lines::{self, LINE_BYTES_MAX, Pair, Verdict, to_line};
use verifiers::{Score, Verifier};

use crate::args::Usage;
use crate::sandbox;
use crate::terminal::notice;

const EXAMPLES: &str = "\
Examples:
  ruminate verify answers.jsonl --verifier math
  ruminate verify answers.jsonl --verifier code
  ruminate verify answers.jsonl --verifier command --command './grade.py --strict'
  ruminate verify answers.jsonl --verifier judge --judge-url http://localhost:8080/v1 \\
      --judge-model qwq-32b

A line in: {\"gold\": \"1/2\", \"pred\": \"\\\\boxed{0.5}\"}; other keys are numbers
(countdown), schema (schema), tests (code) and prompt (judge).
A line out: {\"score\": 1.0, \"why\": \"equal\"}.
A broken line scores 0, is named by its number, and makes the exit code 1.";

/// Arguments of `verify`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// JSON lines; - for what a pipe brings.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// choice, code, command, countdown, exact, format, judge, math, number or schema.
    #[arg(long, value_name = "NAME")]
    verifier: String,
    /// The program that scores, for `command`: words apart by spaces.
    #[arg(long, value_name = "PROGRAM")]
    command: Option<String>,
    /// Where the model answers that is the judge, up to /v1.
    #[arg(long, value_name = "URL", requires = "judge_model")]
    judge_url: Option<String>,
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    judge_model: Option<String>,
    /// The environment variable with the judge's key.
    #[arg(long, value_name = "NAME", requires = "judge_url")]
    judge_key_variable: Option<String>,
}

/// Prints a verdict for each line.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let verifier = scorer::from_name(&args.verifier, &outside(args), &sandbox::launcher()?);
    let verifier = verifier.map_err(|error| match error {
        scorer::Error::Unknown { .. } | scorer::Error::NoCommand | scorer::Error::NoJudge => {
            Usage(error.to_string()).into()
        }
        error => anyhow::Error::from(error),
    })?;
    let name = args.file.display().to_string();
    let mut source: Box<dyn BufRead> = match args.file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(
            File::open(&args.file).with_context(|| format!("{name}: cannot open"))?,
        )),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut number, mut broken) = (0_u64, 0_u64);
    let mut line = Vec::new();
    while next_line(&mut source, &mut line).with_context(|| format!("{name}: cannot read"))? {
        number += 1;
        let score = score(&line, &*verifier).unwrap_or_else(|why| {
            broken += 1;
            notice(&format!("{name}: line {number}: {why}"));
            Score::wrong(format!("line {number} is broken: {why}"))
        });
        writeln!(out, "{}", to_line(&Verdict::from(score)))?;
    }
    out.flush()?;
    if broken > 0 {
        notice(&format!("{name}: {broken} of {number} lines are broken"));
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}

fn outside(args: &Args) -> Outside {
    let words = args.command.iter().flat_map(|command| command.split_whitespace());
    let judge = args.judge_url.clone().zip(args.judge_model.clone());
    let judge = judge.map(|(url, model)| Server {
        url,
        model,
        key_variable: args.judge_key_variable.clone(),
        timeout_s: None,
        max_tokens: None,
    });
    Outside { command: words.map(String::from).collect(), command_timeout_s: None, judge }
}

/// Reads a line, of one that is too long no more than shows it; whether there was one.
fn next_line(source: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let limit = LINE_BYTES_MAX as u64 + 2;
    if source.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() != Some(&b'\n') && line.len() as u64 == limit {
        source.skip_until(b'\n')?;
    }
    line.pop_if(|last| *last == b'\n');
    line.pop_if(|last| *last == b'\r');
    Ok(true)
}

fn score(line: &[u8], verifier: &dyn Verifier) -> Result<Score, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8".to_string())?;
    let scored = Pair::parse(line).and_then(|pair| pair.score(verifier));
    scored.map_err(|error: lines::Error| error.to_string())
}
