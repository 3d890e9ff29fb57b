//! Steps of a decoder under a clock: of a real model, or of one made up in another's widths.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use formats::{Random, TensorLayout};
use model::{Batch, Decoder, Kv, KvType, Limits, PAGE};
use par::Pool;
use quant::QuantType;
use spec::{AttentionSpec, Config, Dialect, FfnSpec, ModelSpec, RowShape, Traffic, Value};

use super::models::Types;

/// Steps of each kind, of which the median counts.
const RUNS: usize = 7;
/// Bytes of weights of a probe: more than caches hold.
const WEIGHTS_BYTES: f64 = 96e6;
/// Entries of a probe's vocabulary, at least.
const VOCAB_MIN: usize = 256;

/// A decoder whose steps are timed.
pub(super) struct Probe {
    decoder: Decoder,
    kv: Kv,
    batch: Batch,
    pool: Pool,
}

impl Probe {
    /// Fills the cache, so that its pages are memory of their own.
    pub(super) fn new(decoder: Decoder, mut kv: Kv, pool: Pool) -> Probe {
        let past: Vec<f32> = (0..4099).map(|i| (i % 17) as f32 / 16.0 - 0.5).collect();
        kv.fill(&past);
        let batch = Batch::new(decoder.spec());
        Probe { decoder, kv, batch, pool }
    }

    /// A made-up model with the widths of `spec`, its matrices of `types`: as many layers as it
    /// takes to be larger than caches, a head in proportion, and caches for `rows_max` streams of
    /// `context_max` tokens.
    pub(super) fn like(
        spec: &ModelSpec,
        types: Types,
        kv_type: KvType,
        (rows_max, context_max): (usize, usize),
    ) -> anyhow::Result<Probe> {
        Probe::of_widths(Widths::like(spec, types), types, kv_type, (rows_max, context_max))
    }

    /// The smallest model with so many layers: what is left is what layers take beside their work.
    pub(super) fn empty(n_layers: usize, kv_type: KvType) -> anyhow::Result<Probe> {
        let widths = Widths {
            dim: 64,
            hidden: 64,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 64,
            vocab: 64,
            n_layers,
        };
        let types = Types { most: QuantType::F32, head: QuantType::F32 };
        Probe::of_widths(widths, types, kv_type, (1, PAGE))
    }

    fn of_widths(
        widths: Widths,
        types: Types,
        kv_type: KvType,
        (rows_max, context_max): (usize, usize),
    ) -> anyhow::Result<Probe> {
        let spec = ModelSpec::from_config(&widths.config())?;
        let random = Random::new(1, widths.layouts(types));
        let limits = Limits { tokens_per_step: 512, logits_per_step: rows_max };
        let pool = Pool::new(Pool::threads_available());
        let kv = Kv::new(&spec, kv_type, rows_max * context_max.div_ceil(PAGE));
        let what = (spec, Dialect::HuggingFace);
        let decoder = Decoder::load(&random, what, limits, &pool, &|_| {})?;
        Ok(Probe::new(decoder, kv, pool))
    }

    pub(super) fn spec(&self) -> &ModelSpec {
        self.decoder.spec()
    }

    /// Bytes that weights of this probe move, by what the decoder packed.
    pub(super) fn traffic(&self) -> Traffic {
        let cost = self.spec().cost();
        // The embedding of its own, of which rows are read, is not among the packed matrices.
        let packed = cost.parameters().total - cost.parts().embedding;
        let bits = 8.0 * self.decoder.weights_bytes() as f64 / packed as f64;
        self.spec().traffic_at(bits, self.kv.kv_type().bytes() as u64)
    }

    /// Seconds of a step with `n_rows` rows of `n_tokens` tokens each after `from` cached ones, the
    /// last of each with logits.
    pub(super) fn seconds(
        &mut self,
        n_rows: usize,
        from: usize,
        n_tokens: usize,
    ) -> anyhow::Result<f64> {
        let pages = (from + n_tokens).div_ceil(PAGE);
        let vocab = self.spec().vocab;
        self.batch.clear();
        for row in 0..n_rows {
            let token = |at: usize| ((row * 31 + at * 7) % vocab) as u32;
            let tokens: Vec<u32> = (from..from + n_tokens).map(token).collect();
            let own = (row * pages) as u32..((row + 1) * pages) as u32;
            self.batch.push(&tokens, from, own, 1);
        }
        let mut seconds = Vec::with_capacity(RUNS);
        for run in 0..=RUNS {
            let start = Instant::now();
            self.decoder.forward(&self.pool, &self.batch, &mut self.kv)?;
            // The first run warms up.
            if run > 0 {
                seconds.push(start.elapsed().as_secs_f64());
            }
        }
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[RUNS / 2])
    }
}

