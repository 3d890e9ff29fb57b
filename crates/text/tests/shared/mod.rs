//! Fixtures, and what the `tokenizers` package made of them.

use std::path::{Path, PathBuf};

use ruminate_text::{Prompt, Tokenizer};
use serde_json::Value;

/// The path of something in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn fixture(name: &str) -> String {
    let path = repository("fixtures/text").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

pub(crate) fn fixture_json(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Compares `tokenizer` with what the `tokenizers` package made of the corpus and of prompts.
pub(crate) fn check_ids(name: &str, tokenizer: &Tokenizer) {
    let expected = fixture_json(&format!("ids/{name}.json"));
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value["ids"].clone()).unwrap() };
    let corpus = fixture("corpus.txt");
    let texts = std::iter::once(corpus.as_str()).chain(corpus.split('\n'));
    let mut compared = 0;
    for (text, expected) in texts.zip(expected["texts"].as_array().unwrap()) {
        // The package makes tokens of tags that anybody writes; we make text of them.
        if text.contains("<think>") && tokenizer.added("<think>").is_some() {
            let prompt = Prompt::of_markup(text);
            assert_eq!(
                tokenizer.encode_prompt(&prompt).unwrap(),
                ids(expected),
                "{name}: {text:?}"
            );
            continue;
        }
        assert_eq!(tokenizer.encode_text(text).unwrap(), ids(expected), "{name}: {text:?}");
        compared += 1;
    }
    let rendered = fixture_json("rendered.json");
    for prompt in expected["prompts"].as_array().unwrap() {
        let same = |entry: &&Value| {
            entry["template"] == expected["template"]
                && entry["case"] == prompt["case"]
                && entry["thinking"] == prompt["thinking"]
        };
        let entry = rendered.as_array().unwrap().iter().find(same).unwrap();
        let text = entry["text"].as_str().unwrap();
        let found = tokenizer.encode_prompt(&Prompt::of_markup(text)).unwrap();
        assert_eq!(found, ids(prompt), "{name}: {text:?}");
        compared += 1;
    }
    assert!(compared > 30, "{name}: only {compared} texts were compared");
}
