//! Grouped-query attention: projections, rope, the cache, and back.

use ops::{attention, bias, rmsnorm, rope};
use panels::{Activations, Form, Panels};
use spec::{GqaSpec, Slot};

use super::Step;
use crate::error::Error;
use crate::kv::{LayerKv, gqa_shape, with_elements};
use crate::linear::{self, Linear};
use crate::weights::Loader;

/// The weights of a layer's attention.
pub(crate) struct Gqa {
    spec: GqaSpec,
    norm_eps: f32,
    /// (H·K, D), (G·K, D), (G·K, D)
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    /// (H·K), (G·K), (G·K)
    pub biases: Option<[Vec<f32>; 3]>,
    /// (K) for queries, (K) for keys
    pub norms: Option<[Vec<f32>; 2]>,
    /// (D, H·K)
    pub out: Linear,
}

/// Buffers of a step, shared by all layers.
pub(crate) struct Scratch {
    /// Queries and keys before their norms, if they have some. (T, H·K), (T, G·K)
    pub raw: [Vec<f32>; 2],
    /// (T, H·K), (T, G·K), (T, G·K)
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
    /// (T, H·K)
    pub attended: Activations,
}

impl Scratch {
    pub(crate) fn new(spec: &GqaSpec, tokens: usize, forms: &[Form]) -> Scratch {
        let queries = spec.n_heads * spec.head_dim;
        let keys = spec.n_kv_heads * spec.head_dim;
        let raw = |width| vec![0.0; if spec.qk_norm { tokens * width } else { 0 }];
        Scratch {
            raw: [raw(queries), raw(keys)],
            query: vec![0.0; tokens * queries],
            key: vec![0.0; tokens * keys],
            value: vec![0.0; tokens * keys],
            attended: Activations::new(tokens, queries, forms),
        }
    }
}

impl Gqa {
    pub(crate) fn load(loader: &Loader<'_>, layer: usize, spec: &GqaSpec) -> Result<Gqa, Error> {
        let (group, max) = (spec.n_heads / spec.n_kv_heads, attention::GROUP_MAX);
        if group > max {
            return Err(Error::GroupTooLarge { group, max });
        }
        if spec.head_dim > attention::HEAD_MAX {
            return Err(Error::HeadTooLong { dim: spec.head_dim, max: attention::HEAD_MAX });
        }
        let dim = loader.spec.dim;
        let queries = spec.n_heads * spec.head_dim;
        let keys = spec.n_kv_heads * spec.head_dim;
        let biases = || {
            Ok::<_, Error>([
                loader.vector(Slot::QueryBias, layer, queries)?,
                loader.vector(Slot::KeyBias, layer, keys)?,
                loader.vector(Slot::ValueBias, layer, keys)?,
            ])
        };
        let norms = || {
            Ok::<_, Error>([
                loader.vector(Slot::QueryNorm, layer, spec.head_dim)?,
                loader.vector(Slot::KeyNorm, layer, spec.head_dim)?,
            ])
        };
        Ok(Gqa {
            spec: spec.clone(),
            norm_eps: loader.spec.norm_eps,
            query: loader.matrix(Slot::Query, layer, (queries, dim))?.into(),
            key: loader.matrix(Slot::Key, layer, (keys, dim))?.into(),
            value: loader.matrix(Slot::Value, layer, (keys, dim))?.into(),
            biases: spec.qkv_bias.then(biases).transpose()?,
            norms: spec.qk_norm.then(norms).transpose()?,
            out: loader.matrix(Slot::AttentionOut, layer, (dim, queries))?.into(),
        })
    }

    pub(crate) fn forward(
        &self,
        Step { pool, batch, angles }: Step<'_>,
        y: &mut [f32],
        x: &mut Activations,
        kv: &mut LayerKv,
        scratch: &mut Scratch,
    ) {
        let GqaSpec { n_heads, n_kv_heads, head_dim, .. } = self.spec;
        let n_tokens = batch.n_tokens();
        let query = &mut scratch.query[..n_tokens * n_heads * head_dim];
        let key = &mut scratch.key[..n_tokens * n_kv_heads * head_dim];
        let value = &mut scratch.value[..n_tokens * n_kv_heads * head_dim];
        x.prepare_for(pool, &[&self.query, &self.key, &self.value]);
        linear::product(pool, query, x, &self.query);
        linear::product(pool, key, x, &self.key);
        linear::product(pool, value, x, &self.value);
        if let Some([query_bias, key_bias, value_bias]) = &self.biases {
            bias::add(pool, query, query_bias);
            bias::add(pool, key, key_bias);
            bias::add(pool, value, value_bias);
        }
        if let Some([query_norm, key_norm]) = &self.norms {
            let [raw_query, raw_key] = &mut scratch.raw;
            let (raw_query, raw_key) = (&mut raw_query[..query.len()], &mut raw_key[..key.len()]);
            raw_query.copy_from_slice(query);
            raw_key.copy_from_slice(key);
            rmsnorm::forward(pool, query, raw_query, query_norm, self.norm_eps);
            rmsnorm::forward(pool, key, raw_key, key_norm, self.norm_eps);
        }
        for (x, n_heads) in [(&mut *query, n_heads), (&mut *key, n_kv_heads)] {
            let stride = n_heads * head_dim;
            let pairing = self.spec.rope.pairing;
            let heads = rope::Heads { stride, n_heads, head_dim, from: 0, pairing };
            rope::forward(pool, x, angles.cos, angles.sin, angles.half, heads);
        }
        let shape = gqa_shape(&self.spec);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let attended = scratch.attended.resize(n_tokens, n_heads * head_dim);
        let spans = batch.spans();
        with_elements!(kv, cache => {
            attention::store(cache, key, value, spans, shape);
            attention::forward(pool, attended, query, cache, spans, (shape, scale));
        });
        scratch.attended.prepare_for(pool, &[&self.out]);
        linear::product(pool, y, &scratch.attended, &self.out);
    }

    pub(crate) fn matrices(&self) -> [&Panels; 4] {
        [&self.query, &self.key, &self.value, &self.out]
    }

    pub(crate) fn forms(&self, forms: &mut Vec<Form>) {
        forms.extend(self.matrices().map(Panels::form));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.matrices().map(Panels::bytes).iter().sum()
    }
}
