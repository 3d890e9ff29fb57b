//! Llama: grouped-query attention and SwiGLU, without biases.

use super::names::NAMES;
use super::rope::rope;
use super::{Family, gguf_key, key};
use crate::{
    AttentionSpec, Config, Dialect, Error, FfnSpec, GqaSpec, LayerSpec, ModelSpec, Pairing,
};

pub(super) const LLAMA: Family = Family {
    name: "llama",
    hugging_face: &["LlamaForCausalLM"],
    gguf: &["llama"],
    spec: |config| {
        refuse(config, &["attention_bias", "mlp_bias"])?;
        // GGUF permutes the rows of Llama's queries and keys so that pairs lie side by side.
        let pairing = match config.dialect {
            Dialect::HuggingFace => Pairing::Half,
            Dialect::Gguf => Pairing::Adjacent,
        };
        dense("llama", config, gqa(config, pairing)?)
    },
};

/// A model whose layers are all alike: `attention` and a dense SwiGLU.
pub(super) fn dense(
    family: &'static str,
    config: &Config,
    attention: GqaSpec,
) -> Result<ModelSpec, Error> {
    let n_layers = config.count(&[&key(config, "num_hidden_layers", "block_count")])?;
    let hidden = config.count(&[&key(config, "intermediate_size", "feed_forward_length")])?;
    let layer =
        LayerSpec { attention: AttentionSpec::Gqa(attention), ffn: FfnSpec::Dense { hidden } };
    with_layers(family, config, vec![layer; n_layers.min(2048)])
}

/// The facts that all families spell alike, around layers that they do not.
pub(super) fn with_layers(
    family: &'static str,
    config: &Config,
    layers: Vec<LayerSpec>,
) -> Result<ModelSpec, Error> {
    if let Some(act) = config.text(&["hidden_act"])?.filter(|act| *act != "silu") {
        return Err(Error::Unsupported { what: format!("activation {act}") });
    }
    let vocab_key = key(config, "vocab_size", "vocab_size");
    // Many GGUF files give the vocabulary only as the tokenizer's list.
    let listed = config.length("tokenizer.ggml.tokens").unwrap_or(0);
    let vocab = match (config.count_or(&[&vocab_key], listed)?, listed) {
        (0, _) => config.count(&[&vocab_key])?,
        (vocab, _) => vocab,
    };
    let eps = key(config, "rms_norm_eps", "attention.layer_norm_rms_epsilon");
    Ok(ModelSpec {
        family,
        vocab,
        dim: config.count(&[&key(config, "hidden_size", "embedding_length")])?,
        context_max: config.count(&[&key(config, "max_position_embeddings", "context_length")])?,
        norm_eps: config.float(&[&eps])? as f32,
        tied_head: match config.dialect {
            Dialect::HuggingFace => config.bool_or(&["tie_word_embeddings"], false)?,
            Dialect::Gguf => !config.has_tensor("output.weight"),
        },
        layers,
        next_token: None,
        names: NAMES,
    })
}

/// Grouped-query attention without biases or norms of its own.
pub(super) fn gqa(config: &Config, pairing: Pairing) -> Result<GqaSpec, Error> {
    refuse(config, &["use_sliding_window"])?;
    let dim = config.count(&[&key(config, "hidden_size", "embedding_length")])?;
    let n_heads = config.count(&[&key(config, "num_attention_heads", "attention.head_count")])?;
    let kv_key = key(config, "num_key_value_heads", "attention.head_count_kv");
    let n_kv_heads = config.count_or(&[&kv_key], n_heads)?;
    if n_kv_heads == 0 {
        return Err(Error::Impossible { what: "no key/value heads".into() });
    }
    let head_key = key(config, "head_dim", "attention.key_length");
    let head_dim = match config.count_or(&[&head_key], 0)? {
        0 if dim.is_multiple_of(n_heads) => dim / n_heads,
        0 => return Err(Error::Impossible { what: format!("{dim} dims in {n_heads} heads") }),
        head_dim => head_dim,
    };
    let rope_dim = match config.dialect {
        Dialect::HuggingFace => head_dim,
        Dialect::Gguf => config.count_or(&[&gguf_key(config, "rope.dimension_count")], head_dim)?,
    };
    let rope = rope(config, rope_dim, pairing)?;
    Ok(GqaSpec { n_heads, n_kv_heads, head_dim, qkv_bias: false, qk_norm: false, rope })
}

/// Refuses a config that switches on something which ruminate does not compute.
pub(super) fn refuse(config: &Config, switches: &[&str]) -> Result<(), Error> {
    for switch in switches {
        if config.bool_or(&[switch], false)? {
            return Err(Error::Unsupported { what: format!("{switch} = true") });
        }
    }
    Ok(())
}
