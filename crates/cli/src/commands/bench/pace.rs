//! Runs at somebody else's pace: two programs that are measured in turn share one machine.
//!
//! Before a run `ready CASE` is printed and a line on stdin awaited, after it `took SECONDS`.

use std::io::{self, BufRead, Write};

use anyhow::{Context, bail};

/// Returns when a line has come.
pub(super) fn wait(case: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "ready {case}")?;
    out.flush()?;
    let mut line = String::new();
    let n = io::stdin().lock().read_line(&mut line).context("--paced: cannot read stdin")?;
    if n == 0 {
        bail!("--paced: stdin ended before the last run");
    }
    Ok(())
}

pub(super) fn tell(seconds: f64) -> anyhow::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "took {seconds}")?;
    Ok(out.flush()?)
}
