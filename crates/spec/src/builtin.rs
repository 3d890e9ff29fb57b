//! Models whose published configs are known without a file.
//!
//! Each goes through the same [`Config`] that a `config.json` becomes.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Config, Dialect, ModelSpec, Value};

/// A published model.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    pub name: &'static str,
    /// Others with the same shape.
    pub aliases: &'static [&'static str],
    architecture: &'static str,
    /// One `key value` a line, keys as in `config.json`.
    keys: &'static str,
    /// Bits a parameter of the weights as published.
    pub bits: f64,
    /// Where the config was published.
    pub source: &'static str,
}

/// All of them.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "QwQ-32B",
        aliases: &[],
        architecture: "Qwen2ForCausalLM",
        keys: "hidden_size 5120\nintermediate_size 27648\nnum_hidden_layers 64
               num_attention_heads 40\nnum_key_value_heads 8\nvocab_size 152064
               max_position_embeddings 40960\nrms_norm_eps 1e-5\nrope_theta 1000000.0",
        bits: 16.0,
        source: "Qwen/QwQ-32B config.json",
    },
    BuiltIn {
        name: "Qwen2.5-72B",
        aliases: &["Qwen2.5-72B-Instruct"],
        architecture: "Qwen2ForCausalLM",
        keys: "hidden_size 8192\nintermediate_size 29568\nnum_hidden_layers 80
               num_attention_heads 64\nnum_key_value_heads 8\nvocab_size 152064
               max_position_embeddings 32768\nrms_norm_eps 1e-6\nrope_theta 1000000.0",
        bits: 16.0,
        source: "Qwen/Qwen2.5-72B-Instruct config.json",
    },
    BuiltIn {
        name: "Llama-3.3-70B",
        aliases: &["Llama-3.3-70B-Instruct", "Llama-3.1-70B", "DeepSeek-R1-Distill-Llama-70B"],
        architecture: "LlamaForCausalLM",
        keys: "hidden_size 8192\nintermediate_size 28672\nnum_hidden_layers 80
               num_attention_heads 64\nnum_key_value_heads 8\nvocab_size 128256
               max_position_embeddings 131072\nrms_norm_eps 1e-5\nrope_theta 500000.0
               rope_scaling.rope_type llama3\nrope_scaling.factor 8.0
               rope_scaling.low_freq_factor 1.0\nrope_scaling.high_freq_factor 4.0
               rope_scaling.original_max_position_embeddings 8192",
        bits: 16.0,
        source: "meta-llama/Llama-3.3-70B-Instruct config.json",
    },
    BuiltIn {
        name: "DeepSeek-V2-Lite",
        aliases: &["DeepSeek-V2-Lite-Chat"],
        architecture: "DeepseekV2ForCausalLM",
        keys: "hidden_size 2048\nintermediate_size 10944\nmoe_intermediate_size 1408
               num_hidden_layers 27\nfirst_k_dense_replace 1\nnum_attention_heads 16
               q_lora_rank null\nkv_lora_rank 512\nqk_nope_head_dim 128\nqk_rope_head_dim 64
               v_head_dim 128\nvocab_size 102400\nn_routed_experts 64\nn_shared_experts 2
               num_experts_per_tok 6\ntopk_method greedy\nnorm_topk_prob false
               routed_scaling_factor 1.0\nrms_norm_eps 1e-6\nrope_theta 10000
               max_position_embeddings 163840\nrope_scaling.type yarn\nrope_scaling.factor 40
               rope_scaling.original_max_position_embeddings 4096
               rope_scaling.mscale 0.707\nrope_scaling.mscale_all_dim 0.707",
        bits: 16.0,
        source: "deepseek-ai/DeepSeek-V2-Lite config.json",
    },
    BuiltIn {
        name: "DeepSeek-R1",
        aliases: &["DeepSeek-V3", "DeepSeek-V3-0324", "DeepSeek-R1-0528", "R1", "V3"],
        architecture: "DeepseekV3ForCausalLM",
        keys: "hidden_size 7168\nintermediate_size 18432\nmoe_intermediate_size 2048
               num_hidden_layers 61\nfirst_k_dense_replace 3\nnum_attention_heads 128
               q_lora_rank 1536\nkv_lora_rank 512\nqk_nope_head_dim 128\nqk_rope_head_dim 64
               v_head_dim 128\nvocab_size 129280\nn_routed_experts 256\nn_shared_experts 1
               num_experts_per_tok 8\nn_group 8\ntopk_group 4\nnorm_topk_prob true
               routed_scaling_factor 2.5\nnum_nextn_predict_layers 1\nrms_norm_eps 1e-6
               rope_theta 10000\nmax_position_embeddings 163840\nrope_scaling.type yarn
               rope_scaling.factor 40\nrope_scaling.original_max_position_embeddings 4096
               rope_scaling.mscale 1.0\nrope_scaling.mscale_all_dim 1.0",
        bits: 8.0,
        source: "deepseek-ai/DeepSeek-R1 config.json",
    },
    BuiltIn {
        name: "Qwen3-30B-A3B",
        aliases: &[],
        architecture: "Qwen3MoeForCausalLM",
        keys: "hidden_size 2048\nmoe_intermediate_size 768\nnum_hidden_layers 48
               num_attention_heads 32\nnum_key_value_heads 4\nhead_dim 128\nvocab_size 151936
               num_experts 128\nnum_experts_per_tok 8\nnorm_topk_prob true\nrms_norm_eps 1e-6
               rope_theta 1000000.0\nmax_position_embeddings 40960",
        bits: 16.0,
        source: "Qwen/Qwen3-30B-A3B config.json",
    },
    BuiltIn {
        name: "Qwen3-235B-A22B",
        aliases: &[],
        architecture: "Qwen3MoeForCausalLM",
        keys: "hidden_size 4096\nmoe_intermediate_size 1536\nnum_hidden_layers 94
               num_attention_heads 64\nnum_key_value_heads 4\nhead_dim 128\nvocab_size 151936
               num_experts 128\nnum_experts_per_tok 8\nnorm_topk_prob true\nrms_norm_eps 1e-6
               rope_theta 1000000.0\nmax_position_embeddings 40960",
        bits: 16.0,
        source: "Qwen/Qwen3-235B-A22B config.json",
    },
];

