//! Cached keys and values, by page.

use std::borrow::Cow;

use ops::{attention, latent_attention};
use panels::Aligned;
use spec::{AttentionSpec, ModelSpec};

/// What the cache keeps its numbers as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    F32,
    #[default]
    F16,
    Bf16,
}

impl KvType {
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Bf16];

    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Bf16 => "bf16",
        }
    }

    /// What reads back of numbers that were kept.
    pub(crate) fn rounded(self, xs: &[f32]) -> Cow<'_, [f32]> {
        match self {
            KvType::F32 => Cow::Borrowed(xs),
            KvType::F16 => xs.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect(),
            KvType::Bf16 => xs.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect(),
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 | KvType::Bf16 => 2,
        }
    }
}

/// The pages of one layer, (pages, page). Halves are kept as bits: the system hands out zeroed
/// memory for them without touching it, so a page costs nothing before it is written.
#[derive(Debug)]
pub(crate) enum LayerKv {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Bf16(Aligned<u16>),
}

/// Runs `$body` with `$cache` as the mutable slice of whatever type the layer keeps.
macro_rules! with_elements {
    ($kv:expr, $cache:ident => $body:expr) => {
        match $kv {
            $crate::kv::LayerKv::F32($cache) => $body,
            $crate::kv::LayerKv::F16(bits) => {
                let $cache =
                    half::slice::HalfBitsSliceExt::reinterpret_cast_mut::<half::f16>(&mut bits[..]);
                $body
            }
            $crate::kv::LayerKv::Bf16(bits) => {
                let $cache = half::slice::HalfBitsSliceExt::reinterpret_cast_mut::<half::bf16>(
                    &mut bits[..],
                );
                $body
            }
        }
    };
}
pub(crate) use with_elements;

/// The cache of a model: a number of pages, each of [`PAGE`](ops::attention::PAGE) positions in
/// every layer.
#[derive(Debug)]
pub struct Kv {
    pub(crate) layers: Vec<LayerKv>,
    page_lens: Vec<usize>,
    n_pages: usize,
    kv_type: KvType,
}

impl Kv {
    /// A cache of `n_pages` pages.
    pub fn new(spec: &ModelSpec, kv_type: KvType, n_pages: usize) -> Kv {
        let page_lens: Vec<usize> =
            spec.layers.iter().map(|layer| page_len(&layer.attention)).collect();
        let layers = spec.layers.iter();
        let layers = layers.map(|layer| layer_kv(&layer.attention, kv_type, n_pages)).collect();
        Kv { layers, page_lens, n_pages, kv_type }
    }

    /// Bytes that one page takes over all layers, its padding included.
    pub fn page_bytes(spec: &ModelSpec, kv_type: KvType) -> usize {
        let lens = spec.layers.iter().map(|layer| page_len(&layer.attention));
        lens.sum::<usize>() * kv_type.bytes()
    }

    pub fn n_pages(&self) -> usize {
        self.n_pages
    }

    pub fn kv_type(&self) -> KvType {
        self.kv_type
    }

    /// Writes `values` over the whole cache, again and again: a past for measurements, without
    /// computing one.
    pub fn fill(&mut self, values: &[f32]) {
        for layer in &mut self.layers {
            let values = values.iter().cycle();
            match layer {
                LayerKv::F32(cache) => cache.iter_mut().zip(values).for_each(|(x, v)| *x = *v),
                LayerKv::F16(cache) => {
                    let values = values.map(|&v| half::f16::from_f32(v).to_bits());
                    cache.iter_mut().zip(values).for_each(|(x, v)| *x = v);
                }
                LayerKv::Bf16(cache) => {
                    let values = values.map(|&v| half::bf16::from_f32(v).to_bits());
                    cache.iter_mut().zip(values).for_each(|(x, v)| *x = v);
                }
            }
        }
    }

    /// Copies page `from` over page `to` in every layer.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        for (layer, &len) in self.layers.iter_mut().zip(&self.page_lens) {
            let (from, to) = (from as usize * len, to as usize * len);
            with_elements!(layer, cache => cache.copy_within(from..from + len, to));
        }
    }
}

/// The pages of one layer.
pub(crate) fn layer_kv(attention: &AttentionSpec, kv_type: KvType, n_pages: usize) -> LayerKv {
    let len = page_len(attention) * n_pages;
    match kv_type {
        KvType::F32 => LayerKv::F32(Aligned::zeros(len)),
        KvType::F16 => LayerKv::F16(Aligned::zeros(len)),
        KvType::Bf16 => LayerKv::Bf16(Aligned::zeros(len)),
    }
}

fn page_len(attention: &AttentionSpec) -> usize {
    match attention {
        AttentionSpec::Gqa(gqa) => gqa_shape(gqa).page_len(),
        AttentionSpec::Mla(mla) => mla_shape(mla).page_len(),
    }
}

pub(crate) fn gqa_shape(gqa: &spec::GqaSpec) -> attention::Shape {
    let spec::GqaSpec { n_heads, n_kv_heads, head_dim, .. } = *gqa;
    attention::Shape { n_heads, n_kv_heads, head_dim, value_dim: head_dim }
}

pub(crate) fn mla_shape(mla: &spec::MlaSpec) -> latent_attention::Shape {
    let spec::MlaSpec { n_heads, latent_rank, rope_dim, .. } = *mla;
    latent_attention::Shape { n_heads, latent_rank, rope_dim }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_page_leaves_the_others_alone() {
        let mut cache = Aligned::zeros(6);
        cache.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut kv = Kv {
            layers: vec![LayerKv::F32(cache)],
            page_lens: vec![2],
            n_pages: 3,
            kv_type: KvType::F32,
        };
        kv.copy_page(2, 0);
        let LayerKv::F32(layer) = &kv.layers[0] else { panic!("an f32 cache") };
        assert_eq!(layer[..], [5.0, 6.0, 3.0, 4.0, 5.0, 6.0]);
        kv.fill(&[1.0, -2.0, 0.5, 0.0]);
        let LayerKv::F32(layer) = &kv.layers[0] else { panic!("an f32 cache") };
        assert_eq!(layer[..], [1.0, -2.0, 0.5, 0.0, 1.0, -2.0]);
    }
}
