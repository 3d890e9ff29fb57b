//! The loss against cases worked by hand and against finite differences.

use super::*;

const PPO: Settings = Settings {
    ratio: Ratio::Token,
    objective: Objective::Clip,
    clip_low: Some(0.2),
    clip_high: Some(0.28),
    dual_clip: Some(3.0),
    correction: Correction::Off,
    kl: Kl::K3,
    kl_weight: 0.0,
    entropy_bonus: 0.0,
};

/// A token of weight 1, whose ratio and advantage are these; its loss and slope.
fn token(ratio: f64, advantage: f32, settings: &Settings) -> (f64, f32, usize) {
    let logprob = -1.0;
    let old = (f64::from(logprob) - ratio.ln()) as f32;
    let tokens = Tokens {
        logprobs: &[logprob],
        old: &[old],
        trained: None,
        reference: None,
        entropies: &[0.0],
        weights: &[1.0],
        advantages: &[advantage],
        ends: &[1],
    };
    let loss = loss(&tokens, settings);
    (loss.value, loss.d_logprobs[0], loss.figures.n_clipped)
}

#[test]
fn the_clip_binds_only_where_more_would_be_gained() {
    // Ratio, advantage; value, slope, whether clipped.
    let cases = [
        (1.0, 2.0, -2.0, -2.0, 0),
        (1.5, 2.0, -2.56, 0.0, 1),
        (0.5, 2.0, -1.0, -1.0, 0),
        (0.5, -2.0, 1.6, 0.0, 1),
        (1.5, -2.0, 3.0, 3.0, 0),
        (4.0, -2.0, 6.0, 0.0, 1),
    ];
    for (ratio, advantage, value, slope, clipped) in cases {
        let found = token(ratio, advantage, &PPO);
        let close = (found.0 - value).abs() < 1e-5 && (found.1 - slope).abs() < 1e-5;
        assert!(close && found.2 == clipped, "{ratio} {advantage}: {found:?}");
    }
    let free = Settings { clip_low: None, clip_high: None, dual_clip: None, ..PPO };
    assert!((token(4.0, -2.0, &free).0 - 8.0).abs() < 1e-5);
}

#[test]
fn a_weighed_token_keeps_its_gradient() {
    let cispo = Settings { objective: Objective::Weigh, ..PPO };
    let (value, slope, clipped) = token(4.0, 2.0, &cispo);
    assert!((value - 2.56).abs() < 1e-5 && (slope + 2.56).abs() < 1e-5 && clipped == 1);
}

#[test]
fn the_first_update_has_the_gradient_of_reinforce_whatever_the_objective() {
    for ratio in [Ratio::Token, Ratio::Sequence] {
        for objective in [Objective::Clip, Objective::Weigh] {
            let settings = Settings { ratio, objective, ..PPO };
            let tokens = Tokens {
                logprobs: &[-1.0, -0.5, -2.0],
                old: &[-1.0, -0.5, -2.0],
                trained: None,
                reference: None,
                entropies: &[0.0; 3],
                weights: &[0.5, 0.25, 0.25],
                advantages: &[2.0, -1.0, -1.0],
                ends: &[1, 3],
            };
            let loss = loss(&tokens, &settings);
            assert_eq!(loss.d_logprobs, [-1.0, 0.25, 0.25], "{settings:?}");
            assert_eq!(loss.figures.log_ratio_max, 0.0);
        }
    }
}

/// Tokens of weight 1 with these k, log π of training at the rollout 1/4 below that of now.
fn corrected(ks: &[f64], advantages: &[f32], settings: &Settings) -> Loss {
    let logprobs = vec![-1.0_f32; ks.len()];
    let trained = vec![-1.25_f32; ks.len()];
    let old: Vec<f32> = ks.iter().map(|k| (-1.25 - k.ln()) as f32).collect();
    let tokens = Tokens {
        logprobs: &logprobs,
        old: &old,
        trained: Some(&trained),
        reference: None,
        entropies: &vec![2.0; ks.len()],
        weights: &vec![1.0; ks.len()],
        advantages,
        ends: &[ks.len()],
    };
    loss(&tokens, settings)
}

#[test]
fn what_training_would_have_drawn_oftener_counts_for_more_up_to_a_cap() {
    let correction = Correction::Tis { cap: 2.0 };
    let tis = Settings { clip_low: None, clip_high: None, correction, ..PPO };
    // ρ = e^(1/4) whatever k is: -ρ A k, with k at most 2.
    let rho = 0.25_f64.exp();
    let found = corrected(&[0.25, 1.0, 1.5, 8.0], &[2.0, 1.0, -1.0, 1.0], &tis);
    let expected = [-rho * 2.0 * 0.25, -rho, rho * 1.5, -rho * 2.0];
    for (found, expected) in found.d_logprobs.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} is not {expected}");
    }
    assert!((found.value - expected.iter().sum::<f64>()).abs() < 1e-5);
    assert_eq!(found.figures.n_bounded, 1);
    assert!((found.figures.correction - 4.75).abs() < 1e-5);
    assert!((found.figures.log_ratio_max - 0.25).abs() < 1e-6);
    // Inside the clip it's the policy's part alone that is weighed: the bonus stays.
    let clipped = Settings { clip_high: Some(0.2), entropy_bonus: 0.5, correction, ..PPO };
    let found = corrected(&[1.5], &[1.0], &clipped);
    assert!((found.value - (-1.2 * 1.5 - 0.5 * 2.0)).abs() < 1e-5, "{}", found.value);
    assert_eq!((found.d_logprobs[0], found.d_entropies[0]), (0.0, -0.5));
}

