//! The parameter counts that the model cards and reports give, from the published configs.

use std::collections::{BTreeMap, BTreeSet};

use ruminate_spec::{
    AttentionSpec, Config, Dialect, ModelSpec, Reading, RowShape, Slot, Value, Work,
};

/// A Hugging Face config from `key value` lines.
fn config(architecture: &str, lines: &str) -> Config {
    let mut values = BTreeMap::new();
    let architecture = Value::List(vec![Value::Text(architecture.into())]);
    values.insert("architectures".to_string(), architecture);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(' ').expect("a key and a value");
        let value = match value {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => match (value.parse::<i64>(), value.parse::<f64>()) {
                (Ok(n), _) => Value::Int(n),
                (_, Ok(x)) => Value::Float(x),
                _ => Value::Text(value.into()),
            },
        };
        values.insert(key.to_string(), value);
    }
    Config { dialect: Dialect::HuggingFace, values, tensors: BTreeSet::new() }
}

fn dense(architecture: &str, [dim, hidden, layers, heads, kv, vocab]: [i64; 6]) -> ModelSpec {
    let lines = format!(
        "hidden_size {dim}\nintermediate_size {hidden}\nnum_hidden_layers {layers}
         num_attention_heads {heads}\nnum_key_value_heads {kv}\nvocab_size {vocab}
         max_position_embeddings 40960\nrms_norm_eps 1e-5\nrope_theta 1000000.0"
    );
    ModelSpec::from_config(&config(architecture, &lines)).expect("a valid config")
}

const DEEPSEEK_V3: &str = "
    hidden_size 7168
    intermediate_size 18432
    moe_intermediate_size 2048
    num_hidden_layers 61
    first_k_dense_replace 3
    num_attention_heads 128
    q_lora_rank 1536
    kv_lora_rank 512
    qk_nope_head_dim 128
    qk_rope_head_dim 64
    v_head_dim 128
    vocab_size 129280
    n_routed_experts 256
    n_shared_experts 1
    num_experts_per_tok 8
    n_group 8
    topk_group 4
    norm_topk_prob true
    routed_scaling_factor 2.5
    num_nextn_predict_layers 1
    rms_norm_eps 1e-6
    rope_theta 10000
    max_position_embeddings 163840
    rope_scaling.type yarn
    rope_scaling.factor 40
    rope_scaling.original_max_position_embeddings 4096
    rope_scaling.mscale 1.0
    rope_scaling.mscale_all_dim 1.0";

const DEEPSEEK_V2_LITE: &str = "
    hidden_size 2048
    intermediate_size 10944
    moe_intermediate_size 1408
    num_hidden_layers 27
    first_k_dense_replace 1
    num_attention_heads 16
    q_lora_rank null
    kv_lora_rank 512
    qk_nope_head_dim 128
    qk_rope_head_dim 64
    v_head_dim 128
    vocab_size 102400
    n_routed_experts 64
    n_shared_experts 2
    num_experts_per_tok 6
    topk_method greedy
    norm_topk_prob false
    routed_scaling_factor 1.0
    rms_norm_eps 1e-6
    rope_theta 10000
    max_position_embeddings 163840
    rope_scaling.type yarn
    rope_scaling.factor 40
    rope_scaling.original_max_position_embeddings 4096
    rope_scaling.mscale 0.707
    rope_scaling.mscale_all_dim 0.707";

fn deepseek_v2() -> ModelSpec {
    let lines = DEEPSEEK_V2_LITE
        .replace("hidden_size 2048", "hidden_size 5120")
        .replace("intermediate_size 10944", "intermediate_size 12288")
        .replace("moe_intermediate_size 1408", "moe_intermediate_size 1536")
        .replace("layers 27", "layers 60")
        .replace("heads 16", "heads 128")
        .replace("q_lora_rank null", "q_lora_rank 1536")
        .replace("n_routed_experts 64", "n_routed_experts 160")
        .replace("topk_method greedy", "topk_method group_limited_greedy\nn_group 8\ntopk_group 3")
        .replace("routed_scaling_factor 1.0", "routed_scaling_factor 16.0");
    ModelSpec::from_config(&config("DeepseekV2ForCausalLM", &lines)).expect("a valid config")
}

