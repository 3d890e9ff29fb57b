//! `inspect`, `score` and `bench` on the tiny checkpoints of fixtures/golden.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod bench;
mod inspect;
mod score;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FAMILIES: [&str; 7] =
    ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8"];

/// The folder of a family's tiny checkpoint.
fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// How a command ended and what it wrote.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ruminate(args: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_ruminate")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// What a command that must succeed writes to stdout.
fn stdout(args: &[&str]) -> String {
    let ended = ruminate(args);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{args:?}");
    ended.out
}

/// The same as JSON.
fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// The one line that a command fails with.
fn fault(args: &[&str]) -> String {
    let ended = ruminate(args);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{args:?}: {ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{}", ended.err);
    ended.err
}

/// The path of a golden checkpoint as an argument.
fn model(family: &str) -> String {
    golden(family).display().to_string()
}
