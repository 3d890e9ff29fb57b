//! A model as a planner sees it: its spec, the width of its weights and what a step of it costs.

use spec::{AttentionSpec, FfnSpec, ModelSpec, Rates, Traffic};

use crate::error::positive;
use crate::{Error, Precision};

/// How many bits a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quant {
    pub name: &'static str,
    pub bits: f64,
    /// What products are computed in where the device can.
    pub precision: Precision,
}

/// Widths that models are published in, widest first; mixes by what files of 7B to 70B average.
pub const QUANTS: &[Quant] = &[
    Quant { name: "f32", bits: 32.0, precision: Precision::Fp32 },
    Quant { name: "bf16", bits: 16.0, precision: Precision::Bf16 },
    Quant { name: "q8_0", bits: 8.5, precision: Precision::Int8 },
    Quant { name: "fp8", bits: 8.0, precision: Precision::Fp8 },
    Quant { name: "q6_k", bits: 6.5625, precision: Precision::Int8 },
    Quant { name: "q5_k_m", bits: 5.7, precision: Precision::Int8 },
    Quant { name: "q4_1", bits: 5.0, precision: Precision::Int8 },
    Quant { name: "q4_k_m", bits: 4.85, precision: Precision::Int8 },
    Quant { name: "q4_0", bits: 4.5, precision: Precision::Int8 },
    Quant { name: "nvfp4", bits: 4.5, precision: Precision::Fp4 },
    Quant { name: "q3_k", bits: 3.4375, precision: Precision::Int8 },
    Quant { name: "q2_k", bits: 2.625, precision: Precision::Int8 },
];

/// The width of that name, in any case.
pub fn quant(name: &str) -> Option<Quant> {
    QUANTS.iter().find(|quant| quant.name.eq_ignore_ascii_case(name)).copied()
}

/// A model with its weights at some width and its cache at another.
#[derive(Clone, Debug)]
pub struct Model {
    pub name: String,
    pub spec: ModelSpec,
    pub rates: Rates,
    /// Bits a parameter, on average.
    pub bits: f64,
    /// What products are computed in where the device can.
    pub precision: Precision,
    /// Where spec and width come from.
    pub source: String,
}

impl Model {
    /// A model of which there is no file: every parameter `quant.bits` wide.
    pub fn at(name: &str, spec: ModelSpec, quant: Quant, kv_element_bytes: u64) -> Model {
        let traffic = spec.traffic_at(quant.bits, kv_element_bytes);
        Model {
            name: name.into(),
            rates: spec.rates(traffic),
            spec,
            bits: quant.bits,
            precision: quant.precision,
            source: format!("{} bits a parameter", quant.bits),
        }
    }

    /// A model of a file, whose tensors move `traffic`.
    ///
    /// # Errors
    /// [`Error::Input`] if the file holds no weights.
    pub fn of_file(name: &str, spec: ModelSpec, traffic: Traffic) -> Result<Model, Error> {
        let bytes = positive("bytes of weights", traffic.resident() as f64)?;
        let bits = 8.0 * bytes / spec.cost().parameters().total as f64;
        let precision = match bits {
            ..=10.0 => Precision::Int8,
            ..=20.0 => Precision::Bf16,
            _ => Precision::Fp32,
        };
        let source = "tensors of the file".to_string();
        Ok(Model { name: name.into(), rates: spec.rates(traffic), spec, bits, precision, source })
    }

    pub fn is_sparse(&self) -> bool {
        !self.rates.traffic.experts.is_empty()
    }

    /// Experts a layer, 0 if dense.
    pub fn n_experts(&self) -> u64 {
        self.rates.traffic.experts.first().map_or(0, |layer| layer.n_experts)
    }

    /// In how many parts the cache of a token can be cut: its key/value heads. A latent cannot.
    pub(crate) fn kv_parts(&self) -> u64 {
        match &self.spec.layers[0].attention {
            AttentionSpec::Gqa(gqa) => gqa.n_kv_heads as u64,
            AttentionSpec::Mla(_) => 1,
        }
    }

    /// Bytes of activations of a step: T·(8·D + 4·F) halves, F the widest feed-forward part, and
    /// logits (rows, V) in f32.
    pub fn scratch_bytes(&self, n_tokens: u64, n_logits: u64) -> f64 {
        let widest = self.spec.layers.iter().map(|layer| match &layer.ffn {
            FfnSpec::Dense { hidden } => *hidden,
            FfnSpec::Moe(moe) => moe.n_chosen * moe.hidden + moe.shared_hidden,
        });
        let widest = widest.max().unwrap_or(0) as f64;
        let halves = n_tokens as f64 * (8.0 * self.spec.dim as f64 + 4.0 * widest);
        2.0 * halves + 4.0 * n_logits as f64 * self.spec.vocab as f64
    }
}
