//! Which type each tensor gets.
//!
//! As llama.cpp does it: a type or a mixture names what most matrices become, vectors and routers
//! stay F32, and a row that is not whole blocks falls back to a type of shorter blocks.

use quant::QuantType;

/// What the matrices of a model become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All of them the same.
    Plain(QuantType),
    /// Most of them one type, those that suffer most from it a better one.
    Mix(Mix),
}

/// llama.cpp's mixtures of K-quants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    Q4KS,
    Q4KM,
    Q5KS,
    Q5KM,
}

const MIXES: [(Mix, &str, u32); 4] = [
    (Mix::Q4KS, "q4_k_s", 14),
    (Mix::Q4KM, "q4_k_m", 15),
    (Mix::Q5KS, "q5_k_s", 16),
    (Mix::Q5KM, "q5_k_m", 17),
];

/// `general.file_type` of files whose matrices are of one type.
const FILE_TYPES: [(QuantType, u32); 15] = [
    (QuantType::F32, 0),
    (QuantType::F16, 1),
    (QuantType::Q4_0, 2),
    (QuantType::Q4_1, 3),
    (QuantType::Q8_0, 7),
    (QuantType::Q5_0, 8),
    (QuantType::Q5_1, 9),
    (QuantType::Q2K, 10),
    (QuantType::Q3K, 11),
    (QuantType::Q4K, 14),
    (QuantType::Q5K, 16),
    (QuantType::Q6K, 18),
    (QuantType::Iq4Nl, 25),
    (QuantType::Iq4Xs, 30),
    (QuantType::Bf16, 32),
];

impl Target {
    /// The type or mixture of this name, in any case; none if GGUF cannot hold it.
    pub fn from_name(name: &str) -> Option<Self> {
        let mix = MIXES.iter().find(|mix| mix.1.eq_ignore_ascii_case(name));
        let plain = || QuantType::from_name(name).filter(|ty| ty.ggml_id().is_some());
        mix.map(|mix| Target::Mix(mix.0)).or_else(|| plain().map(Target::Plain))
    }

    /// The names of all targets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let plain = QuantType::ALL.iter().filter(|ty| ty.ggml_id().is_some());
        plain.map(|ty| ty.name()).chain(MIXES.iter().map(|mix| mix.1))
    }

    /// As llama.cpp numbers it in `general.file_type`.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Target::Plain(ty) => {
                let found = FILE_TYPES.iter().find(|entry| entry.0 == ty);
                found.expect("every type of GGUF has a number").1
            }
            Target::Mix(mix) => {
                MIXES.iter().find(|entry| entry.0 == mix).expect("every mixture is listed").2
            }
        }
    }

    /// What most matrices become.
    fn base(self) -> QuantType {
        match self {
            Target::Plain(ty) => ty,
            Target::Mix(Mix::Q4KS | Mix::Q4KM) => QuantType::Q4K,
            Target::Mix(Mix::Q5KS | Mix::Q5KM) => QuantType::Q5K,
        }
    }
}

/// The choice for every tensor of one model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) target: Target,
    /// The type of the head, where the user wants another.
    pub(crate) head: Option<QuantType>,
    pub(crate) n_layers: usize,
    pub(crate) tied_head: bool,
}

/// What a tensor becomes, and what it would have become if its rows were whole blocks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) quant: QuantType,
    pub(crate) wished: QuantType,
}

impl Policy {
    /// The type of the tensor that GGUF calls `name`, with that shape.
    pub(crate) fn choose(&self, name: &str, shape: &[usize]) -> Choice {
        let kept = shape.len() < 2
            || !name.ends_with(".weight")
            || name.contains("norm")
            || name.contains("ffn_gate_inp");
        if kept {
            return Choice { quant: QuantType::F32, wished: QuantType::F32 };
        }
        let wished = self.wish(name);
        let columns = shape[shape.len() - 1];
        Choice { quant: fit(wished, columns), wished }
    }

    fn wish(&self, name: &str) -> QuantType {
        let head = if self.tied_head { "token_embd.weight" } else { "output.weight" };
        if name == head {
            return match (self.head, self.target) {
                (Some(ty), _) | (None, Target::Plain(ty)) => ty,
                (None, Target::Mix(_)) => QuantType::Q6K,
            };
        }
        let Target::Mix(mix) = self.target else { return self.target.base() };
        let Some((layer, part)) = layer_and_part(name) else { return self.target.base() };
        // An eighth of the layers at each end, and every third between: llama.cpp's choice.
        let eighth = self.n_layers / 8;
        let first = layer < eighth;
        let more = first || layer >= 7 * self.n_layers / 8 || (layer - eighth) % 3 == 2;
        // MLA's values come out of its latent, by one matrix or by half of it.
        let is_value = part == "attn_v" || part == "attn_v_b" || part == "attn_kv_b";
        match mix {
            Mix::Q4KM | Mix::Q5KM if more && (is_value || part.starts_with("ffn_down")) => {
                QuantType::Q6K
            }
            Mix::Q4KS if is_value && layer < 4 => QuantType::Q5K,
            Mix::Q4KS if part.starts_with("ffn_down") && first => QuantType::Q5K,
            _ => self.target.base(),
        }
    }
}

