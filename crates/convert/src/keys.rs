//! What a spec is called among the keys of a GGUF file.

use std::path::Path;

use formats::gguf::{Metadata, Value};
use spec::{
    AttentionSpec, Config, Dialect, FfnSpec, GqaSpec, MlaSpec, ModelSpec, MoeSpec, Pairing,
    RopeScaling, RopeSpec, Scoring,
};

use crate::Error;

/// YaRN's bounds unless a config says otherwise, here as in llama.cpp.
const BETA_FAST: f64 = 32.0;
const BETA_SLOW: f64 = 1.0;

/// Whether GGUF has the rows of queries and keys in pairs side by side, where Hugging Face has them
/// in halves: of all families, Llama's.
pub(crate) fn has_permuted_pairs(spec: &ModelSpec) -> bool {
    architecture(spec) == "llama"
}

/// `general.architecture`: V3 is a `deepseek2` that chooses its experts otherwise.
fn architecture(spec: &ModelSpec) -> &'static str {
    match spec.family {
        "deepseek3" => "deepseek2",
        family => family,
    }
}

/// The keys of a model that a Hugging Face config describes, but for its vocabulary.
///
/// # Errors
/// [`Error::Unsayable`] for what GGUF has no key for.
pub(crate) fn keys(path: &Path, spec: &ModelSpec, config: &Config) -> Result<Metadata, Error> {
    assert_eq!(config.dialect, Dialect::HuggingFace, "GGUF files bring their own keys");
    let mut keys = Keys { path, architecture: architecture(spec), metadata: Metadata::new(path) };
    keys.metadata.insert("general.architecture", Value::Text(keys.architecture.into()));
    keys.metadata.insert("general.type", Value::Text("model".into()));
    if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
        keys.metadata.insert("general.name", Value::Text(name.into()));
    }
    let n_next = usize::from(spec.next_token.is_some());
    keys.count("vocab_size", spec.vocab);
    keys.count("context_length", spec.context_max);
    keys.count("embedding_length", spec.dim);
    // Here the layer that predicts the token after next is one of the blocks.
    keys.count("block_count", spec.layers.len() + n_next);
    if n_next > 0 {
        keys.count("nextn_predict_layers", n_next);
    }
    keys.metadata.insert(&keys.key("attention.layer_norm_rms_epsilon"), Value::F32(spec.norm_eps));
    match &spec.layers[0].attention {
        AttentionSpec::Gqa(gqa) => keys.gqa(gqa)?,
        AttentionSpec::Mla(mla) => keys.mla(mla, config)?,
    }
    keys.ffn(spec, config);
    Ok(keys.metadata)
}

