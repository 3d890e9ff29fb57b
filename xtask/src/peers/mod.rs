//! `cargo xtask peers`: ruminate beside llama.cpp, on the same files, in turn.
//!
//! Start at [`run`]. `models` are the files and what is measured on each, `install` builds
//! llama.cpp, `driver` speaks with it through `llama.py`, `speed` takes the turns, `page` and
//! `picture` write what came out. `numerics` compares perplexities instead of seconds; `training`
//! is beside PyTorch instead.

mod driver;
mod flags;
mod install;
mod models;
mod numerics;
mod page;
mod picture;
mod speed;
mod training;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use driver::Llama;
use flags::Flags;
use install::Peer;
use models::MODELS;

/// Where both engines and the files are.
struct Bench<'a> {
    root: &'a Path,
    ruminate: std::path::PathBuf,
    peer: Peer,
    threads: usize,
}

pub(crate) fn run(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    let flags = Flags::parse(args)?;
    if flags.training {
        print!("{}", training::measure(root, flags.threads, flags.runs)?);
        return Ok(());
    }
    let peer = install::peer(root)?;
    build(root, &["--package", "ruminate"])?;
    let ruminate = install::target(root).join("release/ruminate");
    let bench = Bench { root, ruminate, peer, threads: flags.threads };
    let info = Llama::start(&bench.peer)?.info()?;
    println!("llama.cpp {} ({}): {}", info.version, info.package, info.system);
    let out = root.join(&flags.out);
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let write = |name: &str, text: &str| {
        println!("{}/{name}", flags.out);
        fs::write(out.join(name), text).with_context(|| format!("cannot write {name}"))
    };
    if flags.numerics {
        let text = numerics::measure(&bench, &info)?;
        write("numerics.md", &text)?;
    }
    if flags.speed {
        let mut measured = Vec::new();
        for model in MODELS.iter().filter(|model| flags.takes(model.name)) {
            measured.push(speed::measure(&bench, model, flags.runs)?);
            // After each, so that what was measured outlives what fails.
            write("peers.svg", &picture::draw(&measured))?;
            write("peers.md", &page::write(&measured, &info, &flags))?;
        }
    }
    Ok(())
}

/// Builds what `what` names.
fn build(root: &Path, what: &[&str]) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release"]).args(what).current_dir(root);
    // What `cargo xtask` is told of itself would have dependencies built anew.
    let told = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_"];
    for (name, _) in std::env::vars_os() {
        if told.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            build.env_remove(name);
        }
    }
    let status = build.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("cargo build --release {}: {status}", what.join(" "));
    }
    Ok(())
}
