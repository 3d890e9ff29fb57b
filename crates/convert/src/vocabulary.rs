//! A checkpoint's tokenizer, chat template and sampling as keys of a GGUF file.

use std::path::Path;

use formats::TextSource;
use formats::gguf::{Array, Metadata, Value};
use text::{GgufVocab, TokenizerConfig};

use crate::Error;

/// What `generation_config.json` and GGUF call the settings of sampling.
const SAMPLING: [(&str, &str); 5] = [
    ("temperature", "general.sampling.temp"),
    ("top_k", "general.sampling.top_k"),
    ("top_p", "general.sampling.top_p"),
    ("min_p", "general.sampling.min_p"),
    ("repetition_penalty", "general.sampling.penalty_repeat"),
];

/// Adds the keys of a text source for a model of `vocab_len` rows. A folder without a tokenizer
/// gives a file without one.
///
/// # Errors
/// [`Error::Text`] for a tokenizer that GGUF cannot hold, [`Error::Misshapen`] for one with more
/// tokens than the model has rows.
pub(crate) fn add(
    path: &Path,
    source: &TextSource,
    vocab_len: usize,
    metadata: &mut Metadata,
) -> Result<(), Error> {
    let TextSource::HuggingFace { tokenizer, tokenizer_config, chat_template, generation_config } =
        source
    else {
        panic!("the keys of a GGUF file are taken over as they are");
    };
    let of_text = |source| Error::Text { path: path.into(), source };
    let config = tokenizer_config.as_deref().unwrap_or(b"{}");
    let generation = generation_config.as_deref();
    let config = TokenizerConfig::from_json(config, generation).map_err(of_text)?;
    if let Some(tokenizer) = tokenizer {
        let mut vocab = GgufVocab::from_tokenizer_json(tokenizer, &config).map_err(of_text)?;
        if vocab.tokens.len() > vocab_len {
            return Err(Error::Misshapen {
                path: path.into(),
                what: "the number of tokens".into(),
                found: vocab.tokens.len().to_string(),
                expected: format!("at most {vocab_len}, the rows of the embedding"),
            });
        }
        vocab.pad_to(vocab_len);
        add_vocab(&vocab, metadata);
    }
    if let Some(template) = chat_template.as_ref().or(config.chat_template.as_ref()) {
        metadata.insert("tokenizer.chat_template", Value::Text(template.clone()));
    }
    if let Some(generation) = generation {
        add_sampling(generation, metadata);
    }
    Ok(())
}

/// Sets the `tokenizer.ggml.*` keys of a vocabulary; those that it lacks stay unset.
pub(crate) fn add_vocab(vocab: &GgufVocab, metadata: &mut Metadata) {
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            metadata.insert(&format!("tokenizer.ggml.{key}"), value);
        }
    };
    let texts =
        |texts: &[String]| Value::Array(Array::from_texts(texts.iter().map(String::as_str)));
    let types = (!vocab.token_types.is_empty()).then(|| Array::from_i32s(&vocab.token_types));
    let scores = (!vocab.scores.is_empty()).then(|| Array::from_f32s(&vocab.scores));
    set("model", Some(Value::Text(vocab.model.clone())));
    set("pre", vocab.pre.clone().map(Value::Text));
    set("tokens", Some(texts(&vocab.tokens)));
    set("token_type", types.map(Value::Array));
    set("scores", scores.map(Value::Array));
    // A byte-level vocabulary has the key even where nothing merges: llama.cpp asks for it.
    set("merges", (vocab.model == "gpt2").then(|| texts(&vocab.merges)));
    for (key, id) in [
        ("bos_token_id", vocab.bos),
        ("eos_token_id", vocab.eos),
        ("eot_token_id", vocab.eot),
        ("unknown_token_id", vocab.unk),
        ("padding_token_id", vocab.pad),
    ] {
        set(key, id.map(Value::U32));
    }
    for (key, flag) in [
        ("add_bos_token", vocab.add_bos),
        ("add_eos_token", vocab.add_eos),
        ("add_space_prefix", vocab.add_space_prefix),
    ] {
        set(key, flag.map(Value::Bool));
    }
}

/// What a generation config says of sampling. `TokenizerConfig` has read it: it is a JSON object.
fn add_sampling(generation: &[u8], metadata: &mut Metadata) {
    let config: serde_json::Value = serde_json::from_slice(generation).unwrap_or_default();
    for (name, key) in SAMPLING {
        let Some(number) = config.get(name).and_then(serde_json::Value::as_f64) else { continue };
        let value = match name {
            "top_k" => Value::I32(number as i32),
            _ => Value::F32(number as f32),
        };
        metadata.insert(key, value);
    }
}
