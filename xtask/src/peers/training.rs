//! A training pass beside PyTorch's: the same shapes in f32, forward and backward, run by run in
//! turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::driver::Pipe;
use super::speed::Figure;
use super::{build, install};
use crate::fetch::command;

/// As pip takes it. It brings what it needs for GPUs too, some gigabytes.
const PACKAGE: &str = "torch==2.15.0";

/// One of both, that runs when told.
struct Runner(Pipe);

/// A case that both have run.
struct Row {
    name: String,
    /// Seconds of a pass and of its forward part.
    ours: [Figure; 2],
    theirs: [Figure; 2],
    /// What the machine reached in f32 right after each of our runs. (GFLOP/s)
    roof: Figure,
}

/// Measures all cases; a table in Markdown.
pub(super) fn measure(root: &Path, threads: usize, runs: usize) -> anyhow::Result<String> {
    let python = torch(root)?;
    build(root, &["--package", "ruminate-model", "--example", "learning"])?;
    let program = install::target(root).join("release/examples/learning");
    let mut ours = Command::new(program);
    ours.args([&threads.to_string(), "0", "paced"]);
    let mut theirs = Command::new(python);
    theirs.arg(root.join("xtask/src/peers/training.py")).arg(threads.to_string());
    theirs.env("OMP_NUM_THREADS", threads.to_string());
    let (mut ours, mut theirs) =
        (Runner(Pipe::start(&mut ours)?), Runner(Pipe::start(&mut theirs)?));
    let version = theirs.0.read()?;
    let version =
        version.strip_prefix("version ").context("training.py says no version")?.to_string();
    let mut rows = Vec::new();
    while let Some(name) = ours.ready()? {
        let other = theirs.ready()?.unwrap_or_default();
        if other != name {
            bail!("training.py has the case {other}, learning.rs {name}");
        }
        rows.push(row(name, (&mut ours, &mut theirs), runs)?);
        ours.0.write("next")?;
        theirs.0.write("next")?;
    }
    Ok(table(&rows, &version, threads))
}

impl Runner {
    /// The case that it waits to run, if there is one more.
    fn ready(&mut self) -> anyhow::Result<Option<String>> {
        let Some(line) = self.0.next()? else { return Ok(None) };
        let name = line.strip_prefix("ready ").with_context(|| format!("it says {line}"))?;
        Ok(Some(name.to_string()))
    }

    /// The numbers that a run is answered with.
    fn run(&mut self) -> anyhow::Result<Vec<f64>> {
        self.0.write("")?;
        numbers(&self.0.read()?)
    }
}

fn numbers(line: &str) -> anyhow::Result<Vec<f64>> {
    let rest = line.strip_prefix("took ").with_context(|| format!("it says {line}"))?;
    rest.split(' ').map(|number| number.parse().context("no number of seconds")).collect()
}

fn row(
    name: String,
    (ours, theirs): (&mut Runner, &mut Runner),
    runs: usize,
) -> anyhow::Result<Row> {
    let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
    // The first of each makes room and is not counted.
    for i in 0..=runs {
        let pair = (ours.run()?, theirs.run()?);
        if i > 0 {
            our_runs.push(pair.0);
            their_runs.push(pair.1);
        }
    }
    let figure = |runs: &[Vec<f64>], at: usize| {
        let numbers: Option<Vec<f64>> = runs.iter().map(|run| run.get(at).copied()).collect();
        numbers.map(Figure::of).context("a run has too few numbers")
    };
    let row = Row {
        name,
        ours: [figure(&our_runs, 1)?, figure(&our_runs, 0)?],
        theirs: [figure(&their_runs, 1)?, figure(&their_runs, 0)?],
        roof: figure(&our_runs, 2)?,
    };
    println!("  {:28} {:.2} times PyTorch", row.name, row.gain());
    Ok(row)
}

impl Row {
    fn gain(&self) -> f64 {
        self.theirs[0].median / self.ours[0].median
    }
}

fn table(rows: &[Row], version: &str, threads: usize) -> String {
    let mut text = format!(
        "| forward and backward, f32, {threads} threads | ruminate | PyTorch {version} | × | \
         f32 roof |\n|---|---|---|--:|--:|\n"
    );
    for row in rows {
        let cell = |[all, forward]: [Figure; 2]| {
            let Figure { median, min, max } = all;
            format!("{median:.3} s ({min:.3}–{max:.3}), forward {:.3} s", forward.median)
        };
        let (ours, theirs) = (cell(row.ours), cell(row.theirs));
        let (name, gain, roof) = (&row.name, row.gain(), row.roof.median);
        text += &format!("| {name} | {ours} | {theirs} | {gain:.2} | {roof:.0} GFLOP/s |\n");
    }
    text
}

/// A Python that has PyTorch, in an environment of its own.
fn torch(root: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("models/peers/torch");
    let python = folder.join("bin/python");
    let done = folder.join("built.txt");
    if fs::read_to_string(&done).is_ok_and(|found| found == PACKAGE) {
        return Ok(python);
    }
    println!("PyTorch: {PACKAGE} from PyPI, some gigabytes");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove models/peers/torch")?;
    }
    fs::create_dir_all(root.join("models/peers")).context("cannot make models/peers")?;
    command("python3", &["-m", "venv"], &[&folder])?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE, "numpy"]);
    let status = pip.status().context("cannot start the environment's python")?;
    if !status.success() {
        bail!("{PACKAGE} could not be installed: {status}; what pip said stands above");
    }
    // Last: what was begun and not ended is begun anew.
    fs::write(done, PACKAGE).context("cannot write models/peers/torch/built.txt")?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_took_is_read() {
        assert_eq!(numbers("took 0.5 1.25 70").unwrap(), [0.5, 1.25, 70.0]);
        assert!(numbers("ready x").is_err() && numbers("took long").is_err());
    }

    #[test]
    fn both_have_the_same_cases() {
        let read = |name: &str| fs::read_to_string(crate::workspace_root().join(name)).unwrap();
        let (ours, theirs) =
            (read("crates/model/examples/learning.rs"), read("xtask/src/peers/training.py"));
        let names = ["135M Llama, 4 x 256", "6 layers x 256, 8 x 256"];
        assert!(names.iter().all(|name| ours.contains(name) && theirs.contains(name)));
    }

    #[test]
    fn a_row_of_the_table_has_both_and_how_many_times() {
        let figure = |median| Figure { median, min: median, max: median };
        let row = Row {
            name: "a".into(),
            ours: [figure(1.0), figure(0.4)],
            theirs: [figure(1.5), figure(0.5)],
            roof: figure(70.0),
        };
        let text = table(&[row], "2", 2);
        assert!(text.contains("| 1.50 | 70 GFLOP/s |"), "{text}");
    }
}
