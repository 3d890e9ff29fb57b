//! DeepSeek-V2 (arXiv 2405.04434) and V3 / R1 (arXiv 2412.19437): latent attention and experts.

use super::rope::{rope, softmax_correction};
use super::{Family, gguf_key, key, llama};
use crate::{
    AttentionSpec, Config, Dialect, Error, FfnSpec, GroupScore, Groups, LayerSpec, MlaSpec,
    ModelSpec, MoeSpec, NextTokenSpec, Pairing, RouterSpec, Scoring,
};

pub(super) const DEEPSEEK_V2: Family = Family {
    name: "deepseek2",
    hugging_face: &["DeepseekV2ForCausalLM"],
    gguf: &["deepseek2"],
    spec: |config| spec("deepseek2", config, Scoring::Softmax),
};

pub(super) const DEEPSEEK_V3: Family = Family {
    name: "deepseek3",
    hugging_face: &["DeepseekV3ForCausalLM"],
    // GGUF files of V3 call themselves deepseek2 and say sigmoid.
    gguf: &[],
    spec: |config| spec("deepseek3", config, Scoring::Sigmoid),
};

fn spec(family: &'static str, config: &Config, scoring: Scoring) -> Result<ModelSpec, Error> {
    llama::refuse(config, &["attention_bias", "mlp_bias"])?;
    let layers_key = key(config, "num_hidden_layers", "block_count");
    let n_layers = config.count(&[&layers_key])?.min(2048);
    let next_key = key(config, "num_nextn_predict_layers", "nextn_predict_layers");
    let n_next = config.count_or(&[&next_key], 0)?;
    // GGUF counts the extra layers among the blocks, config.json does not.
    let n_layers = match config.dialect {
        Dialect::HuggingFace => n_layers,
        Dialect::Gguf => n_layers.saturating_sub(n_next),
    };
    let dense_key = key(config, "first_k_dense_replace", "leading_dense_block_count");
    let n_dense = config.count_or(&[&dense_key], 0)?;
    if config.count_or(&["moe_layer_freq"], 1)? != 1 {
        return Err(Error::Unsupported { what: "moe_layer_freq other than 1".into() });
    }
    let attention = AttentionSpec::Mla(mla(config)?);
    let moe = FfnSpec::Moe(moe(config, scoring)?);
    let hidden = config.count(&[&key(config, "intermediate_size", "feed_forward_length")])?;
    let layer = |i: usize| LayerSpec {
        attention: attention.clone(),
        ffn: if i < n_dense { FfnSpec::Dense { hidden } } else { moe.clone() },
    };
    let layers = (0..n_layers).map(layer).collect();
    let probe = match config.dialect {
        Dialect::HuggingFace => format!("model.layers.{n_layers}.eh_proj.weight"),
        Dialect::Gguf => format!("blk.{n_layers}.nextn.eh_proj.weight"),
    };
    // The config announces the extra layer even where a converter has left it out.
    let next_token = (n_next > 0 && config.has_tensor(&probe))
        .then(|| NextTokenSpec { layer_index: n_layers, layer: layer(n_layers) });
    Ok(ModelSpec { next_token, ..llama::with_layers(family, config, layers)? })
}

fn mla(config: &Config) -> Result<MlaSpec, Error> {
    let count = |hugging_face: &str, gguf: &str| config.count(&[&key(config, hugging_face, gguf)]);
    let latent_rank = count("kv_lora_rank", "attention.kv_lora_rank")?;
    let rope_dim = count("qk_rope_head_dim", "rope.dimension_count")?;
    let (nope_dim, value_dim) = match config.dialect {
        Dialect::HuggingFace => {
            (config.count(&["qk_nope_head_dim"])?, config.count(&["v_head_dim"])?)
        }
        // Newer files keep the head's dims under `_mla`, since the plain keys then describe the
        // latent cache.
        Dialect::Gguf => {
            let either = |name: &str| {
                let keys = [format!("{name}_mla"), name.into()].map(|k| gguf_key(config, &k));
                config.count(&[&keys[0], &keys[1]])
            };
            let nope = either("attention.key_length")?.checked_sub(rope_dim).filter(|&d| d > 0);
            let nope = nope.ok_or_else(|| Error::Impossible { what: "no nope dims".into() })?;
            (nope, either("attention.value_length")?)
        }
    };
    let query_key = key(config, "q_lora_rank", "attention.q_lora_rank");
    let query_rank = Some(config.count_or(&[&query_key], 0)?).filter(|&rank| rank > 0);
    let scale = softmax_correction(config)? / ((nope_dim + rope_dim) as f64).sqrt();
    let pairing = match config.bool_or(&["rope_interleave"], true)? {
        true => Pairing::Adjacent,
        false => Pairing::Half,
    };
    Ok(MlaSpec {
        n_heads: count("num_attention_heads", "attention.head_count")?,
        query_rank,
        latent_rank,
        nope_dim,
        rope_dim,
        value_dim,
        rope: rope(config, rope_dim, pairing)?,
        scale: scale as f32,
    })
}

