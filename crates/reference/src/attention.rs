//! Grouped-query and latent attention, both over keys and values written out in full.
//!
//! ```text
//! y_t = Σ_s softmax_s(scale · q_t · k_s) v_s,   s ≤ t
//! ```

use spec::{GqaSpec, MlaSpec, Slot};

use crate::add;
use crate::linear::{dot, linear, rmsnorm, softmax};
use crate::rope::Rope;
use crate::source::{Error, Reader};

/// Queries, keys and values of T positions, and how to read them.
struct Heads {
    n_heads: usize,
    /// Each serves n_heads / n_kv_heads query heads.
    n_kv_heads: usize,
    /// Elements of a query and of a key.
    key_dim: usize,
    value_dim: usize,
    scale: f64,
    /// (T, H · key)
    queries: Vec<f32>,
    /// (T, G · key)
    keys: Vec<f32>,
    /// (T, G · value)
    values: Vec<f32>,
}

/// y (T, D) of h (T, D), the normed stream.
pub(crate) fn gqa(
    h: &[f32],
    spec: &GqaSpec,
    eps: f32,
    weights: &Reader<'_>,
) -> Result<Vec<f32>, Error> {
    let GqaSpec { n_heads, n_kv_heads, head_dim, .. } = *spec;
    let project = |slot, bias, n_heads: usize| -> Result<Vec<f32>, Error> {
        let rows = n_heads * head_dim;
        let mut y = linear(&weights.read(slot, &[rows, weights.dim])?, h, weights.dim);
        if spec.qkv_bias {
            let bias = weights.read(bias, &[rows])?;
            y.chunks_exact_mut(rows).for_each(|row| add(row, &bias));
        }
        Ok(y)
    };
    let mut queries = project(Slot::Query, Slot::QueryBias, n_heads)?;
    let mut keys = project(Slot::Key, Slot::KeyBias, n_kv_heads)?;
    let values = project(Slot::Value, Slot::ValueBias, n_kv_heads)?;
    if spec.qk_norm {
        queries = rmsnorm(&queries, &weights.read(Slot::QueryNorm, &[head_dim])?, eps);
        keys = rmsnorm(&keys, &weights.read(Slot::KeyNorm, &[head_dim])?, eps);
    }
    let rope = Rope::new(&spec.rope, weights)?;
    rope.turn(&mut queries, n_heads, head_dim);
    rope.turn(&mut keys, n_kv_heads, head_dim);
    let (key_dim, value_dim) = (head_dim, head_dim);
    let scale = 1.0 / (head_dim as f64).sqrt();
    let heads = Heads { n_heads, n_kv_heads, key_dim, value_dim, scale, queries, keys, values };
    project_out(&heads, weights)
}

/// y (T, D) of h (T, D), the normed stream. A head's key is its part of the latent's image, then
/// the one roped key that all heads share.
pub(crate) fn mla(
    h: &[f32],
    spec: &MlaSpec,
    eps: f32,
    weights: &Reader<'_>,
) -> Result<Vec<f32>, Error> {
    let MlaSpec { n_heads, latent_rank, nope_dim, rope_dim, value_dim, .. } = *spec;
    let key_dim = nope_dim + rope_dim;
    let rope = Rope::new(&spec.rope, weights)?;

    let mut queries = mla_queries(h, spec, eps, weights)?;
    for (i, head) in queries.chunks_exact_mut(key_dim).enumerate() {
        rope.turn_head(&mut head[nope_dim..], i / n_heads);
    }

    let down = weights.read(Slot::LatentDown, &[latent_rank + rope_dim, weights.dim])?;
    let down = linear(&down, h, weights.dim);
    let mut latent = Vec::new();
    let mut roped = Vec::new();
    for row in down.chunks_exact(latent_rank + rope_dim) {
        latent.extend_from_slice(&row[..latent_rank]);
        roped.extend_from_slice(&row[latent_rank..]);
    }
    rope.turn(&mut roped, 1, rope_dim);
    let latent = rmsnorm(&latent, &weights.read(Slot::LatentNorm, &[latent_rank])?, eps);
    let up = linear(&latent_up(spec, weights)?, &latent, latent_rank);

    let mut keys = Vec::new();
    let mut values = Vec::new();
    for (i, head) in up.chunks_exact(nope_dim + value_dim).enumerate() {
        keys.extend_from_slice(&head[..nope_dim]);
        keys.extend_from_slice(&roped[i / n_heads * rope_dim..][..rope_dim]);
        values.extend_from_slice(&head[nope_dim..]);
    }
    let scale = f64::from(spec.scale);
    let n_kv_heads = n_heads;
    let heads = Heads { n_heads, n_kv_heads, key_dim, value_dim, scale, queries, keys, values };
    project_out(&heads, weights)
}

