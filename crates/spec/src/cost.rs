//! What a model costs: parameters, operations, bytes.
//!
//! Exact counts from the spec alone; bytes of weights depend on a file's types: see
//! [`Traffic`](crate::Traffic).

use crate::{AttentionSpec, FfnSpec, LayerSpec, ModelSpec, MoeSpec};

/// How many parameters a model has, and how many a token uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// All of them, without a multi-token-prediction layer.
    pub total: u64,
    /// The embedding's (V·D), of which a token reads one row.
    pub embedding: u64,
    /// Those that a token is multiplied with: no embedding lookup, chosen experts only.
    pub active: u64,
}

/// The exact costs of a spec.
#[derive(Clone, Copy, Debug)]
pub struct Cost<'a> {
    spec: &'a ModelSpec,
}

impl ModelSpec {
    pub fn cost(&self) -> Cost<'_> {
        Cost { spec: self }
    }
}

impl Cost<'_> {
    pub fn parameters(&self) -> Parameters {
        let (dim, vocab) = (self.spec.dim as u64, self.spec.vocab as u64);
        let embedding = vocab * dim;
        let layers = self.spec.layers.iter();
        let total: u64 = layers.clone().map(|layer| layer_parameters(layer, dim).0).sum();
        let active: u64 = layers.map(|layer| layer_parameters(layer, dim).1).sum();
        let own_head = if self.spec.tied_head { 0 } else { embedding };
        Parameters {
            total: total + embedding + own_head + dim,
            embedding,
            active: active + embedding + dim,
        }
    }

    /// Elements that the cache keeps for one token over all layers.
    pub fn kv_elements(&self) -> u64 {
        let layers = self.spec.layers.iter();
        layers
            .map(|layer| match &layer.attention {
                AttentionSpec::Gqa(gqa) => 2 * (gqa.n_kv_heads * gqa.head_dim) as u64,
                AttentionSpec::Mla(mla) => (mla.latent_rank + mla.rope_dim) as u64,
            })
            .sum()
    }

    /// Floating-point operations of one token's matrix products: two a parameter it is multiplied
    /// with. Norms are not counted.
    pub fn linear_flops(&self) -> u64 {
        2 * self.parameters().active
    }

    /// Floating-point operations of one token's attention over `context` cached tokens: scores and
    /// the weighted sum. For MLA in the absorbed form, over the latent.
    pub fn attention_flops(&self, context: u64) -> u64 {
        let layers = self.spec.layers.iter();
        layers
            .map(|layer| match &layer.attention {
                AttentionSpec::Gqa(gqa) => 4 * (gqa.n_heads * gqa.head_dim) as u64 * context,
                AttentionSpec::Mla(mla) => {
                    let key_and_value = 2 * mla.latent_rank + mla.rope_dim;
                    2 * (mla.n_heads * key_and_value) as u64 * context
                }
            })
            .sum()
    }

    /// How many parameters a step of `batch` tokens reads, where routing is even and independent:
    /// of E experts, E·(1 − (1 − k/E)^batch) are chosen by at least one token.
    pub fn parameters_read(&self, batch: u64) -> f64 {
        let dim = self.spec.dim as u64;
        let layers = self.spec.layers.iter().map(|layer| match &layer.ffn {
            FfnSpec::Dense { .. } => layer_parameters(layer, dim).0 as f64,
            FfnSpec::Moe(moe) => {
                let (total, _) = layer_parameters(layer, dim);
                let experts = (moe.n_experts as u64 * expert_parameters(moe, dim)) as f64;
                total as f64 - experts
                    + moe.experts_touched(batch) * expert_parameters(moe, dim) as f64
            }
        });
        layers.sum::<f64>() + (self.spec.vocab as u64 * dim + dim) as f64
    }
}

fn expert_parameters(moe: &MoeSpec, dim: u64) -> u64 {
    3 * moe.hidden as u64 * dim
}

/// (all, active) parameters of a layer.
fn layer_parameters(layer: &LayerSpec, dim: u64) -> (u64, u64) {
    let attention = attention_parameters(&layer.attention, dim) + 2 * dim;
    match &layer.ffn {
        FfnSpec::Dense { hidden } => {
            let ffn = 3 * *hidden as u64 * dim;
            (attention + ffn, attention + ffn)
        }
        FfnSpec::Moe(moe) => {
            let bias = if moe.router.selection_bias { moe.n_experts as u64 } else { 0 };
            let router = moe.n_experts as u64 * dim + bias;
            let always = attention + router + 3 * moe.shared_hidden as u64 * dim;
            let expert = expert_parameters(moe, dim);
            (always + moe.n_experts as u64 * expert, always + moe.n_chosen as u64 * expert)
        }
    }
}

fn attention_parameters(attention: &AttentionSpec, dim: u64) -> u64 {
    match attention {
        AttentionSpec::Gqa(gqa) => {
            let query = (gqa.n_heads * gqa.head_dim) as u64;
            let key_value = 2 * (gqa.n_kv_heads * gqa.head_dim) as u64;
            let bias = if gqa.qkv_bias { query + key_value } else { 0 };
            let norms = if gqa.qk_norm { 2 * gqa.head_dim as u64 } else { 0 };
            (2 * query + key_value) * dim + bias + norms
        }
        AttentionSpec::Mla(mla) => {
            let heads = mla.n_heads as u64;
            let queries = heads * (mla.nope_dim + mla.rope_dim) as u64;
            let query = match mla.query_rank {
                None => queries * dim,
                Some(rank) => (rank as u64) * (dim + queries + 1),
            };
            let latent = mla.latent_rank as u64;
            let down = (latent + mla.rope_dim as u64) * dim + latent;
            let up = heads * (mla.nope_dim + mla.value_dim) as u64 * latent;
            query + down + up + heads * mla.value_dim as u64 * dim
        }
    }
}