#[test]
fn dense_models_have_the_published_counts() {
    let qwq = dense("Qwen2ForCausalLM", [5120, 27648, 64, 40, 8, 152064]);
    assert_eq!(qwq.cost().parameters().total, 32_763_876_352);
    let head_and_embedding = 2 * qwq.cost().parameters().embedding;
    assert_eq!(qwq.cost().parameters().total - head_and_embedding, 31_206_740_992);
    assert_eq!(2 * qwq.cost().kv_elements(), 262_144);
    assert_eq!(qwq.cost().parameters().active, 31_985_308_672);

    let qwen72 = dense("Qwen2ForCausalLM", [8192, 29568, 80, 64, 8, 152064]);
    assert_eq!(qwen72.cost().parameters().total, 72_706_203_648);
    assert_eq!(2 * qwen72.cost().kv_elements(), 327_680);

    let llama70 = dense("LlamaForCausalLM", [8192, 28672, 80, 64, 8, 128256]);
    assert_eq!(llama70.cost().parameters().total, 70_553_706_496);
    let llama8 = dense("LlamaForCausalLM", [4096, 14336, 32, 32, 8, 128256]);
    assert_eq!(llama8.cost().parameters().total, 8_030_261_248);
    assert_eq!(2 * llama8.cost().kv_elements(), 131_072);
}

#[test]
fn deepseek_models_have_the_published_counts() {
    let r1 = ModelSpec::from_config(&config("DeepseekV3ForCausalLM", DEEPSEEK_V3)).expect("valid");
    let count = r1.cost().parameters();
    assert_eq!(count.total, 671_026_419_200);
    assert_eq!(count.active, 36_625_618_432);
    assert_eq!(count.active + count.embedding, 37_552_297_472);
    assert_eq!(2 * r1.cost().kv_elements(), 70_272);
    // 2·128·(576 + 512)·L·61 at the context of DeepSeek's day 6.
    assert_eq!(r1.cost().attention_flops(4989), 2 * 128 * 1088 * 4989 * 61);
    assert_eq!(r1.cost().plain_attention_flops(4989), 2 * 128 * (192 + 128) * 4989 * 61);

    let v2 = deepseek_v2().cost().parameters();
    assert_eq!(v2.total, 235_741_434_880);
    assert_eq!(v2.active + v2.embedding, 21_375_800_320);
    assert_eq!(2 * deepseek_v2().cost().kv_elements(), 69_120);

    let lite = config("DeepseekV2ForCausalLM", DEEPSEEK_V2_LITE);
    let lite = ModelSpec::from_config(&lite).expect("valid");
    assert_eq!(lite.cost().parameters().total, 15_706_484_224);
    assert_eq!(lite.cost().parameters().active + 102_400 * 2048, 2_661_150_208);
    assert_eq!(2 * lite.cost().kv_elements(), 31_104);
}

#[test]
fn the_softmax_scale_carries_yarns_correction() {
    let scale = |spec: &ModelSpec| match &spec.layers[0].attention {
        AttentionSpec::Mla(mla) => mla.scale,
        AttentionSpec::Gqa(_) => panic!("DeepSeek attends over latents"),
    };
    let r1 = ModelSpec::from_config(&config("DeepseekV3ForCausalLM", DEEPSEEK_V3)).expect("valid");
    assert!((scale(&r1) - 0.135_234).abs() < 1e-6);
    assert_eq!(r1.rope().amplitude(), 1.0);
    let lite = config("DeepseekV2ForCausalLM", DEEPSEEK_V2_LITE);
    assert!((scale(&ModelSpec::from_config(&lite).expect("valid")) - 0.114_721).abs() < 1e-6);
}

#[test]
fn a_batch_reads_more_experts_until_it_reads_all() {
    let r1 = ModelSpec::from_config(&config("DeepseekV3ForCausalLM", DEEPSEEK_V3)).expect("valid");
    let (cost, count) = (r1.cost(), r1.cost().parameters());
    let one = cost.parameters_read(1);
    assert!((one - count.active as f64).abs() < 1.0, "{one}");
    assert!(cost.parameters_read(8) > 4.0 * one);
    let all = (count.total - count.embedding) as f64;
    assert!((cost.parameters_read(100_000) - all).abs() < 1e6);
}

#[test]
fn a_broken_config_is_named() {
    let broken = |from: &str, to: &str| {
        let lines = DEEPSEEK_V3.replace(from, to);
        let error = ModelSpec::from_config(&config("DeepseekV3ForCausalLM", &lines));
        error.expect_err("a broken config").to_string()
    };
    assert_eq!(broken("kv_lora_rank 512", ""), "the config has no kv_lora_rank");
    let error = broken("num_attention_heads 128", "num_attention_heads 0");
    assert_eq!(error, "num_attention_heads is 0; expected at least 1");
    let error = broken("hidden_size 7168", "hidden_size -3");
    assert_eq!(error, "hidden_size is -3; expected a count below 2^30");
    let error = broken("num_experts_per_tok 8", "num_experts_per_tok 300");
    assert_eq!(error, "impossible shape: 300 of 256 experts");
    let error = broken("scaling.type yarn", "scaling.type longrope");
    assert_eq!(error, "rope scaling longrope is not supported");
    let error = ModelSpec::from_config(&config("MambaForCausalLM", DEEPSEEK_V3));
    let error = error.expect_err("an unknown family").to_string();
    assert!(error.starts_with("model family MambaForCausalLM is not supported"), "{error}");
}