/// (T, H · (nope + rope)), not yet turned.
fn mla_queries(
    h: &[f32],
    spec: &MlaSpec,
    eps: f32,
    weights: &Reader<'_>,
) -> Result<Vec<f32>, Error> {
    let rows = spec.n_heads * (spec.nope_dim + spec.rope_dim);
    let Some(rank) = spec.query_rank else {
        return Ok(linear(&weights.read(Slot::Query, &[rows, weights.dim])?, h, weights.dim));
    };
    let down = linear(&weights.read(Slot::QueryDown, &[rank, weights.dim])?, h, weights.dim);
    let down = rmsnorm(&down, &weights.read(Slot::QueryDownNorm, &[rank])?, eps);
    Ok(linear(&weights.read(Slot::QueryUp, &[rows, rank])?, &down, rank))
}

/// (H · (nope + value), latent), from one tensor or from GGUF's two.
fn latent_up(spec: &MlaSpec, weights: &Reader<'_>) -> Result<Vec<f32>, Error> {
    let MlaSpec { n_heads, latent_rank, nope_dim, value_dim, .. } = *spec;
    let whole = [n_heads * (nope_dim + value_dim), latent_rank];
    if let Some(up) = weights.find(Slot::LatentUp, None, &whole)? {
        return Ok(up);
    }
    let key = weights.read(Slot::LatentUpKey, &[n_heads, latent_rank, nope_dim])?;
    let value = weights.read(Slot::LatentUpValue, &[n_heads, value_dim, latent_rank])?;
    let mut up = Vec::with_capacity(whole[0] * whole[1]);
    for head in 0..n_heads {
        let key = &key[head * latent_rank * nope_dim..][..latent_rank * nope_dim];
        for i in 0..nope_dim {
            up.extend((0..latent_rank).map(|r| key[r * nope_dim + i]));
        }
        up.extend_from_slice(&value[head * value_dim * latent_rank..][..value_dim * latent_rank]);
    }
    Ok(up)
}

fn project_out(heads: &Heads, weights: &Reader<'_>) -> Result<Vec<f32>, Error> {
    let columns = heads.n_heads * heads.value_dim;
    let out = weights.read(Slot::AttentionOut, &[weights.dim, columns])?;
    Ok(linear(&out, &attend(heads), columns))
}

/// What each head of each position gathers. (T, H · value)
fn attend(heads: &Heads) -> Vec<f32> {
    let &Heads { n_heads, n_kv_heads, key_dim, value_dim, scale, .. } = heads;
    let mut y = Vec::with_capacity(heads.queries.len() / key_dim * value_dim);
    for (i, query) in heads.queries.chunks_exact(key_dim).enumerate() {
        let (position, head) = (i / n_heads, i % n_heads);
        // The key/value head at position s is at s · G + this.
        let kv_head = head / (n_heads / n_kv_heads);
        let key = |s: usize| &heads.keys[(s * n_kv_heads + kv_head) * key_dim..][..key_dim];
        let value = |s: usize| &heads.values[(s * n_kv_heads + kv_head) * value_dim..][..value_dim];
        let mut scores: Vec<f64> = (0..=position).map(|s| scale * dot(query, key(s))).collect();
        softmax(&mut scores);
        let mut gathered = vec![0.0; value_dim];
        for (s, probability) in scores.iter().enumerate() {
            for (sum, &value) in gathered.iter_mut().zip(value(s)) {
                *sum += probability * f64::from(value);
            }
        }
        y.extend(gathered.iter().map(|&sum| sum as f32));
    }
    y
}