/// `blk.7.attn_v.weight` is part `attn_v` of layer 7.
fn layer_and_part(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part.strip_suffix(".weight")?))
}

/// `wished`, or the nearest type of which a row of `columns` is whole blocks.
fn fit(wished: QuantType, columns: usize) -> QuantType {
    let shorter = match wished {
        QuantType::Q2K | QuantType::Q3K | QuantType::Iq4Xs => QuantType::Iq4Nl,
        QuantType::Q4K => QuantType::Q5_0,
        QuantType::Q5K => QuantType::Q5_1,
        QuantType::Q6K => QuantType::Q8_0,
        other => other,
    };
    let fits = |ty: &QuantType| columns.is_multiple_of(ty.block_len());
    [wished, shorter].into_iter().find(fits).unwrap_or(QuantType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(target: &str) -> Policy {
        let target = Target::from_name(target).unwrap();
        Policy { target, head: None, n_layers: 32, tied_head: false }
    }

    #[test]
    fn every_name_leads_to_its_target_and_every_target_has_a_number() {
        for name in Target::names() {
            let target = Target::from_name(&name.to_uppercase()).unwrap();
            target.file_type();
        }
        assert_eq!(Target::from_name("f8_e4m3"), None);
        assert_eq!(Target::from_name("q4_k_m").unwrap().file_type(), 15);
    }

    #[test]
    fn what_is_small_and_matters_stays_in_full() {
        for (name, shape) in [
            ("output_norm.weight", &[4096][..]),
            ("blk.0.attn_q.bias", &[4096]),
            ("blk.3.ffn_gate_inp.weight", &[256, 4096]),
            ("blk.3.exp_probs_b.bias", &[256]),
            ("rope_freqs.weight", &[64]),
        ] {
            assert_eq!(policy("q4_k").choose(name, shape).quant, QuantType::F32, "{name}");
        }
    }

    /// What the table of tensors of DeepSeek-R1-Distill-Qwen-7B-Q4_K_M.gguf says, of 28 layers.
    #[test]
    fn the_medium_mixture_is_that_of_a_published_file() {
        let medium = Policy { n_layers: 28, ..policy("q4_k_m") };
        for part in ["attn_v", "ffn_down"] {
            let is_better = |layer: &usize| {
                let name = format!("blk.{layer}.{part}.weight");
                medium.choose(&name, &[3584, 3584]).quant == QuantType::Q6K
            };
            let better: Vec<usize> = (0..28).filter(is_better).collect();
            assert_eq!(better, [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27], "{part}");
        }
        let of = |name: &str| medium.choose(name, &[3584, 3584]).quant;
        assert_eq!(of("output.weight"), QuantType::Q6K);
        for name in ["token_embd", "blk.0.attn_q", "blk.0.attn_output", "blk.0.ffn_up"] {
            assert_eq!(of(&format!("{name}.weight")), QuantType::Q4K, "{name}");
        }
    }

    #[test]
    fn a_tied_embedding_is_the_head() {
        let tied = Policy { tied_head: true, ..policy("q4_k_m") };
        assert_eq!(tied.choose("token_embd.weight", &[512, 256]).quant, QuantType::Q6K);
        let kept = Policy { head: Some(QuantType::F16), ..tied };
        assert_eq!(kept.choose("token_embd.weight", &[512, 256]).quant, QuantType::F16);
    }

    #[test]
    fn a_row_of_no_whole_blocks_falls_back() {
        for (wished, columns, quant) in [
            ("q4_k", 576, QuantType::Q5_0),
            ("q5_k", 576, QuantType::Q5_1),
            ("q6_k", 96, QuantType::Q8_0),
            ("q2_k", 96, QuantType::Iq4Nl),
            ("q4_k", 24, QuantType::F16),
            ("q4_0", 576, QuantType::Q4_0),
            ("q8_0", 24, QuantType::F16),
        ] {
            let choice = policy(wished).choose("blk.0.attn_q.weight", &[8, columns]);
            assert_eq!(choice.quant, quant, "{wished} {columns}");
            assert_eq!(Target::Plain(choice.wished), Target::from_name(wished).unwrap());
        }
    }
}