/// The rows of [`Probe::seconds`] as the roofline sees them.
pub(super) fn rows(n_rows: usize, from: usize, n_tokens: usize) -> impl Iterator<Item = RowShape> {
    let row = RowShape { from: from as u64, n_tokens: n_tokens as u64, n_logits: 1 };
    std::iter::repeat_n(row, n_rows)
}

/// The widths of a dense model with grouped-query attention.
#[derive(Clone, Copy, Debug)]
struct Widths {
    dim: usize,
    hidden: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    n_layers: usize,
}

impl Widths {
    fn like(spec: &ModelSpec, types: Types) -> Widths {
        let layer = spec.layers.last().expect("a model has layers");
        let hidden = match &layer.ffn {
            FfnSpec::Dense { hidden } => *hidden,
            // As narrow as an expert: products are as small as those of the layer that is meant.
            FfnSpec::Moe(moe) => moe.hidden,
        };
        let (n_heads, n_kv_heads, head_dim) = match &layer.attention {
            AttentionSpec::Gqa(gqa) => (gqa.n_heads, gqa.n_kv_heads, gqa.head_dim),
            AttentionSpec::Mla(mla) => (mla.n_heads, mla.n_heads, mla.value_dim),
        };
        let (dim, vocab) = (spec.dim, VOCAB_MIN);
        let widths = Widths { dim, hidden, n_heads, n_kv_heads, head_dim, vocab, n_layers: 1 };
        let layouts = widths.layouts(types);
        let bytes: usize = layouts.iter().map(TensorLayout::bytes).sum();
        let n_layers = (WEIGHTS_BYTES / bytes as f64).ceil() as usize;
        let n_layers = n_layers.clamp(1, spec.layers.len());
        let vocab = (spec.vocab * n_layers / spec.layers.len()).max(VOCAB_MIN);
        Widths { n_layers, vocab, ..widths }
    }

    fn config(&self) -> Config {
        let mut values = BTreeMap::new();
        let architecture = Value::List(vec![Value::Text("LlamaForCausalLM".into())]);
        values.insert("architectures".to_string(), architecture);
        let counts = [
            ("hidden_size", self.dim),
            ("intermediate_size", self.hidden),
            ("num_hidden_layers", self.n_layers),
            ("num_attention_heads", self.n_heads),
            ("num_key_value_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab),
            ("max_position_embeddings", 1 << 20),
        ];
        for (key, n) in counts {
            values.insert(key.to_string(), Value::Int(n as i64));
        }
        values.insert("rms_norm_eps".into(), Value::Float(1e-5));
        Config { dialect: Dialect::HuggingFace, values, tensors: BTreeSet::new() }
    }

    fn layouts(&self, types: Types) -> Vec<TensorLayout> {
        let mut layouts = Vec::new();
        let mut add = |name: String, shape: &[usize]| {
            let ty = if name == "lm_head" { types.head } else { types.most };
            let columns = shape.last().copied().unwrap_or(1);
            let quant = match shape.len() {
                1 => QuantType::F32,
                _ if columns.is_multiple_of(ty.block_len()) => ty,
                // As quantizers do with rows that do not fill a block.
                _ => QuantType::F16,
            };
            layouts.push(TensorLayout { name: name + ".weight", quant, shape: shape.to_vec() });
        };
        let (dim, heads) = (self.dim, self.n_heads * self.head_dim);
        let kv = self.n_kv_heads * self.head_dim;
        add("model.embed_tokens".into(), &[self.vocab, dim]);
        for i in 0..self.n_layers {
            let mut of_layer =
                |name: &str, shape: &[usize]| add(format!("model.layers.{i}.{name}"), shape);
            of_layer("input_layernorm", &[dim]);
            of_layer("self_attn.q_proj", &[heads, dim]);
            of_layer("self_attn.k_proj", &[kv, dim]);
            of_layer("self_attn.v_proj", &[kv, dim]);
            of_layer("self_attn.o_proj", &[dim, heads]);
            of_layer("post_attention_layernorm", &[dim]);
            of_layer("mlp.gate_proj", &[self.hidden, dim]);
            of_layer("mlp.up_proj", &[self.hidden, dim]);
            of_layer("mlp.down_proj", &[dim, self.hidden]);
        }
        add("model.norm".into(), &[dim]);
        add("lm_head".into(), &[self.vocab, dim]);
        layouts
    }
}
