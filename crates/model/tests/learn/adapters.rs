//! Low-rank adapters on a frozen base: of any type, in training as in serving.

use ruminate_model::KvType;
use ruminate_model::learn::{LearnOptions, Parameter, Sequences};

use crate::gradients::packed;
use crate::school::{ADAPTERS, Expected, FAMILIES, PLAIN, School, all_targets, assert_same_bits};
use crate::serving::{check_served, served};

const ADAPTING: LearnOptions = LearnOptions { adapters: Some(ADAPTERS), ..PLAIN };

/// Numbers for B, which begins with zeros: a function of the place.
fn disturb(parameters: &mut [Parameter]) {
    for (i, parameter) in parameters.iter_mut().enumerate() {
        if parameter.name.ends_with("lora_B.weight") {
            for (j, value) in parameter.value.iter_mut().enumerate() {
                *value = ((i * 31 + j * 7_919) % 2_003) as f32 / 40_040.0 - 0.025;
            }
        }
    }
}

fn with_fp8() -> impl Iterator<Item = &'static str> {
    FAMILIES.into_iter().chain(["deepseek_v3_fp8"])
}

#[test]
fn adapters_that_begin_with_zeros_change_no_bit() {
    for family in with_fp8() {
        let ids = Expected::read(family).ids("prompt2.input_ids");
        let cuts: Vec<usize> = (1..ids.len()).collect();
        let mut school = School::new(family, 2, ADAPTING);
        let found = served(&mut school, &ids, KvType::F32, &cuts);
        let bare = School::bare(family, 2);
        let mut school = School { decoder: bare, ..school };
        assert_same_bits(&found, &served(&mut school, &ids, KvType::F32, &cuts), family);
    }
}

#[test]
fn adapters_are_trained_as_they_are_served() {
    for family in with_fp8() {
        let mut school = School::new(family, 2, ADAPTING);
        disturb(school.learner.params_mut());
        school.learner.publish(&school.pool, &mut school.decoder);
        check_served(family, school, KvType::F32);
    }
}

/// The loss, and how often each expert was chosen.
fn look(school: &mut School, sequences: &Sequences) -> (f64, Vec<u64>) {
    let loss = school.loss(sequences);
    let layers = 0..school.learner.spec().layers.len();
    (loss, layers.flat_map(|layer| school.learner.expert_counts(layer).to_vec()).collect())
}

/// The same with one parameter moved along a direction.
fn moved(
    school: &mut School,
    sequences: &Sequences,
    which: usize,
    steps: &[f32],
    by: f32,
) -> (f64, Vec<u64>) {
    let shift = |school: &mut School, by: f32| {
        let parameter = &mut school.learner.params_mut()[which];
        parameter.value.iter_mut().zip(steps).for_each(|(value, step)| *value += by * step);
        school.learner.publish(&school.pool, &mut school.decoder);
    };
    let before = school.learner.params_mut()[which].value.clone();
    shift(school, by);
    let found = look(school, sequences);
    school.learner.params_mut()[which].value = before;
    found
}

#[test]
fn gradients_of_adapters_match_finite_differences() {
    for family in with_fp8() {
        let ids = Expected::read(family).ids("prompt2.input_ids");
        let mut school = School::new(family, 2, ADAPTING);
        disturb(school.learner.params_mut());
        school.learner.publish(&school.pool, &mut school.decoder);
        let sequences = all_targets([&ids[..]], 1.0);
        school.learn(&sequences, ids.len() - 1);
        let gradients: Vec<Vec<f32>> =
            school.learner.params_mut().iter().map(|p| p.gradient.clone()).collect();
        let mut n_checked = 0;
        for (which, gradient) in gradients.iter().enumerate() {
            let length = gradient.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            // A few of each model, and none whose slope drowns in the loss's own rounding.
            if which % 5 != 0 || length < 2e-3 {
                continue;
            }
            let along: Vec<f32> = gradient.iter().map(|x| x / length as f32).collect();
            let step = 4e-3;
            let (above, chosen) = moved(&mut school, &sequences, which, &along, step);
            let (below, others) = moved(&mut school, &sequences, which, &along, -step);
            // A loss jumps where a token comes to choose another expert.
            if chosen != others {
                continue;
            }
            let slope = (above - below) / (2.0 * f64::from(step));
            let name = &school.learner.params_mut()[which].name;
            assert!((slope / length - 1.0).abs() < 3e-2, "{family} {name}: {slope} and {length}");
            n_checked += 1;
        }
        assert!(n_checked > 2, "{family}: {n_checked} checked");
    }
}

#[test]
fn threads_and_packing_change_no_bit_of_an_adapter() {
    for family in with_fp8() {
        let again = LearnOptions { checkpointing: true, ..ADAPTING };
        let whole = packed(family, 1, ADAPTING, &[4], disturb);
        for (threads, options, cuts) in [(2, &ADAPTING, &[2, 4][..]), (3, &again, &[1, 2, 3, 4])] {
            let found = packed(family, threads, options.clone(), cuts, disturb);
            assert_same_bits(&found, &whole, &format!("{family} {threads} {cuts:?}"));
        }
    }
}