#[test]
fn what_both_disagree_on_does_not_count() {
    let correction = Correction::IcePop { low: 0.5, high: 5.0 };
    let ice_pop = Settings { clip_low: None, clip_high: None, correction, ..PPO };
    let rho = 0.25_f64.exp();
    let found = corrected(&[0.49, 0.75, 4.0, 5.1], &[1.0, 1.0, -1.0, 1.0], &ice_pop);
    let expected = [0.0, -rho * 0.75, rho * 4.0, 0.0];
    for (found, expected) in found.d_logprobs.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} is not {expected}");
    }
    assert_eq!(found.figures.n_bounded, 2);
    assert!((found.figures.correction - 4.75).abs() < 1e-5);
}

#[test]
fn a_rollout_that_is_exact_has_nothing_to_correct() {
    let advantages = [2.0, -1.0, 1.0];
    let off = corrected(&[1.0; 3], &advantages, &PPO);
    let kinds = [Correction::Tis { cap: 2.0 }, Correction::IcePop { low: 0.5, high: 5.0 }];
    for correction in kinds {
        let on = corrected(&[1.0; 3], &advantages, &Settings { correction, ..PPO });
        assert_eq!((on.value, on.d_logprobs), (off.value, off.d_logprobs.clone()));
        assert_eq!(on.figures.n_bounded, 0);
    }
}

