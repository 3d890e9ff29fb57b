//! Folders as they come: Hugging Face checkpoints that transformers wrote, and GGUF beside them.

use std::fs;
use std::path::{Path, PathBuf};

use quant::QuantType;
use ruminate_formats::{Access, TextSource, open, open_with};
use spec::{Dialect, Value};

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

#[test]
fn a_hugging_face_folder_is_config_tensors_and_text() {
    let checkpoint = open(&golden("llama")).unwrap();
    let config = &checkpoint.config;
    assert_eq!(config.dialect, Dialect::HuggingFace);
    assert_eq!(config.values["hidden_size"], Value::Int(96));
    assert_eq!(config.values["rope_parameters.rope_theta"], Value::Float(500_000.0));
    assert!(config.has_tensor("model.embed_tokens.weight"));

    let embedding = checkpoint.weights.tensor("model.embed_tokens.weight").unwrap();
    assert_eq!((embedding.quant, &embedding.shape[..]), (QuantType::Bf16, &[320, 96][..]));
    let origin = embedding.origin.clone().unwrap();
    let file = fs::read(&origin.path).unwrap();
    let at = origin.offset as usize;
    assert_eq!(file[at..at + embedding.bytes.len()], embedding.bytes[..]);
    assert!(embedding.to_f32().iter().all(|x| x.is_finite()));

    let TextSource::HuggingFace { tokenizer, tokenizer_config, chat_template, generation_config } =
        checkpoint.text
    else {
        panic!("the text of a folder comes from its files");
    };
    assert!(tokenizer.unwrap().starts_with(b"{"));
    assert!(tokenizer_config.is_some() && generation_config.is_some());
    assert_eq!(chat_template, None);
}

#[test]
fn weights_mapped_or_read_are_the_same() {
    let mapped = open_with(&golden("qwen3"), Access::Map).unwrap();
    mapped.check_unchanged().unwrap();
    for access in [Access::Read, Access::OnDemand] {
        let read = open_with(&golden("qwen3"), access).unwrap();
        assert_eq!(mapped.weights.names(), read.weights.names());
        assert_eq!(mapped.weights.bytes(), read.weights.bytes());
        for name in mapped.weights.names() {
            let [mapped, read] = [&mapped, &read].map(|model| model.weights.tensor(name).unwrap());
            assert_eq!(mapped.bytes[..], read.bytes[..], "{name}, {access:?}");
            assert_eq!(mapped.origin, read.origin);
        }
    }
}

#[test]
fn every_golden_config_makes_a_spec() {
    let families = fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let mut n = 0;
    for folder in families.filter(|path| path.join("config.json").exists()) {
        let checkpoint = open(&folder).unwrap();
        spec::ModelSpec::from_config(&checkpoint.config).unwrap();
        n += 1;
    }
    assert!(n >= 3, "{n} folders");
}
