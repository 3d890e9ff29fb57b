//! `cargo xtask kills`: the test that kills training at random moments, with more kills.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

const USAGE: &str = "usage: cargo xtask kills [--count N] [--seed N]";

/// Runs the test of `crates/cli/tests/kills.rs`.
pub(crate) fn run(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    let (count, seed) = parse(args)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // As CI builds it, so that nothing is compiled anew.
    command.args(["test", "--release", "--workspace", "--test", "kills", "--", "--nocapture"]);
    command.env("RUMINATE_KILLS", count.to_string()).env("RUMINATE_KILLS_SEED", seed.to_string());
    let status = command.current_dir(root).status().context("cannot start cargo")?;
    if !status.success() {
        bail!("{count} kills of seed {seed}: {status}");
    }
    Ok(())
}

fn parse(args: &[&str]) -> anyhow::Result<(u64, u64)> {
    let (mut count, mut seed) = (200, 1);
    for pair in args.chunks(2) {
        let number = || pair.get(1).and_then(|text| text.parse().ok()).context(USAGE);
        match pair[0] {
            "--count" => count = number()?,
            "--seed" => seed = number()?,
            _ => bail!(USAGE),
        }
    }
    Ok((count, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_and_seed_are_numbers() {
        assert_eq!(parse(&[]).unwrap(), (200, 1));
        assert_eq!(parse(&["--seed", "7", "--count", "9"]).unwrap(), (9, 7));
        for wrong in [&["--count"][..], &["--count", "many"], &["9"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
