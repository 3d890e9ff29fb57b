//! The log-probabilities of training are those of serving, bit for bit.

use ruminate_model::learn::{LearnOptions, Sequences};
use ruminate_model::{Batch, Kv, KvType, PAGE};
use simd::Best;

use crate::school::{Expected, FAMILIES, PLAIN, School, all_targets, assert_same_bits};

const TEMPERATURE: f32 = 0.7;

/// What the sampler records of tokens: their log-probabilities under the logits before them.
fn logprobs(logits: &[f32], targets: &[u32], vocab: usize) -> Vec<f32> {
    let rows = logits.chunks_exact(vocab).zip(targets);
    rows.map(|(logits, &target)| {
        let z: Vec<f32> = logits.iter().map(|x| x / TEMPERATURE).collect();
        z[target as usize] - simd::math::log_sum_exp(Best::detect(), &z)
    })
    .collect()
}

/// Log-probabilities of all tokens but the first, served in steps that end at each of `cuts`.
pub(crate) fn served(
    school: &mut School,
    ids: &[u32],
    kv_type: KvType,
    cuts: &[usize],
) -> Vec<f32> {
    let spec = school.decoder.spec().clone();
    let mut kv = Kv::new(&spec, kv_type, 32);
    let mut batch = Batch::new(&spec);
    let pages: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).map(|i| i * 5 % 31).collect();
    let (mut found, mut from) = (Vec::new(), 0);
    for &to in cuts {
        batch.clear();
        batch.push(&ids[from..to], from, pages.iter().copied(), to - from);
        let logits = school.decoder.forward(&school.pool, &batch, &mut kv).unwrap();
        found.extend(logprobs(logits, &ids[from + 1..ids.len().min(to + 1)], spec.vocab));
        from = to;
    }
    found
}

/// The same of all sequences in a crowd.
fn crowd(school: &mut School, all: &[Vec<u32>], kv_type: KvType) -> Vec<f32> {
    let spec = school.decoder.spec().clone();
    let (mut kv, mut batch) = (Kv::new(&spec, kv_type, 32), Batch::new(&spec));
    let mut page = 0;
    for ids in all {
        let n = ids.len() - 1;
        let n_pages = n.div_ceil(PAGE) as u32;
        batch.push(&ids[..n], 0, page..page + n_pages, n);
        page += n_pages;
    }
    let logits = school.decoder.forward(&school.pool, &batch, &mut kv).unwrap();
    let targets: Vec<u32> = all.iter().flat_map(|ids| ids[1..].to_vec()).collect();
    logprobs(logits, &targets, spec.vocab)
}

/// Panics unless the learner's log-probabilities are those of decoding, of prompts in chunks, and
/// of a crowd.
pub(crate) fn check_served(family: &str, mut school: School, kv_type: KvType) {
    let expected = Expected::read(family);
    let all: Vec<Vec<u32>> =
        (1..4).map(|i| expected.ids(&format!("prompt{i}.input_ids"))).collect();
    let sequences = all_targets(all.iter().map(Vec::as_slice), TEMPERATURE);
    let found = school.learner.forward(&school.pool, &school.decoder, &sequences).unwrap().logprobs;
    let together = crowd(&mut school, &all, kv_type);
    assert_same_bits(&found, &together, &format!("{family} in a crowd"));
    let mut from = 0;
    for ids in &all {
        let found = &found[from..from + ids.len() - 1];
        let single: Vec<usize> = (1..ids.len()).collect();
        let chunks: Vec<usize> = [3, 33, 64, ids.len() - 1].into();
        let chunks: Vec<usize> = chunks.into_iter().filter(|&to| to < ids.len()).collect();
        assert_same_bits(found, &served(&mut school, ids, kv_type, &single), family);
        if chunks.is_sorted_by(|a, b| a < b) {
            assert_same_bits(found, &served(&mut school, ids, kv_type, &chunks), family);
        }
        from += ids.len() - 1;
    }
}

#[test]
fn log_probabilities_of_training_are_those_of_serving() {
    for family in FAMILIES {
        for kv_type in KvType::ALL {
            let school = School::new(family, 2, LearnOptions { kv_type, ..PLAIN });
            check_served(family, school, kv_type);
        }
    }
}

#[test]
fn new_weights_are_served_as_they_were_learned() {
    for family in FAMILIES {
        let ids = Expected::read(family).ids("prompt2.input_ids");
        let mut school = School::new(family, 2, PLAIN);
        let sequences = all_targets([&ids[..]], TEMPERATURE);
        let before = school.learn(&sequences, ids.len());
        for parameter in school.learner.params_mut() {
            for (value, gradient) in parameter.value.iter_mut().zip(&parameter.gradient) {
                *value -= 0.05 * gradient;
            }
        }
        school.learner.publish(&school.pool, &mut school.decoder);
        let found = school.learner.forward(&school.pool, &school.decoder, &sequences).unwrap();
        let single: Vec<usize> = (1..ids.len()).collect();
        assert_same_bits(&found.logprobs, &served(&mut school, &ids, KvType::F32, &single), family);
        let sum = |logprobs: &[f32]| logprobs.iter().sum::<f32>();
        assert!(sum(&found.logprobs) > sum(&before), "{family}: a step down the gradient helps");
    }
}

#[test]
fn only_targets_are_scored_and_they_alone_have_gradients() {
    let ids = Expected::read("llama").ids("prompt1.input_ids");
    let mut school = School::new("llama", 2, PLAIN);
    let all = school.learn(&all_targets([&ids[..]], 1.0), 1);
    school.learner.zero_gradients();
    let mut some = Sequences::new(1.0);
    let marks: Vec<bool> = (0..ids.len()).map(|i| i == 2 || i == 4).collect();
    some.push(&ids, &marks);
    assert_eq!(school.learn(&some, 1), [all[1], all[3]]);
    let once = school.gradients();
    // The gradient of later tokens is that of nothing: a shorter sequence has the same.
    school.learner.zero_gradients();
    let mut short = Sequences::new(1.0);
    short.push(&ids[..5], &marks[..5]);
    school.learn(&short, 1);
    let short = school.gradients();
    let worst = once.iter().zip(&short).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-5 && once.iter().any(|x| x.abs() > 1e-2), "{worst}");
}
