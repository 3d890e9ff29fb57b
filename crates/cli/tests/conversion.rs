//! `quantize` and `synthesize` as commands: what they write is a model that answers.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::Path;
use std::process::{Command, Output};

fn ruminate(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ruminate"));
    command.current_dir(folder).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs a command that is to succeed; what it printed.
fn succeed(folder: &Path, args: &[&str]) -> String {
    let output = ruminate(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    // No terminal, no bar.
    assert_eq!(text(&output.stderr), "", "{args:?}");
    text(&output.stdout).into()
}

#[test]
fn a_quantised_model_answers_and_is_not_overwritten_by_accident() {
    let folder = tempfile::tempdir().unwrap();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/golden/qwen3_moe");
    let quantize = ["quantize", golden, "moe.gguf", "--type", "q4_k", "--threads", "2"];
    let said = succeed(folder.path(), &quantize);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("moe.gguf: ") && lines[0].contains(" bits a weight, "), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("  q4_k ")), "{said}");
    let fell = "14 tensors fell back to types of shorter blocks, among them token_embd.weight: its \
                rows of 96 are q5_0, not q4_k";
    assert_eq!(*lines.last().unwrap(), fell);

    let again = ruminate(folder.path(), &quantize);
    assert_eq!(again.status.code(), Some(1));
    let expected = "ruminate: moe.gguf exists already: choose another name, or replace it with \
                    --force\n";
    assert_eq!(text(&again.stderr), expected);
    succeed(folder.path(), &[&quantize[..], &["--force"]].concat());

    let run = ["run", "moe.gguf", "chew", "--max-tokens", "4", "--temperature", "0"];
    let answered = ruminate(folder.path(), &run);
    assert!(answered.status.success(), "{}", text(&answered.stderr));
}

#[test]
fn a_made_up_model_answers() {
    let folder = tempfile::tempdir().unwrap();
    let few = ["synthesize", "tiny-deepseek", "tiny.gguf", "--type", "q4_0", "--layers", "2"];
    let said = succeed(folder.path(), &few);
    assert!(said.starts_with("tiny.gguf: "), "{said}");
    let answered = ruminate(folder.path(), &["run", "tiny.gguf", "chew", "--max-tokens", "4"]);
    assert!(answered.status.success(), "{}", text(&answered.stderr));
    // Its own header gives it back.
    succeed(folder.path(), &["synthesize", "--header", "tiny.gguf", "again.gguf"]);
    let [first, again] = ["tiny.gguf", "again.gguf"].map(|name| folder.path().join(name));
    assert!(std::fs::read(first).unwrap() == std::fs::read(again).unwrap());
}

#[test]
fn a_type_that_gguf_lacks_is_refused_with_those_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let refused = ruminate(folder.path(), &["quantize", "x", "y.gguf", "--type", "f8_e4m3"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("q6_k, iq4_nl, iq4_xs, q4_k_s, q4_k_m"));
    let refused = ruminate(folder.path(), &["synthesize", "gpt-2", "y.gguf", "--type", "q4_0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).starts_with("ruminate: no shape is called gpt-2 (known: "));
}
