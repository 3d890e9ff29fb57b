//! Every family against what Hugging Face transformers computes for it (fixtures/golden), and
//! against itself: the same bits however the work is cut.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod broken_router;
mod checkpoint;
mod stored_experts;

use checkpoint::{Expected, Session, golden};
use ruminate_model::{KvType, Products};
use spec::FfnSpec;

/// The largest difference of any logit.
fn worst(logits: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(logits.len(), expected.len());
    logits.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn check_logits(family: &str, bound: f32) {
    let expected = Expected::read(family);
    let mut session = Session::new(&golden(family), 2, KvType::F32);
    for (i, prompt) in expected.prompts.iter().enumerate() {
        let logits = session.logits(&prompt.ids, &[prompt.ids.len()]);
        let worst = worst(&logits, &prompt.logits);
        assert!(worst <= bound, "{family}, prompt {i}: off by {worst}");
    }
    let prompt = &expected.prompts[2].ids;
    assert_eq!(session.greedy(prompt, expected.greedy.len()), expected.greedy, "{family}");
}

#[test]
fn llama_agrees_with_transformers() {
    check_logits("llama", 2e-4);
}

#[test]
fn qwen2_agrees_with_transformers() {
    check_logits("qwen2", 2e-4);
}

#[test]
fn qwen3_agrees_with_transformers() {
    check_logits("qwen3", 2e-4);
}

#[test]
fn qwen3_moe_agrees_with_transformers() {
    check_logits("qwen3_moe", 3e-4);
}

#[test]
fn deepseek_v2_lite_agrees_with_transformers() {
    check_logits("deepseek_v2_lite", 3e-4);
}

#[test]
fn deepseek_v3_agrees_with_transformers() {
    check_logits("deepseek_v3", 3e-4);
}

#[test]
fn deepseek_v3_in_fp8_agrees_with_transformers() {
    check_logits("deepseek_v3_fp8", 3e-4);
}

const FAMILIES: [&str; 7] =
    ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8"];

fn assert_same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differ = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differ, None, "{what}: a bit differs");
}

#[test]
fn chunks_threads_and_decoding_change_no_bit() {
    for family in FAMILIES {
        let ids = &Expected::read(family).prompts[3].ids;
        for kv_type in KvType::ALL {
            let whole = Session::new(&golden(family), 1, kv_type).logits(ids, &[ids.len()]);
            let single: Vec<usize> = (1..=ids.len()).collect();
            for (threads, cuts) in
                [(1, &single[..]), (2, &[1, 40, 64, 65, ids.len()]), (3, &[31, 32, 33, ids.len()])]
            {
                let mut session = Session::new(&golden(family), threads, kv_type);
                let what = format!("{family} {} {threads} threads", kv_type.name());
                assert_same_bits(&whole, &session.logits(ids, cuts), &what);
            }
        }
    }
}

/// The plain form against the absorbed one, in f32 and over an f16 cache that both read.
#[test]
fn the_two_forms_of_latent_attention_agree() {
    for family in ["deepseek_v2_lite", "deepseek_v3", "deepseek_v3_fp8"] {
        let expected = Expected::read(family);
        let prompt = &expected.prompts[3];
        for (kv_type, bound) in [(KvType::F32, 5e-5), (KvType::F16, 5e-5)] {
            let absorbed = Session::new(&golden(family), 2, kv_type).logits(&prompt.ids, &[150]);
            for cuts in [&[150][..], &[70, 150], &[3, 80, 150]] {
                let mut session = Session::new(&golden(family), 2, kv_type);
                session.allow_plain_prompts(&golden(family));
                let plain = session.logits(&prompt.ids, cuts);
                let worst = worst(&plain, &absorbed);
                assert!(worst <= bound, "{family}: {worst} apart");
                assert!(plain != absorbed, "{family}: the plain form was not taken");
            }
        }
    }
}

#[test]
fn a_sequence_in_a_crowd_gets_the_bits_that_it_gets_alone() {
    for family in FAMILIES {
        let expected = Expected::read(family);
        let prompts: Vec<&[u32]> = expected.prompts.iter().map(|p| p.ids.as_slice()).collect();
        let mut alone = Session::new(&golden(family), 2, KvType::F16);
        let crowd = Session::new(&golden(family), 2, KvType::F16).last_logits_together(&prompts);
        for (prompt, crowd) in prompts.iter().zip(crowd) {
            let alone = alone.logits(prompt, &[prompt.len()]);
            assert_same_bits(&alone[alone.len() - crowd.len()..], &crowd, family);
        }
    }
}

#[test]
fn the_products_of_a_step_are_those_of_the_active_parameters() {
    for family in FAMILIES {
        let ids = &Expected::read(family).prompts[3].ids;
        let mut session = Session::new(&golden(family), 2, KvType::F16);
        session.logits(ids, &[ids.len()]);
        let whole = session.decoder().last_products();
        session.logits(&ids[..1], &[1]);
        let one = session.decoder().last_products();
        let ops = |products: &Products| products.ops.iter().map(|(_, ops)| ops).sum::<u64>();
        assert_eq!(ops(&whole), ops(&one) * ids.len() as u64, "{family}");
        // All but norms and biases.
        let flops = session.decoder().spec().cost().linear_flops();
        assert!(ops(&one) <= flops && ops(&one) > flops / 100 * 97, "{family}: {flops}");
        let bytes = session.decoder().weights_bytes() as u64;
        let spec = session.decoder().spec();
        let is_sparse = spec.layers.iter().any(|layer| matches!(layer.ffn, FfnSpec::Moe(_)));
        assert_eq!(one.weights_bytes < bytes, is_sparse, "{family}");
        // 150 tokens choose every expert.
        assert_eq!(whole.weights_bytes, bytes, "{family}");
    }
}