#[test]
fn a_sequence_ratio_is_that_of_the_mean_over_its_answer() {
    // Mean log-ratios: (ln 4 + 0) / 2 = ln 2, and 0.
    let ln4 = 4.0_f32.ln();
    let tokens = Tokens {
        logprobs: &[-1.0, -1.0, -3.0],
        old: &[-1.0 - ln4, -1.0, -3.0],
        trained: None,
        reference: None,
        entropies: &[0.0; 3],
        weights: &[0.25, 0.25, 0.5],
        advantages: &[-1.0, -1.0, 1.0],
        ends: &[2, 3],
    };
    let gspo =
        Settings { ratio: Ratio::Sequence, clip_low: Some(3e-4), clip_high: Some(4e-4), ..PPO };
    let loss = loss(&tokens, &gspo);
    // A worse answer that became likelier is not clipped: 2 · 0.5 - 0.5.
    assert!((loss.value - 0.5).abs() < 1e-6, "{}", loss.value);
    let expected = [0.5, 0.5, -0.5];
    assert!(loss.d_logprobs.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

/// Numbers in [-1, 1) without a pattern.
fn noise(n: usize, salt: u64) -> Vec<f64> {
    let mut state = salt;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn moved(xs: &[f32], at: usize, by: f32) -> Vec<f32> {
    let mut xs = xs.to_vec();
    xs[at] += by;
    xs
}

#[test]
fn gradients_match_finite_differences() {
    let n = 24;
    // Steps of 2^-8 are exact in f32, so the difference is the loss's and not the rounding's.
    let round = |x: f64| ((x * 256.0).round() / 256.0) as f32;
    let logprobs: Vec<f32> = noise(n, 1).into_iter().map(|x| round(x - 1.5)).collect();
    let old: Vec<f32> =
        logprobs.iter().zip(noise(n, 2)).map(|(a, x)| round(f64::from(*a) + 0.6 * x)).collect();
    let reference: Vec<f32> =
        logprobs.iter().zip(noise(n, 3)).map(|(a, x)| round(f64::from(*a) + x)).collect();
    let entropies: Vec<f32> = noise(n, 4).into_iter().map(|x| round(x + 1.0)).collect();
    let advantages: Vec<f32> = (0..n).map(|i| [1.25, -0.75, 0.5][i / 8]).collect();
    let mut weights: Vec<f32> = noise(n, 5).into_iter().map(|x| round(x * x + 0.1)).collect();
    weights[3] = 0.0;
    let value = |logprobs: &[f32], entropies: &[f32], settings: &Settings| {
        let tokens = Tokens {
            logprobs,
            old: &old,
            trained: None,
            reference: Some(&reference),
            entropies,
            weights: &weights,
            advantages: &advantages,
            ends: &[8, 16, 24],
        };
        loss(&tokens, settings)
    };
    for kl in [Kl::K1, Kl::K2, Kl::K3] {
        let base = Settings { kl, kl_weight: 0.3, entropy_bonus: 0.2, ..PPO };
        for settings in [base, Settings { clip_low: None, clip_high: None, ..base }] {
            let found = value(&logprobs, &entropies, &settings);
            let h = 1.0 / 4096.0;
            for at in 0..n {
                let [up, down] =
                    [h, -h].map(|h| value(&moved(&logprobs, at, h), &entropies, &settings).value);
                let slope = (up - down) / (2.0 * f64::from(h));
                let error = (slope - f64::from(found.d_logprobs[at])).abs();
                assert!(error < 1e-5, "{settings:?} token {at}: {slope} {found:?}");
                let [up, down] =
                    [h, -h].map(|h| value(&logprobs, &moved(&entropies, at, h), &settings).value);
                let slope = (up - down) / (2.0 * f64::from(h));
                assert!((slope - f64::from(found.d_entropies[at])).abs() < 1e-5);
            }
        }
    }
    // A sequence's ratio is held by stop-gradients, but with equal weights its gradient is the
    // true one.
    let weights = vec![1.0 / 24.0; n];
    let gspo = Settings { ratio: Ratio::Sequence, clip_low: None, clip_high: None, ..PPO };
    let value = |logprobs: &[f32]| {
        let tokens = Tokens {
            logprobs,
            old: &old,
            trained: None,
            reference: None,
            entropies: &entropies,
            weights: &weights,
            advantages: &advantages,
            ends: &[8, 16, 24],
        };
        loss(&tokens, &gspo)
    };
    let found = value(&logprobs);
    for at in 0..n {
        let [up, down] =
            [1.0 / 4096.0, -1.0 / 4096.0].map(|h| value(&moved(&logprobs, at, h)).value);
        let slope = (up - down) * 2048.0;
        assert!((slope - f64::from(found.d_logprobs[at])).abs() < 1e-5, "token {at}");
    }
}

#[test]
fn how_a_batch_is_cut_into_passes_changes_no_gradient() {
    let logprobs = [-1.0, -0.3, -2.0, -0.7];
    let old = [-1.1, -0.2, -2.0, -0.9];
    let whole = Tokens {
        logprobs: &logprobs,
        old: &old,
        trained: None,
        reference: None,
        entropies: &[0.5; 4],
        weights: &[0.25; 4],
        advantages: &[1.0, 1.0, -1.0, -1.0],
        ends: &[2, 4],
    };
    let settings = Settings { entropy_bonus: 0.1, ..PPO };
    let whole = loss(&whole, &settings);
    let part = |range: std::ops::Range<usize>, advantage: f32| {
        let tokens = Tokens {
            logprobs: &logprobs[range.clone()],
            old: &old[range],
            trained: None,
            reference: None,
            entropies: &[0.5; 2],
            weights: &[0.25; 2],
            advantages: &[advantage; 2],
            ends: &[2],
        };
        loss(&tokens, &settings)
    };
    let (first, second) = (part(0..2, 1.0), part(2..4, -1.0));
    assert_eq!(whole.d_logprobs, [first.d_logprobs, second.d_logprobs].concat());
    assert_eq!(whole.d_entropies, [first.d_entropies, second.d_entropies].concat());
}

#[test]
fn gradients_are_those_of_autograd() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/train/loss.json");
    let fixture: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let list = |case: &serde_json::Value, name: &str| -> Vec<f32> {
        serde_json::from_value(case[name].clone()).unwrap()
    };
    let ends: Vec<usize> = serde_json::from_value(fixture["ends"].clone()).unwrap();
    let setting = |name: &str| fixture["settings"][name].as_f64().unwrap();
    let cases = fixture["cases"].as_array().unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let [logprobs, old, reference, entropies, weights, advantages] =
            ["logprobs", "old", "reference", "entropies", "weights", "advantages"]
                .map(|name| list(case, name));
        let tokens = Tokens {
            logprobs: &logprobs,
            old: &old,
            trained: None,
            reference: Some(&reference),
            entropies: &entropies,
            weights: &weights,
            advantages: &advantages,
            ends: &ends,
        };
        let settings = Settings {
            ratio: serde_json::from_value(case["ratio"].clone()).unwrap(),
            objective: serde_json::from_value(case["objective"].clone()).unwrap(),
            clip_low: Some(setting("low")),
            clip_high: Some(setting("high")),
            dual_clip: Some(setting("dual")),
            correction: Correction::Off,
            kl: serde_json::from_value(case["kl"].clone()).unwrap(),
            kl_weight: setting("kl_weight"),
            entropy_bonus: setting("bonus"),
        };
        let found = loss(&tokens, &settings);
        assert!((found.value - case["value"].as_f64().unwrap()).abs() < 1e-9, "{settings:?}");
        for (found, expected) in [
            (&found.d_logprobs, list(case, "d_logprobs")),
            (&found.d_entropies, list(case, "d_entropies")),
        ] {
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let close = (found - expected).abs() <= 1e-6 * expected.abs().max(0.1);
                assert!(close, "{settings:?} token {at}: {found} is not {expected}");
            }
        }
    }
}
