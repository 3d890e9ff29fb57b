//! The shapes that models are made up in: published ones, and tiny ones for tests.

use std::collections::{BTreeMap, BTreeSet};

use spec::builtin::{self, BUILT_IN};
use spec::{Config, Dialect, Value};

use super::Shape;
use crate::Error;

/// A shape that `spec` does not list.
struct Own {
    name: &'static str,
    architecture: &'static str,
    /// One `key value` a line, keys as in `config.json`.
    keys: &'static str,
}

const OWN: [Own; 5] = [
    Own {
        name: "SmolLM2-135M",
        architecture: "LlamaForCausalLM",
        keys: "hidden_size 576\nintermediate_size 1536\nnum_hidden_layers 30
               num_attention_heads 9\nnum_key_value_heads 3\nvocab_size 49152
               max_position_embeddings 8192\nrms_norm_eps 1e-5\nrope_theta 100000
               tie_word_embeddings true",
    },
    Own {
        name: "Llama-8B",
        architecture: "LlamaForCausalLM",
        keys: "hidden_size 4096\nintermediate_size 14336\nnum_hidden_layers 32
               num_attention_heads 32\nnum_key_value_heads 8\nvocab_size 128256
               max_position_embeddings 131072\nrms_norm_eps 1e-5\nrope_theta 500000
               rope_scaling.rope_type llama3\nrope_scaling.factor 8
               rope_scaling.low_freq_factor 1\nrope_scaling.high_freq_factor 4
               rope_scaling.original_max_position_embeddings 8192",
    },
    // Rows of 256 and more, so that every type can hold them.
    Own {
        name: "tiny-qwen2",
        architecture: "Qwen2ForCausalLM",
        keys: "hidden_size 256\nintermediate_size 512\nnum_hidden_layers 2
               num_attention_heads 4\nnum_key_value_heads 2\nvocab_size 320
               max_position_embeddings 512\nrms_norm_eps 1e-6\nrope_theta 1000000",
    },
    Own {
        name: "tiny-qwen3-moe",
        architecture: "Qwen3MoeForCausalLM",
        keys: "hidden_size 256\nmoe_intermediate_size 256\nnum_hidden_layers 2
               num_attention_heads 4\nnum_key_value_heads 2\nhead_dim 64\nvocab_size 320
               num_experts 8\nnum_experts_per_tok 2\nnorm_topk_prob true
               max_position_embeddings 512\nrms_norm_eps 1e-6\nrope_theta 1000000",
    },
    Own {
        name: "tiny-deepseek",
        architecture: "DeepseekV3ForCausalLM",
        keys: "hidden_size 256\nintermediate_size 512\nmoe_intermediate_size 256
               num_hidden_layers 3\nfirst_k_dense_replace 1\nnum_attention_heads 4
               q_lora_rank 256\nkv_lora_rank 256\nqk_nope_head_dim 64\nqk_rope_head_dim 32
               v_head_dim 64\nvocab_size 320\nn_routed_experts 16\nn_shared_experts 1
               num_experts_per_tok 4\nn_group 4\ntopk_group 2\nnorm_topk_prob true
               routed_scaling_factor 2.5\nnum_nextn_predict_layers 1
               max_position_embeddings 512\nrms_norm_eps 1e-6\nrope_theta 10000
               rope_scaling.type yarn\nrope_scaling.factor 4
               rope_scaling.original_max_position_embeddings 128
               rope_scaling.mscale 1\nrope_scaling.mscale_all_dim 1",
    },
];

/// The names of all shapes.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|model| model.name).chain(OWN.iter().map(|own| own.name))
}

/// The config of a shape, with as many layers as are asked for.
///
/// # Errors
/// [`Error::UnknownShape`].
pub(super) fn config(shape: &Shape<'_>) -> Result<Config, Error> {
    let own = OWN.iter().find(|own| own.name.eq_ignore_ascii_case(shape.name));
    let built_in = || builtin::find(shape.name).map(|model| model.config());
    let unknown = || {
        let known = names().collect::<Vec<_>>().join(", ");
        Error::UnknownShape { name: shape.name.into(), known }
    };
    let mut config = own.map(parse).or_else(built_in).ok_or_else(unknown)?;
    if let Some(layers) = shape.layers {
        set_layers(&mut config, layers);
    }
    if shape.next_token {
        let layers = config.count_or(&["num_hidden_layers"], 0).unwrap_or(0);
        // By this tensor a config is known to have the layer that it announces.
        config.tensors.insert(format!("model.layers.{layers}.eh_proj.weight"));
    }
    Ok(config)
}

fn parse(own: &Own) -> Config {
    let mut values = BTreeMap::new();
    let architecture = Value::List(vec![Value::Text(own.architecture.into())]);
    values.insert("architectures".to_string(), architecture);
    for line in own.keys.lines() {
        let (key, value) = line.trim().split_once(' ').expect("the table has keys and values");
        let value = match (value.parse(), value.parse()) {
            (Ok(x), _) => Value::Float(x),
            (_, Ok(flag)) => Value::Bool(flag),
            _ => Value::Text(value.into()),
        };
        values.insert(key.to_string(), value);
    }
    Config { dialect: Dialect::HuggingFace, values, tensors: BTreeSet::new() }
}

/// Of a model whose first layers are dense, the share that is so stays the same, rounded up.
fn set_layers(config: &mut Config, layers: usize) {
    let of = |key: &str| config.count_or(&[key], 0).unwrap_or(0);
    let (all, dense) = (of("num_hidden_layers"), of("first_k_dense_replace"));
    config.values.insert("num_hidden_layers".into(), Value::Int(layers as i64));
    if dense > 0 {
        let dense = (dense * layers).div_ceil(all);
        config.values.insert("first_k_dense_replace".into(), Value::Int(dense as i64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Target;
    use spec::{FfnSpec, ModelSpec};

    fn spec(name: &str, layers: Option<usize>) -> ModelSpec {
        let target = Target::from_name("q4_0").unwrap();
        let shape = Shape { name, target, layers, next_token: false };
        ModelSpec::from_config(&config(&shape).unwrap()).unwrap()
    }

    #[test]
    fn every_shape_is_a_model() {
        for name in names() {
            spec(name, None);
        }
        // As published.
        let count = |name| spec(name, None).cost().parameters().total;
        assert_eq!(count("llama-8b"), 8_030_261_248);
        assert_eq!(count("smollm2-135m"), 134_515_008);
    }

    #[test]
    fn a_few_layers_of_r1_are_dense_and_sparse() {
        let few = spec("deepseek-r1", Some(3));
        let dense = few.layers.iter().filter(|l| matches!(l.ffn, FfnSpec::Dense { .. })).count();
        assert_eq!((few.layers.len(), dense), (3, 1));
        assert_eq!(spec("qwq-32b", Some(4)).layers.len(), 4);
    }

    #[test]
    fn an_unknown_shape_is_told_the_known_ones() {
        let target = Target::from_name("q4_0").unwrap();
        let shape = Shape { name: "gpt-2", target, layers: None, next_token: false };
        let error = config(&shape).unwrap_err().to_string();
        assert!(error.starts_with("no shape is called gpt-2 (known: QwQ-32B, "), "{error}");
    }
}
