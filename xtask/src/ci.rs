//! What CI runs, one step after the other.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{fetch, floors, page, tidy};

/// Every step runs though one before it failed: one run shows all that is wrong. The tests come
/// last, so that their results stand at the end.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    const TEST: &[&str] = &["--release", "--workspace", "--no-fail-fast"];
    const CLIPPY: &[&str] = &["--workspace", "--all-targets", "--", "-D", "warnings"];
    let start = Instant::now();
    let mut failed = Vec::new();
    let mut step = |name: &'static str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            println!("{name} failed: {error:#}");
            failed.push(name);
        }
    };
    step("fetch", announce("cargo xtask fetch all", || fetch::run(root, &["all"])));
    step("fmt", cargo(root, "fmt", &["--all", "--check"], &[]));
    step("tidy", announce("cargo xtask tidy", || tidy::run(root)));
    step("floors", announce("cargo xtask floors", || floors::run(root)));
    step("clippy", cargo(root, "clippy", CLIPPY, &[]));
    let warnings = [("RUSTDOCFLAGS", "-D warnings")];
    step("doc", cargo(root, "doc", &["--workspace", "--no-deps"], &warnings));
    step("test", cargo(root, "test", TEST, &[]));
    step("page-test", announce("cargo xtask page-test", || page::run(root)));

    let seconds = start.elapsed().as_secs();
    if !failed.is_empty() {
        bail!("ci: failed after {seconds} s: {}", failed.join(", "));
    }
    println!(
        "\nci: fetch, fmt, tidy, floors, clippy, doc, test and page-test passed in {seconds} s"
    );
    Ok(())
}

/// The tests alone, in the profile of [`run`]; `args` go to `cargo test`.
pub(crate) fn test(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    announce("cargo xtask fetch all", || fetch::run(root, &["all"]))?;
    let scope: &[&str] = if args.is_empty() { &["--workspace"] } else { &[] };
    cargo(root, "test", &[&["--release"], scope, args].concat(), &[])
}

fn announce(command: &str, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    println!("\n$ {command}");
    run()
}

fn cargo(root: &Path, verb: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let settings = env.iter().map(|(name, value)| format!("{name}=\"{value}\" "));
    let line = format!("{}cargo {verb} {}", settings.collect::<String>(), args.join(" "));
    announce(&line, || {
        // The cargo that runs xtask, so that a toolchain chosen by `cargo +NAME` holds.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.arg(verb).args(args).envs(env.iter().copied()).current_dir(root);
        let status = command.status().context("cannot start cargo")?;
        if !status.success() {
            bail!("{line}: {status}");
        }
        Ok(())
    })
}
