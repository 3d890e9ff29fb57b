//! Tokenizers of a folder against those that their GGUF keys give.

use std::path::{Path, PathBuf};

use text::{Controls, GgufVocab, Prompt, Tokenizer, TokenizerConfig, VocabSource};

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The tokenizer of a folder, and the one that its GGUF keys give.
fn both(folder: &str) -> (Tokenizer, Tokenizer) {
    let read = |name: &str| std::fs::read(repository(folder).join(name));
    let json = read("tokenizer.json").unwrap_or_else(|error| {
        panic!("{folder}: {error}; what is under models/ comes by `cargo xtask fetch`")
    });
    let generation = read("generation_config.json").ok();
    let config = read("tokenizer_config.json").unwrap();
    let config = TokenizerConfig::from_json(&config, generation.as_deref()).unwrap();
    let original = Tokenizer::new(VocabSource::TokenizerJson(&json), &config).unwrap();
    let vocab = GgufVocab::from_tokenizer_json(&json, &config).unwrap();
    let none = TokenizerConfig::default();
    (original, Tokenizer::new(VocabSource::Gguf(&vocab), &none).unwrap())
}

/// The same tokens of every text, the same texts of every token, the same markup and ends.
pub(crate) fn check(folder: &str) {
    let (original, copied) = both(folder);
    let corpus = std::fs::read_to_string(repository("fixtures/text/corpus.txt")).unwrap();
    let odd =
        "<|im_start|>x</think> \t\r\n\n  9,999.50 naïve Ünïcödé 反芻 ｗｉｄｅ e\u{301} 🐄 \u{0}";
    for text in corpus.lines().chain([corpus.as_str(), odd]) {
        let ids = original.encode_document(text).unwrap();
        assert_eq!(copied.encode_document(text).unwrap(), ids, "{folder}: {text:?}");
        let shown = original.decode(&ids, Controls::Keep);
        assert_eq!(copied.decode(&ids, Controls::Keep), shown, "{folder}");
    }
    let mut prompt = Prompt::default();
    for mark in &original.specials().tokens {
        prompt.push_markup(mark);
        prompt.push_text("and <think>, typed");
    }
    let ids = original.encode_prompt(&prompt).unwrap();
    assert_eq!(copied.encode_prompt(&prompt).unwrap(), ids, "{folder}");
    assert_eq!(copied.stops(), original.stops(), "{folder}");
    assert_eq!(copied.bos(), original.bos(), "{folder}");
    assert_eq!(copied.specials(), original.specials(), "{folder}");
    assert_eq!(copied.vocab_len(), original.vocab_len(), "{folder}");
    for id in 0..original.vocab_len() as u32 {
        assert_eq!(copied.is_control(id), original.is_control(id), "{folder} {id}");
        assert_eq!(copied.bytes(id), original.bytes(id), "{folder} {id}");
    }
}