#[test]
fn every_name_leads_to_its_place() {
    let lite = config("DeepseekV2ForCausalLM", DEEPSEEK_V2_LITE);
    let spec = ModelSpec::from_config(&lite).expect("valid");
    let place = |name: &str| spec.place(Dialect::HuggingFace, name);
    let expert = place("model.layers.13.mlp.experts.63.up_proj.weight").expect("an expert");
    assert_eq!((expert.slot, expert.layer, expert.expert), (Slot::ExpertUp, 13, Some(63)));
    assert_eq!(spec.reading(expert), Reading::Chosen);
    let scale = place("model.layers.0.mlp.up_proj.weight_scale_inv").expect("a scale");
    assert!(scale.is_scale && spec.reading(scale) == Reading::Always);
    assert_eq!(spec.reading(place("model.embed_tokens.weight").expect("it")), Reading::Row);
    let extra = place("model.layers.27.self_attn.o_proj.weight").expect("a layer too many");
    assert_eq!(spec.reading(extra), Reading::Never);
    for unknown in ["", "model.layers.x.mlp.up_proj.weight", "lm_head.weight.2", "rope_freqs"] {
        assert_eq!(place(unknown), None, "{unknown}");
    }
    let stacked = spec.place(Dialect::Gguf, "blk.3.ffn_down_exps.weight").expect("experts");
    assert_eq!((stacked.slot, stacked.layer, stacked.expert), (Slot::ExpertDown, 3, None));
}

#[test]
fn parts_sum_to_the_whole_and_bits_to_bytes() {
    for model in ruminate_spec::builtin::BUILT_IN {
        let spec = model.spec();
        let (parts, count) = (spec.cost().parts(), spec.cost().parameters());
        let sum = parts.embedding + parts.head + parts.attention + parts.dense + parts.router;
        assert_eq!(sum + parts.shared + parts.routed, count.total, "{}", model.name);
        let traffic = spec.traffic_at(8.0, 2);
        assert_eq!(traffic.resident(), count.total, "{}", model.name);
        assert_eq!(traffic.weights(1), count.active as f64, "{}", model.name);
        assert_eq!(traffic.kv, 2 * spec.cost().kv_elements(), "{}", model.name);
    }
}

#[test]
fn the_work_of_a_step_is_that_of_its_rows() {
    let spec = ruminate_spec::builtin::find("R1").expect("R1 is built in").spec();
    let rates = spec.rates(spec.traffic_at(8.0, 2));
    // One answer's token at context L: the figures of DeepSeek's day 6.
    let row = RowShape { from: 4988, n_tokens: 1, n_logits: 1 };
    let work = rates.work([row]);
    assert_eq!(work.linear_flops(), spec.cost().linear_flops() as f64);
    assert!((work.attention_flops - 84.76e9).abs() < 5e6, "{}", work.attention_flops);
    assert_eq!(work.kv_bytes, 4989.0 * 70_272.0);
    assert_eq!(work.weights_bytes(), spec.cost().parameters().active as f64);
    // Four prompt tokens attend to 1 + 2 + 3 + 4 tokens, and only the last wants logits.
    let prompt = rates.work([RowShape { from: 0, n_tokens: 4, n_logits: 1 }]);
    assert_eq!(prompt.attention_flops, 10.0 * spec.cost().attention_flops(1) as f64);
    let without_heads = 3.0 * 2.0 * (spec.vocab * spec.dim) as f64;
    assert_eq!(prompt.linear_flops(), 4.0 * work.linear_flops() - without_heads);
    // Two halves of a prompt cost what the whole does, but read the weights twice.
    let halves = [
        rates.work([RowShape { from: 0, n_tokens: 2, n_logits: 0 }]),
        rates.work([RowShape { from: 2, n_tokens: 2, n_logits: 1 }]),
    ];
    let sum = |of: fn(&Work) -> f64| halves.iter().map(of).sum::<f64>();
    assert_eq!(sum(Work::linear_flops), prompt.linear_flops());
    assert_eq!(sum(|work| work.attention_flops), prompt.attention_flops);
    assert!(sum(Work::weights_bytes) > prompt.weights_bytes());
    assert_eq!(rates.work([]), Work::default());
}
