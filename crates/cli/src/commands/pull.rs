//! `ruminate pull`: a model of the hub onto this machine.

use std::io::{self, Write};

use anyhow::Context;
use hub::{Name, Snapshot};
use serde_json::json;

use crate::terminal::{bars, locate, remark};

const EXAMPLES: &str = "\
Examples:
  ruminate pull Qwen/Qwen3-8B                  Safetensors, as the maker published them
  ruminate pull Qwen/Qwen3-8B-GGUF:Q4_K_M      One of several GGUF files
  ruminate pull Qwen/Qwen3-8B@v1.0 --verify    A certain revision, every byte checked again

An interrupted pull goes on where it stopped. Files go into the cache of Python's huggingface_hub.";

/// Arguments of `pull`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// org/repo or org/repo:Q4_K_M, with @revision if you like.
    #[arg(value_name = "NAME")]
    name: String,
    /// Read every file again and compare its hash.
    #[arg(long)]
    verify: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Pulls a model and prints its path.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let name = Name::parse(&args.name)?;
    let snapshot = locate::pull(&name)?;
    if args.verify {
        snapshot.verify(&mut bars::Files::new("verifying"))?;
        remark(&format!("{} files have the hashes that the hub gave", snapshot.files.len()));
    }
    let mut out = io::stdout();
    if args.json {
        writeln!(out, "{}", describe(&name, &snapshot, args.verify)?)?;
    } else {
        writeln!(out, "{}", snapshot.model_path().display())?;
    }
    Ok(())
}

fn describe(name: &Name, snapshot: &Snapshot, verified: bool) -> anyhow::Result<serde_json::Value> {
    let mut files = Vec::with_capacity(snapshot.files.len());
    let mut total = 0;
    for file in &snapshot.files {
        let bytes = file.metadata().with_context(|| file.display().to_string())?.len();
        total += bytes;
        files.push(json!({ "path": file, "bytes": bytes }));
    }
    Ok(json!({
        "name": name.to_string(),
        "path": snapshot.model_path(),
        "commit": snapshot.commit,
        "quant": snapshot.quant,
        "current": snapshot.is_current,
        "verified": verified,
        "bytes": total,
        "files": files,
    }))
}
