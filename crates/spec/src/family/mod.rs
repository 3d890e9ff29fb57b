//! The families: how a config becomes a spec, and what the weights are called.
//!
//! To add one of known parts: a file here and a line in [`FAMILIES`].

mod deepseek;
mod llama;
mod names;
mod qwen2;
mod qwen3;
mod rope;

use crate::{Config, Dialect, Error, ModelSpec};

/// A kind of model that config files name.
pub struct Family {
    pub name: &'static str,
    /// `architectures` of `config.json`.
    pub hugging_face: &'static [&'static str],
    /// `general.architecture` of GGUF.
    pub gguf: &'static [&'static str],
    pub spec: fn(&Config) -> Result<ModelSpec, Error>,
}

pub const FAMILIES: &[Family] = &[
    llama::LLAMA,
    qwen2::QWEN2,
    qwen3::QWEN3,
    qwen3::QWEN3_MOE,
    deepseek::DEEPSEEK_V2,
    deepseek::DEEPSEEK_V3,
];

impl ModelSpec {
    /// What the model of a config is.
    pub fn from_config(config: &Config) -> Result<ModelSpec, Error> {
        let name = match config.dialect {
            Dialect::Gguf => config.text(&["general.architecture"])?,
            Dialect::HuggingFace => config.first_text("architectures")?,
        };
        let name = name.ok_or_else(|| match config.dialect {
            Dialect::Gguf => Error::Missing { key: "general.architecture".into() },
            Dialect::HuggingFace => Error::Missing { key: "architectures".into() },
        })?;
        let family = FAMILIES.iter().find(|family| match config.dialect {
            Dialect::Gguf => family.gguf.contains(&name),
            Dialect::HuggingFace => family.hugging_face.contains(&name),
        });
        let family = family.ok_or_else(|| {
            let names = FAMILIES.iter().flat_map(|family| match config.dialect {
                Dialect::Gguf => family.gguf,
                Dialect::HuggingFace => family.hugging_face,
            });
            let known = names.copied().collect::<Vec<_>>().join(", ");
            Error::UnknownFamily { name: name.chars().take(80).collect(), known }
        })?;
        (family.spec)(config)?.check()
    }
}

/// The key of a GGUF config under its architecture, `qwen2.block_count` for `block_count`.
fn gguf_key(config: &Config, key: &str) -> String {
    let architecture = config.text(&["general.architecture"]).ok().flatten().unwrap_or("general");
    format!("{architecture}.{key}")
}

/// The keys of one fact in both dialects; the one that the config follows is returned.
fn key(config: &Config, hugging_face: &str, gguf: &str) -> String {
    match config.dialect {
        Dialect::HuggingFace => hugging_face.into(),
        Dialect::Gguf => gguf_key(config, gguf),
    }
}
