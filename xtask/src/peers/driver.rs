//! llama.cpp and ruminate as processes that measure at our word.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Bench;
use super::install::Peer;
use super::speed::Case;

/// A process that is spoken with line by line, and ends with this value. On stderr it says little.
pub(super) struct Pipe {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Pipe {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Pipe> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let input = child.stdin.take().context("a pipe was asked for")?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        Ok(Pipe { child, input, lines: BufReader::new(output).lines() })
    }

    pub(super) fn write(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.input, "{line}")?;
        Ok(self.input.flush()?)
    }

    /// The next line, if it has not ended.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.lines.next().transpose()?)
    }

    /// The next line.
    pub(super) fn read(&mut self) -> anyhow::Result<String> {
        match self.next()? {
            Some(line) => Ok(line),
            None => bail!("it ended too early: {}: {}", self.child.wait()?, self.complaint()?),
        }
    }

    /// What it wrote to stderr, once it has ended.
    fn complaint(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut text)?;
        }
        Ok(text.trim().into())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `llama.py serve`.
pub(super) struct Llama(Pipe);

/// What was built.
#[derive(Deserialize)]
pub(super) struct Build {
    pub(super) package: String,
    pub(super) version: String,
    /// What llama.cpp says it uses of this machine.
    pub(super) system: String,
}

/// How llama.cpp holds a model.
#[derive(Deserialize)]
struct Loaded {
    buffers: Vec<String>,
}

/// How it will run a case.
#[derive(Deserialize)]
pub(super) struct Prepared {
    /// `on` or `off`.
    pub(super) flash: String,
    /// Whether the other one was tried.
    pub(super) tried: bool,
}

#[derive(Deserialize)]
struct Ran {
    seconds: f64,
}

#[derive(Deserialize)]
struct Scored {
    nll: f64,
}

impl Llama {
    pub(super) fn start(peer: &Peer) -> anyhow::Result<Llama> {
        Ok(Llama(Pipe::start(Command::new(&peer.python).arg(&peer.script).arg("serve"))?))
    }

    fn ask<T: DeserializeOwned>(&mut self, ask: &Value) -> anyhow::Result<T> {
        self.0.write(&ask.to_string())?;
        let answer = self.0.read().context("llama.py")?;
        let answer: Value = serde_json::from_str(&answer).context("llama.py: no JSON")?;
        if let Some(error) = answer["error"].as_str() {
            bail!("{error}");
        }
        serde_json::from_value(answer).context("llama.py")
    }

    pub(super) fn info(&mut self) -> anyhow::Result<Build> {
        self.ask(&json!({"do": "info"}))
    }

    /// Loads a model; the buffers that it lies in.
    pub(super) fn load(&mut self, model: &Path, threads: usize) -> anyhow::Result<Vec<String>> {
        let ask = json!({"do": "load", "model": model, "threads": threads});
        Ok(self.ask::<Loaded>(&ask)?.buffers)
    }

    pub(super) fn prepare(&mut self, case: Case) -> anyhow::Result<Prepared> {
        self.ask(&json!({"do": "prepare", "case": case.json()}))
    }

    /// The seconds of one run of what was prepared.
    pub(super) fn run(&mut self) -> anyhow::Result<f64> {
        Ok(self.ask::<Ran>(&json!({"do": "run"}))?.seconds)
    }

    /// The mean of -log p of tokens.
    pub(super) fn score(&mut self, ids: &[u32]) -> anyhow::Result<f64> {
        Ok(self.ask::<Scored>(&json!({"do": "score", "ids": ids}))?.nll)
    }
}

/// `ruminate bench --paced`.
pub(super) struct Paced(Pipe);

/// How the line of the roofs begins.
const ROOFS: &str = "roofs ";

/// What it says next.
pub(super) enum Said {
    /// It waits to run this case.
    Ready(String),
    /// The roofs in words.
    Roofs(String),
    /// The rows of all cases: it has ended.
    Rows(Vec<RoofedRow>),
}

/// A row of `ruminate bench --json`, as far as is needed.
#[derive(Deserialize)]
pub(super) struct RoofedRow {
    pub(super) case: String,
    pub(super) tok_per_s: f64,
    pub(super) share_of_roof: f64,
    pub(super) bound: String,
}

impl Paced {
    pub(super) fn start(bench: &Bench<'_>, args: &[String]) -> anyhow::Result<Paced> {
        Ok(Paced(Pipe::start(Command::new(&bench.ruminate).arg("bench").args(args))?))
    }

    pub(super) fn next(&mut self) -> anyhow::Result<Said> {
        let line = self.0.read().context("ruminate bench")?;
        if let Some(case) = line.strip_prefix("ready ") {
            return Ok(Said::Ready(case.into()));
        }
        if let Some(roofs) = line.strip_prefix(ROOFS) {
            let words: Vec<&str> = roofs.split_whitespace().collect();
            return Ok(Said::Roofs(words.join(" ")));
        }
        let mut text = line;
        for line in self.0.lines.by_ref() {
            text += &line?;
        }
        Ok(Said::Rows(serde_json::from_str(&text).context("ruminate bench: no JSON")?))
    }

    /// The seconds of one run.
    pub(super) fn run(&mut self) -> anyhow::Result<f64> {
        self.0.write("")?;
        let line = self.0.read().context("ruminate bench")?;
        let seconds = line.strip_prefix("took ").and_then(|text| text.parse().ok());
        seconds.with_context(|| format!("ruminate bench says {line}"))
    }
}

/// What a process took from a file to its first token.
#[derive(Deserialize)]
pub(super) struct First {
    pub(super) seconds: f64,
    pub(super) peak_bytes: f64,
    #[serde(default)]
    out: Value,
}

impl First {
    /// Prompt tokens that ruminate says it took.
    pub(super) fn prompt_tokens(&self) -> anyhow::Result<u64> {
        let n = self.out["usage"]["prompt_tokens"].as_u64();
        n.context("ruminate run --json has no usage.prompt_tokens")
    }
}

/// llama.cpp's, with a prompt of `tokens`.
pub(super) fn first_of_peer(bench: &Bench<'_>, file: &Path, tokens: u64) -> anyhow::Result<First> {
    let peer = &bench.peer;
    let mut command = Command::new(&peer.python);
    command.arg(&peer.script).arg("first").arg(file);
    answer(command.args([bench.threads.to_string(), tokens.to_string()]))
}

/// ruminate's, as a user gets it.
pub(super) fn first_of_ours(bench: &Bench<'_>, file: &Path, prompt: &str) -> anyhow::Result<First> {
    let peer = &bench.peer;
    let mut command = Command::new(&peer.python);
    command.arg(&peer.script).arg("child").arg(&bench.ruminate).arg("run").arg(file);
    command.args(["--raw", prompt, "--max-tokens", "1", "--temperature", "0", "--json"]);
    command.args(["--context", "256", "--threads", &bench.threads.to_string()]);
    answer(&mut command)
}

/// The JSON that a command prints.
pub(super) fn answer<T: DeserializeOwned>(command: &mut Command) -> anyhow::Result<T> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}: {}", output.status, said.trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("{name}: no JSON"))
}