struct Keys<'a> {
    path: &'a Path,
    architecture: &'static str,
    metadata: Metadata,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// Panics beyond a u32, which no spec reaches.
    fn count(&mut self, key: &str, n: usize) {
        let n = u32::try_from(n).expect("counts of a spec are below 2^30");
        self.metadata.insert(&self.key(key), Value::U32(n));
    }

    fn float(&mut self, key: &str, x: f64) {
        self.metadata.insert(&self.key(key), Value::F32(x as f32));
    }

    fn gqa(&mut self, gqa: &GqaSpec) -> Result<(), Error> {
        self.count("attention.head_count", gqa.n_heads);
        self.count("attention.head_count_kv", gqa.n_kv_heads);
        self.count("attention.key_length", gqa.head_dim);
        self.count("attention.value_length", gqa.head_dim);
        self.rope(&gqa.rope, 0.0)
    }

    /// Heads are those of the cache that MLA leaves: one, of the latent and the roped key. The true
    /// ones are under `_mla`.
    fn mla(&mut self, mla: &MlaSpec, config: &Config) -> Result<(), Error> {
        if mla.rope.pairing != Pairing::Adjacent {
            return Err(self.unsayable("rope_interleave = false"));
        }
        self.count("attention.head_count", mla.n_heads);
        self.count("attention.head_count_kv", 1);
        self.count("attention.key_length", mla.latent_rank + mla.rope_dim);
        self.count("attention.value_length", mla.latent_rank);
        self.count("attention.key_length_mla", mla.nope_dim + mla.rope_dim);
        self.count("attention.value_length_mla", mla.value_dim);
        self.count("attention.kv_lora_rank", mla.latent_rank);
        // Said where there is none, too: llama.cpp misses the key unless it knows the model.
        self.count("attention.q_lora_rank", mla.query_rank.unwrap_or(0));
        let all_dim = ["rope_parameters.mscale_all_dim", "rope_scaling.mscale_all_dim"];
        let log_multiplier = config.float_or(&all_dim, 0.0).unwrap_or(0.0) * 0.1;
        self.float("rope.scaling.yarn_log_multiplier", log_multiplier);
        self.rope(&mla.rope, log_multiplier)
    }

    /// A rope whose YaRN also scales the softmax has a `log_multiplier` above zero.
    fn rope(&mut self, rope: &RopeSpec, log_multiplier: f64) -> Result<(), Error> {
        self.count("rope.dimension_count", rope.dim);
        self.float("rope.freq_base", rope.theta);
        let kind = self.key("rope.scaling.type");
        match rope.scaling {
            // Llama 3's is a tensor of divisors.
            RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Table => {}
            RopeScaling::Linear { factor } => {
                self.metadata.insert(&kind, Value::Text("linear".into()));
                self.float("rope.scaling.factor", factor);
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                let corrected = log_multiplier > 0.0;
                let usual = if corrected || factor <= 1.0 { 1.0 } else { 0.1 * factor.ln() + 1.0 };
                // Readers differ in what the key for it would mean.
                if (rope.amplitude() - usual).abs() > 1e-6 {
                    return Err(self.unsayable("a YaRN attention factor of its own"));
                }
                self.metadata.insert(&kind, Value::Text("yarn".into()));
                self.float("rope.scaling.factor", factor);
                self.count("rope.scaling.original_context_length", original_context as usize);
                if (beta_fast, beta_slow) != (BETA_FAST, BETA_SLOW) {
                    self.float("rope.scaling.yarn_beta_fast", beta_fast);
                    self.float("rope.scaling.yarn_beta_slow", beta_slow);
                }
            }
        }
        Ok(())
    }

    fn ffn(&mut self, spec: &ModelSpec, config: &Config) {
        let is_dense = |ffn: &FfnSpec| matches!(ffn, FfnSpec::Dense { .. });
        let n_dense = spec.layers.iter().take_while(|layer| is_dense(&layer.ffn)).count();
        let moe = spec.layers.iter().find_map(|layer| match &layer.ffn {
            FfnSpec::Moe(moe) => Some(moe),
            FfnSpec::Dense { .. } => None,
        });
        // A model that is sparse throughout still has the width that its layers would have.
        let of_config = config.count_or(&["intermediate_size"], 0).unwrap_or(0);
        let hidden = match &spec.layers[0].ffn {
            FfnSpec::Dense { hidden } => *hidden,
            FfnSpec::Moe(moe) => {
                if of_config > 0 {
                    of_config
                } else {
                    moe.hidden
                }
            }
        };
        self.count("feed_forward_length", hidden);
        let Some(moe) = moe else { return };
        self.count("expert_count", moe.n_experts);
        self.count("expert_used_count", moe.n_chosen);
        self.count("expert_feed_forward_length", moe.hidden);
        // Qwen's keys end here: what its router does is fixed.
        if self.architecture == "deepseek2" {
            self.count("leading_dense_block_count", n_dense);
            self.router(moe);
        }
    }

    fn router(&mut self, moe: &MoeSpec) {
        let router = &moe.router;
        self.count("expert_shared_count", moe.shared_hidden / moe.hidden);
        self.count(
            "expert_gating_func",
            match router.scoring {
                Scoring::Softmax => 1,
                Scoring::Sigmoid => 2,
            },
        );
        self.float("expert_weights_scale", f64::from(router.scale));
        let normalise = self.key("expert_weights_norm");
        self.metadata.insert(&normalise, Value::Bool(router.normalise));
        // Said even where there are none: readers know the numbers of some models by heart.
        let (n_groups, n_chosen) = router.groups.map_or((1, 1), |g| (g.n_groups, g.n_chosen));
        self.count("expert_group_count", n_groups);
        self.count("expert_group_used_count", n_chosen);
    }

    fn unsayable(&self, what: &str) -> Error {
        Error::Unsayable { path: self.path.into(), what: what.into() }
    }
}
