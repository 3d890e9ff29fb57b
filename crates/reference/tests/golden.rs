//! The logits and greedy tokens that Hugging Face transformers computes for every family.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use ruminate_reference::{FileSource, logits};
use safetensors::SafeTensors;
use spec::ModelSpec;

/// The largest difference from transformers that was seen is 2.7e-6.
const BOUND: f32 = 1e-5;

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// The four-byte numbers of a tensor, as their bits.
fn bits(file: &SafeTensors<'_>, key: &str) -> Vec<u32> {
    let data = file.tensor(key).unwrap().data();
    data.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect()
}

fn largest(row: &[f32]) -> u32 {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as u32
}

#[track_caller]
fn agrees(family: &str) {
    let folder = golden(family);
    let checkpoint = formats::open(&folder).unwrap();
    let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
    let source = FileSource::new(&spec, &checkpoint.config, &*checkpoint.weights);
    let expected = std::fs::read(folder.join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();

    for prompt in 0..4 {
        let tokens = bits(&expected, &format!("prompt{prompt}.input_ids"));
        let theirs = bits(&expected, &format!("prompt{prompt}.logits"));
        let ours = logits(&spec, &source, &tokens).unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (i, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            let theirs = f32::from_bits(theirs);
            let (position, token) = (i / spec.vocab, i % spec.vocab);
            assert!(
                (ours - theirs).abs() < BOUND,
                "{family}, prompt {prompt}, position {position}, token {token}: {ours} {theirs}"
            );
        }
    }

    // Given the tokens before it, each greedy token is the largest: so they all are when generated
    // one by one.
    let mut tokens = bits(&expected, "prompt2.input_ids");
    let n_prompt = tokens.len();
    let greedy = bits(&expected, "prompt2.greedy");
    tokens.extend(&greedy[..greedy.len() - 1]);
    let rows = logits(&spec, &source, &tokens).unwrap();
    let ours: Vec<u32> = rows.chunks(spec.vocab).skip(n_prompt - 1).map(largest).collect();
    assert_eq!(ours, greedy, "{family}");
}

#[test]
fn llama_with_llama3_rope_agrees() {
    agrees("llama");
}

#[test]
fn qwen2_with_yarn_agrees() {
    agrees("qwen2");
}

#[test]
fn qwen3_with_head_norms_and_a_tied_head_agrees() {
    agrees("qwen3");
}

#[test]
fn qwen3_moe_agrees() {
    agrees("qwen3_moe");
}

#[test]
fn deepseek_v2_lite_agrees() {
    agrees("deepseek_v2_lite");
}

#[test]
fn deepseek_v3_agrees() {
    agrees("deepseek_v3");
}

#[test]
fn deepseek_v3_in_fp8_agrees() {
    agrees("deepseek_v3_fp8");
}