fn moe(config: &Config, scoring: Scoring) -> Result<MoeSpec, Error> {
    let count = |hugging_face: &str, gguf: &str| config.count(&[&key(config, hugging_face, gguf)]);
    let scoring = match config.dialect {
        Dialect::HuggingFace => match config.text(&["scoring_func"])? {
            None => scoring,
            Some("softmax") => Scoring::Softmax,
            Some("sigmoid") => Scoring::Sigmoid,
            Some(other) => {
                return Err(Error::Unsupported { what: format!("scoring_func {other}") });
            }
        },
        Dialect::Gguf => match config.count_or(&[&gguf_key(config, "expert_gating_func")], 1)? {
            0 | 1 => Scoring::Softmax,
            2 => Scoring::Sigmoid,
            other => {
                return Err(Error::Unsupported { what: format!("expert_gating_func {other}") });
            }
        },
    };
    let n_experts = count("n_routed_experts", "expert_count")?;
    let hidden = count("moe_intermediate_size", "expert_feed_forward_length")?;
    let shared_key = key(config, "n_shared_experts", "expert_shared_count");
    let shared_hidden = config.count_or(&[&shared_key], 0)?.saturating_mul(hidden);
    let normalise = key(config, "norm_topk_prob", "expert_weights_norm");
    let scale = key(config, "routed_scaling_factor", "expert_weights_scale");
    // Some GGUF files of V2-Lite give 0 for "no scaling".
    let scale = match config.float_or(&[&scale], 1.0)? {
        0.0 => 1.0,
        scale => scale as f32,
    };
    Ok(MoeSpec {
        n_experts,
        n_chosen: count("num_experts_per_tok", "expert_used_count")?,
        hidden,
        shared_hidden,
        router: RouterSpec {
            scoring,
            selection_bias: scoring == Scoring::Sigmoid,
            groups: groups(config, scoring, n_experts)?,
            normalise: config.bool_or(&[&normalise], scoring == Scoring::Sigmoid)?,
            scale,
        },
    })
}

fn groups(config: &Config, scoring: Scoring, n_experts: usize) -> Result<Option<Groups>, Error> {
    let method = config.text(&["topk_method"])?;
    if method == Some("greedy") {
        return Ok(None);
    }
    // GGUF files of the 671B and 236B models predate the keys: their numbers are the cards'.
    let by_card = match (config.dialect, scoring, n_experts) {
        (Dialect::Gguf, Scoring::Sigmoid, 256) => (8, 4),
        (Dialect::Gguf, Scoring::Softmax, 160) => (8, 3),
        _ => (1, 1),
    };
    let n_groups = config.count_or(&[&key(config, "n_group", "expert_group_count")], by_card.0)?;
    let n_chosen =
        config.count_or(&[&key(config, "topk_group", "expert_group_used_count")], by_card.1)?;
    if n_groups <= 1 || n_chosen == n_groups {
        return Ok(None);
    }
    if n_chosen == 0 {
        return Err(Error::Impossible { what: "no expert group is chosen".into() });
    }
    let score = match scoring {
        Scoring::Softmax => GroupScore::Best,
        Scoring::Sigmoid => GroupScore::TwoBest,
    };
    Ok(Some(Groups { n_groups, n_chosen, score }))
}