/// The built-in that `name` means, in any case and with or without its owner.
pub fn find(name: &str) -> Option<&'static BuiltIn> {
    let name = name.rsplit('/').next().unwrap_or(name);
    BUILT_IN.iter().find(|model| {
        let names = std::iter::once(&model.name).chain(model.aliases);
        names.into_iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

impl BuiltIn {
    /// The config as a `config.json` would give it.
    pub fn config(&self) -> Config {
        let mut values = BTreeMap::new();
        let architecture = Value::List(vec![Value::Text(self.architecture.into())]);
        values.insert("architectures".to_string(), architecture);
        for line in self.keys.lines() {
            let (key, value) = line.trim().split_once(' ').expect("the table has keys and values");
            let value = match value {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => match (value.parse(), value.parse()) {
                    (Ok(n), _) => Value::Int(n),
                    (_, Ok(x)) => Value::Float(x),
                    _ => Value::Text(value.into()),
                },
            };
            values.insert(key.to_string(), value);
        }
        Config { dialect: Dialect::HuggingFace, values, tensors: BTreeSet::new() }
    }

    pub fn spec(&self) -> ModelSpec {
        ModelSpec::from_config(&self.config()).expect("a test reads every config of the table")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_has_its_published_size() {
        let sizes = [
            ("QwQ-32B", 32_763_876_352, 31_985_308_672),
            ("Qwen2.5-72B", 72_706_203_648, 71_460_495_360),
            ("Llama-3.3-70B", 70_553_706_496, 69_503_033_344),
            ("DeepSeek-V2-Lite", 15_706_484_224, 2_451_435_008),
            ("DeepSeek-R1", 671_026_419_200, 36_625_618_432),
            ("Qwen3-30B-A3B", 30_532_122_624, 3_041_867_776),
            ("Qwen3-235B-A22B", 235_093_634_560, 21_568_433_664),
        ];
        assert_eq!(sizes.len(), BUILT_IN.len());
        for (name, total, active) in sizes {
            let count = find(name).unwrap().spec().cost().parameters();
            assert_eq!((count.total, count.active), (total, active), "{name}");
        }
    }

    #[test]
    fn a_name_is_found_in_any_case_and_with_its_owner() {
        assert_eq!(find("deepseek-ai/deepseek-v3").unwrap().name, "DeepSeek-R1");
        assert_eq!(find("qwq-32b").unwrap().name, "QwQ-32B");
        assert!(find("GPT-2").is_none());
    }
}
