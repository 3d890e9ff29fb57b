//! Losses and gradients against transformers, and their bits against each other.

use ruminate_model::KvType;
use ruminate_model::learn::{LearnOptions, Parameter};

use crate::school::{Expected, FAMILIES, PLAIN, School, all_targets, assert_same_bits};

const TOLERANCE: f64 = 1e-3;

/// Panics unless found is expected within the tolerance, as a whole and in each number.
fn check(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut expected.iter().map(|&x| x.into()));
    let largest = expected.iter().fold(0.0f64, |largest, &x| largest.max(x.abs().into()));
    let differences = || found.iter().zip(expected).map(|(&a, &b)| f64::from(a) - f64::from(b));
    let error = norm(&mut differences());
    assert!(error <= TOLERANCE * size, "{what}: {error} of {size}");
    let worst = differences().fold(0.0f64, |worst, x| worst.max(x.abs()));
    assert!(worst <= TOLERANCE * largest, "{what}: {worst} of {largest}");
}

fn gradient<'a>(parameters: &'a [Parameter], name: &str) -> &'a [f32] {
    let found = parameters.iter().find(|parameter| parameter.name == name);
    &found.unwrap_or_else(|| panic!("a parameter {name}")).gradient
}

/// The gradients of one expert's part of a fused tensor.
fn fused(parameters: &[Parameter], name: &str, expert: usize) -> Vec<f32> {
    let (module, part) = name.rsplit_once('.').unwrap();
    let one =
        |part: &str| gradient(parameters, &format!("{module}.{expert}.{part}.weight")).to_vec();
    match part {
        "gate_up_proj" => [one("gate_proj"), one("up_proj")].concat(),
        _ => one(part),
    }
}

fn check_family(family: &str) {
    let expected = Expected::read(family);
    let ids = expected.ids("train.input_ids");
    let mut school = School::new(family, 2, PLAIN);
    let sequences = all_targets(ids.chunks(48), 1.0);
    let loss = school.loss(&sequences);
    check(family, &[loss as f32], &expected.floats("train.loss"));
    school.learn(&sequences, 94);
    let parameters = school.learner.params_mut();
    let mut n_checked = 0;
    for name in expected.names() {
        if let Some(weight) = name.strip_prefix("grad.") {
            check(
                &format!("{family} {weight}"),
                gradient(parameters, weight),
                &expected.floats(&name),
            );
            n_checked += 1;
        } else if let Some(weight) = name.strip_prefix("grad_first2.") {
            let found = [fused(parameters, weight, 0), fused(parameters, weight, 1)].concat();
            check(&format!("{family} {weight}"), &found, &expected.floats(&name));
        } else if let Some(weight) = name.strip_prefix("grad_norm.") {
            let norms = expected.floats(&name);
            let norm = |expert| {
                let gradient = fused(parameters, weight, expert);
                gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt() as f32
            };
            let found: Vec<f32> = (0..norms.len()).map(norm).collect();
            check(&format!("{family} {weight}"), &found, &norms);
        }
    }
    assert!(n_checked > 15, "{family}: only {n_checked} gradients");
}

#[test]
fn llama_learns_as_transformers_does() {
    check_family("llama");
}

#[test]
fn qwen2_learns_as_transformers_does() {
    check_family("qwen2");
}

#[test]
fn qwen3_learns_as_transformers_does() {
    check_family("qwen3");
}

#[test]
fn qwen3_moe_learns_as_transformers_does() {
    check_family("qwen3_moe");
}

#[test]
fn deepseek_v2_lite_learns_as_transformers_does() {
    check_family("deepseek_v2_lite");
}

#[test]
fn deepseek_v3_learns_as_transformers_does() {
    check_family("deepseek_v3");
}

/// Gradients of four sequences of unlike lengths, in passes that end at each of `cuts`.
pub(crate) fn packed(
    family: &str,
    threads: usize,
    options: LearnOptions,
    cuts: &[usize],
    prepare: impl Fn(&mut [Parameter]),
) -> Vec<f32> {
    let expected = Expected::read(family);
    let prompts: Vec<Vec<u32>> =
        [1, 3, 2, 0].map(|i| expected.ids(&format!("prompt{i}.input_ids"))).into();
    let mut school = School::new(family, threads, options);
    prepare(school.learner.params_mut());
    school.learner.publish(&school.pool, &mut school.decoder);
    let mut from = 0;
    for &to in cuts {
        let sequences = prompts[from..to].iter().map(Vec::as_slice);
        school.learn(&all_targets(sequences, 0.8), 200);
        from = to;
    }
    school.gradients()
}

#[test]
fn threads_packing_and_checkpointing_change_no_bit() {
    for family in FAMILIES {
        for kv_type in [KvType::F32, KvType::F16] {
            let kept = LearnOptions { kv_type, ..PLAIN };
            let again = LearnOptions { checkpointing: true, ..kept.clone() };
            let whole = packed(family, 1, kept.clone(), &[4], |_| ());
            assert!(whole.iter().all(|x| x.is_finite()) && whole.iter().any(|&x| x != 0.0));
            for (threads, options, cuts) in [
                (2, &kept, &[4][..]),
                (3, &again, &[4]),
                (2, &again, &[1, 2, 3, 4]),
                (3, &kept, &[1, 3, 4]),
            ] {
                let found = packed(family, threads, options.clone(), cuts, |_| ());
                assert_same_bits(&found, &whole, &format!("{family} {threads} {cuts:?}"));
            }
        }
    }
}

#[test]
fn the_entropy_has_a_gradient_too() {
    let expected = Expected::read("qwen3");
    let ids = expected.ids("prompt1.input_ids");
    let mut school = School::new("qwen3", 2, PLAIN);
    let sequences = all_targets([&ids[..]], 0.9);
    let n = sequences.n_targets();
    let entropy = |school: &mut School| {
        school.learner.publish(&school.pool, &mut school.decoder);
        let found = school.learner.forward(&school.pool, &school.decoder, &sequences).unwrap();
        found.entropies.iter().map(|&x| f64::from(x)).sum::<f64>()
    };
    entropy(&mut school);
    let (flat, ones) = (vec![0.0; n], vec![1.0; n]);
    school.learner.backward(&school.pool, &school.decoder, &flat, &ones).unwrap();
    // Along the gradient, the entropy rises by its squared length.
    let gradients = school.gradients();
    let length = gradients.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let step = 1e-2 / length.sqrt();
    let mut moved = |step: f64| {
        for parameter in school.learner.params_mut() {
            for (value, gradient) in parameter.value.iter_mut().zip(&parameter.gradient) {
                *value += (f64::from(*gradient) * step) as f32;
            }
        }
        entropy(&mut school)
    };
    let above = moved(step);
    let below = moved(-2.0 * step);
    let slope = (above - below) / (2.0 * step);
    assert!((slope / length - 1.0).abs() < 1e-2, "{slope} and {length}");
}
