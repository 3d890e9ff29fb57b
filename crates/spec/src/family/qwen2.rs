//! Qwen2: Llama with biases on the query, key and value projections. QwQ-32B and the R1 distills.

use super::{Family, llama};
use crate::{GqaSpec, Pairing};

pub(super) const QWEN2: Family = Family {
    name: "qwen2",
    hugging_face: &["Qwen2ForCausalLM"],
    gguf: &["qwen2"],
    spec: |config| {
        let gqa = llama::gqa(config, Pairing::Half)?;
        llama::dense("qwen2", config, GqaSpec { qkv_bias: true, ..gqa })
    },
};
