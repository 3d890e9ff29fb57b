//! What a model costs: parameters, operations, bytes.
//!
//! Exact counts from the spec alone; bytes of weights depend on a file's types: see
//! [`Traffic`]. Both together are the [`Rates`] that turn a step's rows into [`Work`]: planner,
//! simulator and server price a step by them and by nothing else.

use crate::{AttentionSpec, FfnSpec, LayerSpec, ModelSpec, MoeSpec, Traffic};

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

/// All parameters by what they are for; norms and biases belong to what they stand before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub embedding: u64,
    /// 0 where the embedding is the head.
    pub head: u64,
    pub attention: u64,
    /// Feed-forward parts of dense layers.
    pub dense: u64,
    pub router: u64,
    /// Experts that every token goes through.
    pub shared: u64,
    /// Experts that tokens choose from.
    pub routed: u64,
}

/// One sequence's share of a step: its tokens `from .. from + n_tokens`, of which the last
/// `n_logits` want logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    pub from: u64,
    pub n_tokens: u64,
    pub n_logits: u64,
}

/// What a step computes and moves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    pub n_rows: u64,
    pub n_tokens: u64,
    pub n_logits: u64,
    /// Floating-point operations of matrix products without the routed experts.
    pub dense_flops: f64,
    pub expert_flops: f64,
    pub attention_flops: f64,
    /// Bytes of weights without the routed experts.
    pub dense_bytes: f64,
    /// Expected bytes of the distinct experts that the tokens choose.
    pub expert_bytes: f64,
    /// Bytes of cached keys and values that are read, each row's once.
    pub kv_bytes: f64,
}

impl Work {
    pub fn linear_flops(&self) -> f64 {
        self.dense_flops + self.expert_flops
    }

    pub fn weights_bytes(&self) -> f64 {
        self.dense_bytes + self.expert_bytes
    }

    pub fn flops(&self) -> f64 {
        self.linear_flops() + self.attention_flops
    }

    pub fn bytes(&self) -> f64 {
        self.weights_bytes() + self.kv_bytes
    }

    /// Both together.
    pub fn plus(&self, other: &Work) -> Work {
        Work {
            n_rows: self.n_rows + other.n_rows,
            n_tokens: self.n_tokens + other.n_tokens,
            n_logits: self.n_logits + other.n_logits,
            dense_flops: self.dense_flops + other.dense_flops,
            expert_flops: self.expert_flops + other.expert_flops,
            attention_flops: self.attention_flops + other.attention_flops,
            dense_bytes: self.dense_bytes + other.dense_bytes,
            expert_bytes: self.expert_bytes + other.expert_bytes,
            kv_bytes: self.kv_bytes + other.kv_bytes,
        }
    }
}

/// What a token, a row of logits and a pair of tokens cost: built once, asked at every step.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Of a token's matrix products without routed experts and head.
    pub body_flops: f64,
    pub expert_flops: f64,
    pub head_flops: f64,
    /// Of one token attending to one other, over all layers.
    pub pair_flops: f64,
    pub traffic: Traffic,
}

impl Rates {
    /// The work of a step with these rows. A row's token at position p attends to p + 1 tokens.
    pub fn work(&self, rows: impl IntoIterator<Item = RowShape>) -> Work {
        let mut work = Work::default();
        let (mut n_pairs, mut n_cached) = (0.0, 0.0);
        for RowShape { from, n_tokens, n_logits } in rows {
            work.n_rows += 1;
            work.n_tokens += n_tokens;
            work.n_logits += n_logits;
            let (from, n) = (from as f64, n_tokens as f64);
            n_pairs += n * from + n * (n + 1.0) / 2.0;
            n_cached += from + n;
        }
        if work.n_tokens == 0 {
            return work;
        }
        let n_tokens = work.n_tokens as f64;
        work.dense_flops = n_tokens * self.body_flops + work.n_logits as f64 * self.head_flops;
        work.expert_flops = n_tokens * self.expert_flops;
        work.attention_flops = n_pairs * self.pair_flops;
        work.dense_bytes = self.traffic.always as f64;
        work.expert_bytes = self.traffic.weights(work.n_tokens) - work.dense_bytes;
        work.kv_bytes = n_cached * self.traffic.kv as f64;
        work
    }
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

    /// The rates of this model where its weights move `traffic`.
    pub fn rates(&self, traffic: Traffic) -> Rates {
        let cost = self.cost();
        let head_flops = 2.0 * (self.vocab * self.dim) as f64;
        let expert_flops = self.layers.iter().map(|layer| match &layer.ffn {
            FfnSpec::Dense { .. } => 0,
            FfnSpec::Moe(moe) => 2 * moe.n_chosen as u64 * expert_parameters(moe, self.dim as u64),
        });
        let expert_flops = expert_flops.sum::<u64>() as f64;
        Rates {
            body_flops: cost.linear_flops() as f64 - head_flops - expert_flops,
            expert_flops,
            head_flops,
            pair_flops: cost.attention_flops(1) as f64,
            traffic,
        }
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

    /// The parameters by what they are for; together [`Parameters::total`].
    pub fn parts(&self) -> Parts {
        let (dim, vocab) = (self.spec.dim as u64, self.spec.vocab as u64);
        let embedding = vocab * dim;
        let head = if self.spec.tied_head { 0 } else { embedding };
        // The last norm stands before the head.
        let mut parts = Parts { embedding, head: head + dim, ..Parts::default() };
        for layer in &self.spec.layers {
            parts.attention += attention_parameters(&layer.attention, dim) + 2 * dim;
            match &layer.ffn {
                FfnSpec::Dense { hidden } => parts.dense += 3 * *hidden as u64 * dim,
                FfnSpec::Moe(moe) => {
                    parts.router += router_parameters(moe, dim);
                    parts.shared += 3 * moe.shared_hidden as u64 * dim;
                    parts.routed += moe.n_experts as u64 * expert_parameters(moe, dim);
                }
            }
        }
        parts
    }

    /// Parameters of one routed expert of one layer; 0 without any.
    pub fn expert_parameters(&self) -> u64 {
        let sparse = self.spec.layers.iter().find_map(|layer| match &layer.ffn {
            FfnSpec::Moe(moe) => Some(expert_parameters(moe, self.spec.dim as u64)),
            FfnSpec::Dense { .. } => None,
        });
        sparse.unwrap_or(0)
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

    /// The same in the plain form of MLA, where the cache has become keys and values: what that
    /// takes is in [`Cost::linear_flops`], once a token.
    pub fn plain_attention_flops(&self, context: u64) -> u64 {
        let layers = self.spec.layers.iter();
        layers
            .map(|layer| match &layer.attention {
                AttentionSpec::Gqa(gqa) => 4 * (gqa.n_heads * gqa.head_dim) as u64 * context,
                AttentionSpec::Mla(mla) => {
                    let key_and_value = mla.nope_dim + mla.rope_dim + mla.value_dim;
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

fn router_parameters(moe: &MoeSpec, dim: u64) -> u64 {
    let bias = if moe.router.selection_bias { moe.n_experts as u64 } else { 0 };
    moe.n_experts as u64 * dim + bias
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
            let always =
                attention + router_parameters(moe, dim) + 3 * moe.shared_hidden as u64 * dim;
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
