//! Questions that are made up, a model made of them from nothing, and the model in the binary.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

#[expect(dead_code, reason = "other tests use the rest")]
mod shared;

use std::collections::HashSet;
use std::path::Path;

use serde_json::Value;
use shared::{repository, ruminate, run};

fn tasks(arguments: &[&str]) -> Vec<Value> {
    let ended = run(ruminate().arg("tasks").args(arguments), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn questions_are_made_by_task_difficulty_and_seed() {
    let rows = tasks(&["chain,talk", "--difficulty", "2..3", "--count", "20", "--written", "slow"]);
    assert_eq!(rows.len(), 40);
    let chains: Vec<&Value> = rows.iter().filter(|row| row["task"] == "chain").collect();
    assert_eq!(chains.len(), 20);
    for chain in chains {
        assert!([2, 3].contains(&chain["difficulty"].as_u64().unwrap()), "{chain}");
        let answer = chain["answer"].as_str().unwrap();
        let completion = chain["completion"].as_str().unwrap();
        assert!(completion.ends_with(&format!("={answer}\n</think>\n\n{answer}")), "{chain}");
    }
    let questions = |rows: &[Value]| -> HashSet<String> {
        rows.iter().map(|row| row["question"].as_str().unwrap().to_string()).collect()
    };
    let learned = questions(&tasks(&["--count", "200", "--seed", "1"]));
    let held_out = questions(&tasks(&["--count", "200", "--seed", "1", "--held-out"]));
    assert_eq!(learned.intersection(&held_out).count(), 0);
    let ended = run(ruminate().args(["tasks", "poems"]), "");
    assert!(ended.code == Some(2) && ended.err.contains("expected chain, compare"), "{ended:?}");
}

/// A recipe of two short stages on a tiny model.
fn recipe(folder: &Path) -> std::path::PathBuf {
    let text = format!(
        r#"
[settings.model]
tokenizer = {:?}
[settings.model.scratch.config]
architectures = ["Qwen3ForCausalLM"]
model_type = "qwen3"
vocab_size = 768
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 16
max_position_embeddings = 256
rms_norm_eps = 1e-6
rope_theta = 10000.0
tie_word_embeddings = true
hidden_act = "silu"
eos_token_id = 2
[settings.data]
verifier = "verifier"
[settings.train]
steps = 2
rows = 8
tokens_max = 128
[settings.rollout]
prompts = 2
samples = 2
tokens_max = 16
[settings.optimizer]
rate = 1e-3
[[stage]]
name = "show"
kind = "sft"
questions = [{{ tasks = ["chain"], difficulty = [1, 2], count = 40, written = "half" }}]
[[stage]]
name = "try"
kind = "rl"
settings.rollout.modes = "half-each"
settings.reward.mask_truncated = false
questions = [{{ tasks = ["chain", "compare", "talk"], count = 20 }}]
[[held_out]]
name = "sums"
tasks = ["chain"]
difficulty = [1, 2]
count = 4
"#,
        repository("recipes/tokenizer")
    );
    let path = folder.join("tiny.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_recipe_makes_a_model_from_nothing_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = recipe(folder.path());
    let out = folder.path().join("out");
    let make = || run(ruminate().arg("recipe").arg(&path).arg("--out").arg(&out), "");
    let first = make();
    assert_eq!(first.code, Some(0), "{first:?}");
    for stage in ["show", "try"] {
        let found = std::fs::read(out.join(stage).join("sums.json")).unwrap();
        let found: Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["modes"].as_array().unwrap().len(), 3);
        assert_eq!(found["questions"].as_array().unwrap().len(), 4);
        assert!(out.join(stage).join("run/model/model.safetensors").exists());
    }
    let weights = || std::fs::read(out.join("try/run/model/model.safetensors")).unwrap();
    let before = weights();
    let again = make();
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("show: trained already"), "{again:?}");
    assert_eq!(weights(), before);
}

#[test]
fn recipes_that_cannot_be_are_refused_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.toml");
    for (text, fault) in [
        ("stage = []\nsettings = {}", "there is no stage"),
        ("settings = {}\n[[stage]]\nname = \"../x\"\nkind = \"sft\"\nquestions = []", "../x"),
        ("settings = {}\nstages = 1", "unknown field"),
    ] {
        std::fs::write(&path, text).unwrap();
        let ended = run(ruminate().arg("recipe").arg(&path), "");
        assert!(ended.code == Some(1) && ended.err.contains(fault), "{text}: {ended:?}");
    }
    assert!(!folder.path().join("x").exists());
}

#[test]
fn the_built_in_model_answers_where_none_is_named() {
    let ask = |question: &str| {
        let ended = run(ruminate().args(["run", question, "--json"]), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.err.contains("the built-in model answers"), "{ended:?}");
        assert!(ended.err.contains("ruminate run MODEL"), "{ended:?}");
        serde_json::from_str::<Value>(&ended.out).unwrap()
    };
    for (question, answer) in [
        ("你好", "你好！给我一道算式，我从左到右算。"),
        ("Hello!", "Hello! Give me a sum and I work it out from left to right."),
    ] {
        let found = ask(question);
        assert_eq!(found["answer"], answer, "{found}");
        assert_eq!(found["auto"]["thinks"], false, "{found}");
    }
    let found = ask("What is 7+4*3-8+2*2?");
    assert_eq!(found["auto"]["thinks"], true, "{found}");
    assert!(found["thinking"].as_str().unwrap().starts_with("7+4*3-8+2*2\n=11*3"), "{found}");
    assert_eq!(found["answer"], "54", "{found}");
}

#[test]
fn the_built_in_model_answers_each_message_of_a_chat_for_itself() {
    let ended = run(ruminate().arg("chat"), "Hello!\n7+4*3\n你好\n6*7-2\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let answers: Vec<&str> = ended.out.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        answers,
        [
            "Hello! Give me a sum and I work it out from left to right.",
            "33",
            "你好！给我一道算式，我从左到右算。",
            "40",
        ]
    );
}
