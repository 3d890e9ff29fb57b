//! Every command end to end, on tiny models.

#![expect(clippy::unwrap_used, reason = "a test stops where its ground is missing")]

mod chat;
mod eval;
mod faults;
mod pull;
mod run;
#[path = "../shared/serving.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod serving;
#[path = "../shared/mod.rs"]
mod shared;
mod thinking;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use shared::{repository, ruminate, run as run_to_end};

/// The dense families.
const FAMILIES: [&str; 3] = ["llama", "qwen2", "qwen3"];

/// A tiny model with a context of 256 tokens.
fn golden(family: &str) -> PathBuf {
    repository("fixtures/golden").join(family)
}

/// `ruminate COMMAND MODEL`, greedy.
fn greedy(command: &str, model: &Path) -> Command {
    let mut it = ruminate();
    it.arg(command).arg(model).args(["--temperature", "0", "--threads", "1"]);
    it
}

/// The object that a command printed.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A copy of a tiny model, to be changed.
fn copy(family: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(golden(family)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}

/// A tiny model whose template opens the thinking, as R1's does, and has no switch.
fn thinker() -> TempDir {
    let folder = copy("llama");
    let path = folder.path().join("tokenizer_config.json");
    let mut config = json(&fs::read_to_string(&path).unwrap());
    config["chat_template"] = "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + \
                               m.content.split('</think>')[-1] + '<|im_end|>\n' }}{%- endfor %}\
                               {{- '<|im_start|>assistant\n<think>\n' }}"
        .into();
    fs::write(&path, config.to_string()).unwrap();
    folder
}

/// The stdout of a command that must succeed and say nothing else.
fn stdout(command: &mut Command, input: &str) -> String {
    let ended = run_to_end(command, input);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{command:?}");
    ended.out
}
