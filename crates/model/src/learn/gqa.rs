//! The gradient of grouped-query attention.

use std::borrow::Cow;

use ops::attention_gradient::{self, Gradients, Saved, Shape};
use ops::{bias, rmsnorm, rope};
use panels::Start;
use spec::{GqaSpec, Slot};

use super::book::{Book, Matrix, Reader, Vector};
use super::layer::{Past, backward_all};
use crate::attention::gqa::Scratch;
use crate::error::Error;

pub(super) struct Gqa {
    spec: GqaSpec,
    norm_eps: f32,
    pub query: Matrix,
    pub key: Matrix,
    pub value: Matrix,
    pub biases: Option<[Vector; 3]>,
    pub norms: Option<[Vector; 2]>,
    pub out: Matrix,
}

impl Gqa {
    pub(super) fn load(
        reader: &mut Reader<'_>,
        layer: usize,
        spec: &GqaSpec,
    ) -> Result<Gqa, Error> {
        let dim = reader.loader.spec.dim;
        let queries = spec.n_heads * spec.head_dim;
        let keys = spec.n_kv_heads * spec.head_dim;
        let query = reader.matrix(Slot::Query, layer, (queries, dim))?;
        let key = reader.matrix(Slot::Key, layer, (keys, dim))?;
        let value = reader.matrix(Slot::Value, layer, (keys, dim))?;
        let biases = match spec.qkv_bias {
            true => Some([
                reader.vector(Slot::QueryBias, layer, queries)?,
                reader.vector(Slot::KeyBias, layer, keys)?,
                reader.vector(Slot::ValueBias, layer, keys)?,
            ]),
            false => None,
        };
        let norms = match spec.qk_norm {
            true => Some([
                reader.vector(Slot::QueryNorm, layer, spec.head_dim)?,
                reader.vector(Slot::KeyNorm, layer, spec.head_dim)?,
            ]),
            false => None,
        };
        let out = reader.matrix(Slot::AttentionOut, layer, (dim, queries))?;
        let norm_eps = reader.loader.spec.norm_eps;
        Ok(Gqa { spec: spec.clone(), norm_eps, query, key, value, biases, norms, out })
    }

    fn shape(&self) -> Shape {
        let GqaSpec { n_heads, n_kv_heads, head_dim, .. } = self.spec;
        let scale = 1.0 / (head_dim as f32).sqrt();
        Shape { n_heads, n_kv_heads, head_dim, value_dim: head_dim, scale }
    }

    /// dx (T, D) = the gradient of the normed rows x (T, D), from dy (T, D).
    pub(super) fn backward(
        &self,
        past: Past<'_>,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (&[f32], &[f32]),
        scratch: &Scratch,
    ) {
        let pool = past.pool;
        let n_tokens = past.ends.last().copied().unwrap_or(0);
        let (n_queries, n_keys) = (n_tokens * self.query.rows, n_tokens * self.key.rows);
        let attended = scratch.attended.values();
        let mut d_attended = book.take(n_queries);
        self.out.backward(pool, book, (&mut d_attended, Start::Zero), dy, attended);

        let keys: Cow<'_, [f32]> = past.kv_type.rounded(&scratch.key[..n_keys]);
        let values: Cow<'_, [f32]> = past.kv_type.rounded(&scratch.value[..n_keys]);
        let queries = &scratch.query[..n_queries];
        let (keys, values, value_stride) = (&*keys, &*values, self.value.rows);
        let saved = Saved { queries, keys, values, value_stride, y: attended };
        let mut d = Gradients {
            queries: book.take(n_queries),
            keys: book.take(n_queries),
            values: book.take(n_queries),
        };
        let shape = self.shape();
        attention_gradient::backward(pool, &mut d, &d_attended, saved, past.ends, shape);
        let (mut d_query, mut d_key, mut d_value) =
            (d.queries, book.take(n_keys), book.take(n_keys));
        attention_gradient::sum_shared(pool, &mut d_key, &d.keys, shape, shape.head_dim);
        attention_gradient::sum_shared(pool, &mut d_value, &d.values, shape, shape.head_dim);

        self.turn_back(past, (&mut d_query, &mut d_key));
        if let Some([query_norm, key_norm]) = &self.norms {
            let [raw_query, raw_key] = &scratch.raw;
            d_query = self.through_norm(past, book, query_norm, &d_query, raw_query);
            d_key = self.through_norm(past, book, key_norm, &d_key, raw_key);
        }
        if let Some(biases) = &self.biases {
            for (bias, d) in biases.iter().zip([&d_query, &d_key, &d_value]) {
                if let (_, Some(gradient)) = bias.learn(book) {
                    bias::backward(pool, gradient, d);
                }
            }
        }
        let products =
            [(&self.query, &d_query[..]), (&self.key, &d_key[..]), (&self.value, &d_value[..])];
        backward_all(pool, book, dx, x, &products);
        book.give([d_attended, d_query, d_key, d_value, d.keys, d.values]);
    }

    /// Gradients of turned queries and keys become those of what was turned.
    fn turn_back(&self, past: Past<'_>, (d_query, d_key): (&mut [f32], &mut [f32])) {
        let GqaSpec { n_heads, n_kv_heads, head_dim, .. } = self.spec;
        let angles = past.angles;
        for (d, n_heads) in [(d_query, n_heads), (d_key, n_kv_heads)] {
            let stride = n_heads * head_dim;
            let pairing = self.spec.rope.pairing;
            let heads = rope::Heads { stride, n_heads, head_dim, from: 0, pairing };
            rope::backward(past.pool, d, angles.cos, angles.sin, angles.half, heads);
        }
    }

    /// The gradient of the heads before their norm.
    fn through_norm(
        &self,
        past: Past<'_>,
        book: &mut Book,
        norm: &Vector,
        dy: &[f32],
        raw: &[f32],
    ) -> Vec<f32> {
        let mut dx = vec![0.0; dy.len()];
        let (w, dw) = norm.learn(book);
        rmsnorm::backward(past.pool, (&mut dx, dw), dy, &raw[..dy.len()], w, self.norm_eps);
        dx
    }
}
