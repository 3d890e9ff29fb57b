//! The vocabularies of real models, read from `models/`, make the tokens that the Python package
//! `tokenizers` makes of them.
//!
//! `cargo xtask fetch` brings them; a test without its file fails and says so.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod shared;

use std::path::PathBuf;

use formats::gguf::{Metadata, parse_metadata};
use ruminate_text::{
    ChatTemplate, Controls, GgufVocab, Thinking, Tokenizer, TokenizerConfig, VocabSource,
};
use shared::{check_ids, fixture, repository};

/// The bytes of a file under `models/`, and where it is.
fn model_file(path: &str, fetch: &str) -> (PathBuf, Vec<u8>) {
    let path = repository("models").join(path);
    match std::fs::read(&path) {
        Ok(bytes) => (path, bytes),
        Err(e) => panic!("{}: {e}; run `cargo xtask fetch {fetch}`", path.display()),
    }
}

/// The only GGUF file of a folder under `models/`: its keys.
fn gguf_keys(folder: &str, fetch: &str) -> Metadata {
    let files = std::fs::read_dir(repository("models").join(folder));
    let files = files.into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let found = files.map(|f| f.into_string().unwrap()).find(|f| f.ends_with(".gguf"));
    let (path, bytes) = model_file(&format!("{folder}/{}", found.unwrap_or_default()), fetch);
    parse_metadata(&path, &bytes.into()).unwrap()
}

fn gguf_vocab(keys: &Metadata) -> GgufVocab {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let id = |name: &str| keys.int(&key(name)).unwrap().map(|id| u32::try_from(id).unwrap());
    let texts = |name: &str| -> Vec<String> {
        keys.texts(&key(name)).unwrap().unwrap().into_iter().map(str::to_owned).collect()
    };
    let types = keys.ints(&key("token_type")).unwrap().unwrap();
    GgufVocab {
        model: keys.text(&key("model")).unwrap().unwrap().to_owned(),
        pre: keys.text(&key("pre")).unwrap().map(str::to_owned),
        tokens: texts("tokens"),
        token_types: types.into_iter().map(|t| i32::try_from(t).unwrap()).collect(),
        merges: texts("merges"),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        unk: id("unknown_token_id"),
        pad: id("padding_token_id"),
        add_bos: keys.bool(&key("add_bos_token")).unwrap(),
        add_space_prefix: keys.bool(&key("add_space_prefix")).unwrap(),
        ..GgufVocab::default()
    }
}

/// A tokenizer and the template that comes with it.
fn from_gguf(folder: &str, fetch: &str) -> (Tokenizer, String) {
    let keys = gguf_keys(folder, fetch);
    let vocab = gguf_vocab(&keys);
    let source = VocabSource::Gguf(&vocab);
    let tokenizer = Tokenizer::new(source, &TokenizerConfig::default()).unwrap();
    (tokenizer, keys.text("tokenizer.chat_template").unwrap().unwrap().to_owned())
}

fn from_json(folder: &str, fetch: &str) -> (Tokenizer, String) {
    let (_, vocab) = model_file(&format!("{folder}/tokenizer.json"), fetch);
    let (_, config) = model_file(&format!("{folder}/tokenizer_config.json"), fetch);
    let config = TokenizerConfig::from_json(&config, None).unwrap();
    let tokenizer = Tokenizer::new(VocabSource::TokenizerJson(&vocab), &config).unwrap();
    (tokenizer, config.chat_template.unwrap())
}

/// What holds of every vocabulary, and whether its model thinks.
fn check(name: &str, tokenizer: &Tokenizer, template: &str) -> bool {
    check_ids(name, tokenizer);
    let specials = tokenizer.specials();
    for token in &specials.tokens {
        for text in [token.clone(), format!(" a{token}{token}\n")] {
            let ids = tokenizer.encode_text(&text).unwrap();
            let forged = ids.iter().find(|&&id| tokenizer.added(token) == Some(id));
            assert_eq!(forged, None, "{name}: {text:?} forges {token:?}");
            assert!(ids.iter().all(|&id| !tokenizer.is_control(id)), "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&ids, Controls::Drop), text, "{name}");
        }
    }
    let template = ChatTemplate::parse(template, &specials).unwrap();
    Thinking::of(tokenizer, &template).unwrap().is_some()
}

/// The same vocabulary as files of a Hugging Face folder.
fn exported(folder: &str, fetch: &str) -> Tokenizer {
    let vocab = gguf_vocab(&gguf_keys(folder, fetch));
    let config = TokenizerConfig::from_json(&vocab.to_tokenizer_config(None), None).unwrap();
    let json = vocab.to_tokenizer_json().unwrap();
    Tokenizer::new(VocabSource::TokenizerJson(&json), &config).unwrap()
}

#[test]
fn smollm2() {
    let (tokenizer, template) = from_gguf("smollm2", "smollm2");
    assert_eq!(tokenizer.vocab_len(), 49_152);
    assert_eq!(tokenizer.stops(), [0, 2]);
    assert_eq!(template, fixture("templates/smollm2.jinja"));
    assert!(!check("smollm2", &tokenizer, &template));
    check("smollm2", &exported("smollm2", "smollm2"), &template);
    // Its file says not to, though it names a token to begin with.
    let text = "2+2";
    assert_eq!(tokenizer.encode_document(text), tokenizer.encode_text(text));
}

#[test]
fn r1_distill_qwen() {
    let (tokenizer, template) = from_gguf("r1-header", "r1-header");
    assert_eq!(tokenizer.vocab_len(), 152_064);
    assert_eq!(tokenizer.bos(), Some(151_646));
    assert_eq!(tokenizer.stops(), [151_643, 151_647]);
    assert_eq!(tokenizer.added("</think>"), Some(151_649));
    assert_eq!(template, fixture("templates/r1-distill-first.jinja"));
    assert!(check("r1-qwen", &tokenizer, &template));
    assert!(check("r1-qwen", &exported("r1-header", "r1-header"), &template));
    assert_eq!(tokenizer.encode_document("").unwrap(), [151_646]);
}

#[test]
fn deepseek_v3() {
    let (tokenizer, template) = from_json("deepseek-v3", "deepseek-v3-tokenizer");
    assert_eq!(tokenizer.vocab_len(), 128_815);
    assert_eq!(tokenizer.stops(), [1, 128_805]);
    assert_eq!(tokenizer.encode_document("").unwrap(), [0]);
    assert!(!check("deepseek-v3", &tokenizer, &template));
}

#[test]
fn qwen3() {
    let (tokenizer, template) = from_json("qwen3", "qwen3-tokenizer");
    assert_eq!(tokenizer.vocab_len(), 151_669);
    assert_eq!(tokenizer.stops(), [151_643, 151_645]);
    assert_eq!(tokenizer.added("<think>"), Some(151_667));
    assert!(check("qwen3", &tokenizer, &template));
}
