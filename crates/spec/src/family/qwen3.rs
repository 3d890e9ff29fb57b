//! Qwen3: Llama with a norm on each query and key head; its MoE has experts in every layer.

use super::llama::{gqa, refuse};
use super::{Family, gguf_key, key, llama};
use crate::{
    AttentionSpec, Config, Dialect, Error, FfnSpec, GqaSpec, LayerSpec, MoeSpec, Pairing,
    RouterSpec, Scoring,
};

pub(super) const QWEN3: Family = Family {
    name: "qwen3",
    hugging_face: &["Qwen3ForCausalLM"],
    gguf: &["qwen3"],
    spec: |config| llama::dense("qwen3", config, attention(config)?),
};

pub(super) const QWEN3_MOE: Family = Family {
    name: "qwen3moe",
    hugging_face: &["Qwen3MoeForCausalLM"],
    gguf: &["qwen3moe"],
    spec: |config| {
        let n_layers = config.count(&[&key(config, "num_hidden_layers", "block_count")])?;
        let layer = LayerSpec {
            attention: AttentionSpec::Gqa(attention(config)?),
            ffn: FfnSpec::Moe(moe(config)?),
        };
        llama::with_layers("qwen3moe", config, vec![layer; n_layers.min(2048)])
    },
};

fn attention(config: &Config) -> Result<GqaSpec, Error> {
    refuse(config, &["attention_bias"])?;
    Ok(GqaSpec { qk_norm: true, ..gqa(config, Pairing::Half)? })
}

fn moe(config: &Config) -> Result<MoeSpec, Error> {
    if config.count_or(&["decoder_sparse_step"], 1)? != 1
        || config.length("mlp_only_layers").unwrap_or(0) > 0
    {
        return Err(Error::Unsupported { what: "Qwen3-MoE with dense layers among sparse".into() });
    }
    let n_experts = match config.dialect {
        Dialect::HuggingFace => config.count(&["num_experts", "num_local_experts"])?,
        Dialect::Gguf => config.count(&[&gguf_key(config, "expert_count")])?,
    };
    let hidden = key(config, "moe_intermediate_size", "expert_feed_forward_length");
    Ok(MoeSpec {
        n_experts,
        n_chosen: config.count(&[&key(config, "num_experts_per_tok", "expert_used_count")])?,
        hidden: config.count(&[&hidden])?,
        shared_hidden: 0,
        router: RouterSpec {
            scoring: Scoring::Softmax,
            selection_bias: false,
            groups: None,
            // GGUF has no key for it: every Qwen3-MoE normalises.
            normalise: config.bool_or(&["norm_topk_prob"], config.dialect == Dialect::Gguf)?,
            scale: 1.0,
        },
    })
}
