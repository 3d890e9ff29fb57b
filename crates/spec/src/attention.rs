//! How a layer attends, and how positions are turned into angles.

/// The kind of attention of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum AttentionSpec {
    Gqa(GqaSpec),
    Mla(MlaSpec),
}

/// Grouped-query attention: each key/value head serves `n_heads / n_kv_heads` query heads.
#[derive(Clone, Debug, PartialEq)]
pub struct GqaSpec {
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub head_dim: usize,
    /// Query, key and value projections add a bias (Qwen2).
    pub qkv_bias: bool,
    /// Queries and keys are normed per head before rope (Qwen3).
    pub qk_norm: bool,
    pub rope: RopeSpec,
}

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values are linear images
/// of one small latent a token, and only that latent and one roped key are cached.
#[derive(Clone, Debug, PartialEq)]
pub struct MlaSpec {
    pub n_heads: usize,
    /// `q_lora_rank`; `None` where queries are projected at once (V2-Lite).
    pub query_rank: Option<usize>,
    /// `kv_lora_rank`.
    pub latent_rank: usize,
    /// `qk_nope_head_dim`.
    pub nope_dim: usize,
    /// `qk_rope_head_dim`.
    pub rope_dim: usize,
    /// `v_head_dim`.
    pub value_dim: usize,
    pub rope: RopeSpec,
    /// Multiplies scores before softmax: 1/√(nope + rope) times YaRN's correction squared.
    pub scale: f32,
}

/// Which elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// (i, i + dim/2): Hugging Face's Llama, Qwen; ggml's "neox".
    Half,
    /// (2i, 2i + 1): DeepSeek; the Llama family as GGUF permutes it; ggml's "norm".
    Adjacent,
}

/// Rotary position embedding over the first `dim` elements of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    pub theta: f64,
    pub dim: usize,
    pub pairing: Pairing,
    pub scaling: RopeScaling,
}

/// How a model's rope was stretched beyond the context that it was first trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    /// Llama 3.1's smooth switch between stretched low and untouched high frequencies.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// YaRN (arXiv 2309.00071). `attention_factor` multiplies cosines and sines.
    Yarn {
        factor: f64,
        original_context: f64,
        beta_fast: f64,
        beta_slow: f64,
        attention_factor: f64,
    },
    /// Each frequency is divided by an entry of the file's own table (GGUF's `rope_freqs.weight`).
    Table,
}

impl RopeSpec {
    /// Radians a position for each rotated pair (dim/2). `table` is the file's, for
    /// [`RopeScaling::Table`].
    ///
    /// # Panics
    ///
    /// If the scaling is `Table` and the table has not dim/2 entries.
    pub fn frequencies(&self, table: Option<&[f32]>) -> Vec<f64> {
        let half = self.dim / 2;
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / self.dim as f64);
        let plain = (0..half).map(plain);
        match self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                plain
                    .map(|f| {
                        let turns = original_context * f / std::f64::consts::TAU;
                        let smooth =
                            (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                        let smooth = smooth.clamp(0.0, 1.0);
                        f * smooth + f / factor * (1.0 - smooth)
                    })
                    .collect()
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, .. } => {
                let (low, high) = self.yarn_range(original_context, beta_fast, beta_slow);
                plain
                    .enumerate()
                    .map(|(i, f)| {
                        let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        f * (1.0 - stretched) + f / factor * stretched
                    })
                    .collect()
            }
            RopeScaling::Table => {
                let table = table.expect("a spec with a rope table comes with the table");
                assert_eq!(table.len(), half, "the rope table has one entry a pair");
                plain.zip(table).map(|(f, &divisor)| f / f64::from(divisor)).collect()
            }
        }
    }

    /// What cosines and sines are multiplied by.
    pub fn amplitude(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }

    /// The pairs between which YaRN goes over from untouched to stretched.
    fn yarn_range(&self, original_context: f64, beta_fast: f64, beta_slow: f64) -> (f64, f64) {
        let pair_of = |turns: f64| {
            let wavelength = original_context / (turns * std::f64::consts::TAU);
            self.dim as f64 * wavelength.ln() / (2.0 * self.theta.ln())
        };
        let low = pair_of(beta_fast).floor().max(0.0);
        let high = pair_of(beta_slow).ceil().min(self.dim as f64 - 1.0);
        // As the reference has it: a range of nothing would divide by zero.
        (low, if low == high { high + 0.001 } else { high })
    }
}

/// YaRN's magnitude correction: 0.1·m·ln(factor) + 1.
pub(crate) fn yarn_magnitude(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}
