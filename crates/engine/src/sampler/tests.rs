//! The sampler as a whole: against transformers, by properties, by statistics.

use proptest::prelude::*;
use serde_json::Value;
use simd::math::log_sum_exp;
use simd::testing::for_each_isa;

use super::*;

/// Nothing filtered, temperature 1.
fn plain() -> Params {
    Params {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 0,
    }
}

fn turn(position: u64) -> Turn<'static> {
    Turn { prompt: &[], generated: &[], position, mask: Mask::All }
}

/// Logits (V) of many sizes, without order.
fn some_logits(vocab: usize) -> Vec<f32> {
    (0..vocab as u64).map(|i| (uniform(99, i) * 20.0 - 8.0) as f32).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
}

#[test]
fn what_is_kept_and_how_probable_agrees_with_transformers() {
    let text = include_str!("../../../../fixtures/sampler/cases.json");
    let fixture: Value = serde_json::from_str(text).unwrap();
    for_each_isa(|best| {
        for case in fixture["cases"].as_array().unwrap() {
            let logits = floats(&fixture["logits"][case["logits"].as_str().unwrap()]);
            let params = PartialParams::from_generation_config(&case["params"]).unwrap();
            let params = params.fill(3).unwrap();
            let (prompt, generated) = (ids(&case["prompt"]), ids(&case["generated"]));
            let turn =
                Turn { prompt: &prompt, generated: &generated, position: 5, mask: Mask::All };

            let mut scratch = Scratch::new(best, logits.len());
            let mut drawn = draw(&mut scratch, &logits, &params, &turn).unwrap();
            let mut top = Vec::new();
            drawn.logprobs(logits.len(), &mut top);

            let kept: Vec<u32> = top.iter().map(|t| t.token).collect();
            assert_eq!(kept, ids(&case["kept"]), "{params:?}");
            assert!(kept.contains(&drawn.token));
            for (found, expected) in top.iter().zip(floats(&case["logprobs"])) {
                assert!((found.logprob - expected).abs() < 2e-5, "{found:?} {expected} {params:?}");
            }
        }
    });
}

/// The ids that the filters keep, by sorting everything and summing in f64.
///
/// `slack` widens (or, negative, narrows) every threshold: a token within rounding of one may be
/// kept or not.
fn kept_by_sorting(logits: &[f32], params: &Params, allowed: &[bool], slack: f64) -> Vec<u32> {
    let scaled: Vec<f64> =
        logits.iter().map(|&x| f64::from(x) / f64::from(params.temperature)).collect();
    let mut order: Vec<usize> = (0..logits.len()).filter(|&i| allowed[i]).collect();
    order.sort_by(|&a, &b| scaled[b].partial_cmp(&scaled[a]).unwrap());
    if params.top_k > 0 {
        order.truncate(params.top_k);
    }
    let weight = |i: usize| (scaled[i] - scaled[order[0]]).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut before = 0.0;
    let mut kept = Vec::new();
    for (rank, &i) in order.iter().enumerate() {
        let in_nucleus = params.top_p == 1.0 || before / total < f64::from(params.top_p) + slack;
        let probable = weight(i) >= f64::from(params.min_p) - slack;
        if rank == 0 || in_nucleus && probable {
            kept.push(i as u32);
        }
        before += weight(i);
    }
    kept
}

/// Params of any kind that `check` allows, without penalties.
fn any_params() -> impl Strategy<Value = Params> {
    let temperature = prop_oneof![Just(1e-6f32), 0.01f32..3.0, Just(100.0f32)];
    let top_k = prop_oneof![Just(0usize), 1usize..20, Just(100_000usize)];
    let top_p = prop_oneof![Just(0.0f32), 0.0f32..1.0, Just(1.0f32)];
    let min_p = prop_oneof![Just(0.0f32), 0.0f32..1.0, Just(1.0f32)];
    (temperature, top_k, top_p, min_p, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, min_p, seed)| Params {
            temperature,
            top_k,
            top_p,
            min_p,
            seed,
            ..plain()
        },
    )
}

/// Logits with many ties, smooth ones, and a few of any size.
fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        4 => (-4i8..5).prop_map(f32::from),
        4 => -20.0f32..20.0,
        1 => -1e30f32..1e30,
    ];
    prop::collection::vec(logit, 1..700)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_drawn_token_was_kept_by_every_filter_and_drawn_again_is_the_same(
        logits in any_logits(),
        params in any_params(),
        position in any::<u64>(),
        bans in prop::collection::vec(any::<bool>(), 700),
    ) {
        let mut allowed: Vec<bool> = bans[..logits.len()].iter().map(|b| !b).collect();
        allowed[logits.len() / 2] = true;
        let mut words = vec![0u64; logits.len().div_ceil(64)];
        for (i, _) in allowed.iter().enumerate().filter(|(_, allowed)| **allowed) {
            words[i / 64] |= 1 << (i % 64);
        }
        let turn = Turn { mask: Mask::Only(&words), ..turn(position) };
        let best = Best::detect();
        let mut scratch = Scratch::new(best, logits.len());
        let mut top = Vec::new();
        let mut drawn = draw(&mut scratch, &logits, &params, &turn).unwrap();
        let (token, logprob) = (drawn.token, drawn.logprobs(logits.len(), &mut top));

        // Params at which a threshold and a probability round to either side differ by slack.
        let most = kept_by_sorting(&logits, &params, &allowed, 1e-5);
        let least = kept_by_sorting(&logits, &params, &allowed, -1e-5);
        prop_assert!(most.contains(&token));
        let listed: Vec<u32> = top.iter().map(|t| t.token).collect();
        prop_assert!(listed.contains(&token));
        prop_assert!(logprob <= 1e-6 && logprob > f32::NEG_INFINITY);
        if params.temperature > 1e-3 {
            prop_assert!(listed.iter().all(|id| most.contains(id)));
            prop_assert!(least.iter().all(|id| listed.contains(id)));
        }

        let mut other = Scratch::new(best, logits.len());
        prop_assert_eq!(draw(&mut other, &logits, &params, &turn).unwrap().token, token);
        prop_assert_eq!(draw(&mut scratch, &logits, &params, &turn).unwrap().token, token);
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_the_largest(logits in any_logits(), ban in 0usize..700) {
        let params = Params { temperature: 0.0, ..plain() };
        let mut scratch = Scratch::new(Best::detect(), logits.len());
        let first_largest = |skip: Option<usize>| {
            let rest = (0..logits.len()).filter(|&i| Some(i) != skip);
            rest.reduce(|a, b| if logits[b] > logits[a] { b } else { a })
        };
        let free = draw(&mut scratch, &logits, &params, &turn(0)).unwrap().token;
        prop_assert_eq!(Some(free as usize), first_largest(None));
        let banned = [ban as u32];
        let turn = Turn { mask: Mask::Except(&banned), ..turn(0) };
        let found = draw(&mut scratch, &logits, &params, &turn).map(|drawn| drawn.token);
        match first_largest(Some(ban)) {
            Some(token) => prop_assert_eq!(found, Ok(token as u32)),
            None => prop_assert_eq!(found, Err(Error::NothingAllowed)),
        }
    }

    #[test]
    fn hostile_logits_are_an_error_and_no_panic(
        bits in prop::collection::vec(any::<u32>(), 1..200),
        params in any_params(),
    ) {
        let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let mut scratch = Scratch::new(Best::detect(), logits.len());
        let found = draw(&mut scratch, &logits, &params, &turn(1)).map(|drawn| drawn.token);
        let first_fault = logits.iter().position(|x| !x.is_finite()).map(|i| i as u32);
        let named = match found {
            Ok(_) | Err(Error::Overflow { .. }) => None,
            Err(Error::NotFinite { token, .. }) => Some(token),
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(named, first_fault);
    }
}

#[test]
fn each_filter_cuts_where_its_definition_says() {
    // Probabilities 1/8, 1/2, 1/8 and 1/4.
    let logits = [0.125f32, 0.5, 0.125, 0.25].map(f32::ln);
    let cases: &[(Params, &[u32])] = &[
        (Params { top_k: 3, ..plain() }, &[1, 3, 0]),
        (Params { top_p: 0.49, ..plain() }, &[1]),
        (Params { top_p: 0.51, ..plain() }, &[1, 3]),
        (Params { top_p: 0.76, ..plain() }, &[1, 3, 0]),
        (Params { top_p: 0.88, ..plain() }, &[1, 3, 0, 2]),
        // Of two tokens, the first has 2/3.
        (Params { top_k: 2, top_p: 0.66, ..plain() }, &[1]),
        (Params { top_k: 2, top_p: 0.67, ..plain() }, &[1, 3]),
        (Params { min_p: 0.51, ..plain() }, &[1]),
        (Params { min_p: 0.49, ..plain() }, &[1, 3]),
        (Params { min_p: 0.26, ..plain() }, &[1, 3]),
        (Params { min_p: 0.24, ..plain() }, &[1, 3, 0, 2]),
        (Params { min_p: 0.24, top_k: 3, ..plain() }, &[1, 3, 0]),
        // The square roots of the ratios: 1/√2 and 1/2.
        (Params { temperature: 2.0, min_p: 0.49, ..plain() }, &[1, 3, 0, 2]),
        (Params { temperature: 2.0, min_p: 0.51, ..plain() }, &[1, 3]),
    ];
    let mut scratch = Scratch::new(Best::detect(), logits.len());
    let mut top = Vec::new();
    for (params, expected) in cases {
        draw(&mut scratch, &logits, params, &turn(0)).unwrap().logprobs(4, &mut top);
        let kept: Vec<u32> = top.iter().map(|t| t.token).collect();
        assert_eq!(kept, *expected, "{params:?}");
    }
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    const DRAWS: u64 = 40_000;
    let logits = [0.3, 2.0, -1.0, 1.1, 1.1, -3.0, 0.0, 2.5];
    let cases = [
        plain(),
        Params { temperature: 0.6, top_p: 0.95, ..plain() },
        Params { top_k: 4, seed: 17, ..plain() },
        Params { temperature: 2.0, min_p: 0.2, seed: u64::MAX, ..plain() },
    ];
    for params in cases {
        let mut scratch = Scratch::new(Best::detect(), logits.len());
        let mut counts = [0u32; 8];
        let mut top = Vec::new();
        for position in 0..DRAWS {
            let mut drawn = draw(&mut scratch, &logits, &params, &turn(position)).unwrap();
            counts[drawn.token as usize] += 1;
            if position == 0 {
                drawn.logprobs(8, &mut top);
            }
        }
        let chi_square: f64 = top
            .iter()
            .map(|t| {
                let expected = f64::from(t.logprob).exp() * DRAWS as f64;
                (f64::from(counts[t.token as usize]) - expected).powi(2) / expected
            })
            .sum();
        let drawn: u32 = top.iter().map(|t| counts[t.token as usize]).sum();
        assert_eq!(u64::from(drawn), DRAWS, "only kept tokens are drawn");
        // At most 7 degrees of freedom: 24.3 is 1 in 1000.
        assert!(chi_square < 24.3, "{params:?}: {chi_square} {counts:?}");
    }
}

#[test]
fn at_a_tiny_temperature_only_the_largest_is_drawn() {
    // Scaled logits are then around 5e7, where an f32 can't tell probabilities apart.
    let logits = [50.0, 50.1, 49.9, -50.0];
    let params = Params { temperature: 1e-6, ..plain() };
    let mut scratch = Scratch::new(Best::detect(), logits.len());
    for position in 0..1_000 {
        assert_eq!(draw(&mut scratch, &logits, &params, &turn(position)).unwrap().token, 1);
    }
}

#[test]
fn without_filters_the_logprob_has_the_bits_of_the_loss() {
    for_each_isa(|best| {
        let logits = some_logits(5_003);
        let params = Params { temperature: 0.6, ..plain() };
        let scaled: Vec<f32> = logits.iter().map(|x| x / params.temperature).collect();
        let mut scratch = Scratch::new(best, logits.len());
        for position in 0..20 {
            let mut drawn = draw(&mut scratch, &logits, &params, &turn(position)).unwrap();
            let logprob = drawn.logprobs(0, &mut Vec::new());
            let loss = log_sum_exp(best, &scaled) - scaled[drawn.token as usize];
            assert_eq!(logprob.to_bits(), (-loss).to_bits());
        }
    });
}

#[test]
fn raw_logprobs_are_blind_to_params() {
    let logits = [1.0, 3.0, 2.0, 3.0];
    let mut scratch = Scratch::new(Best::detect(), 4);
    let params = Params { temperature: 0.1, top_k: 1, ..plain() };
    assert_eq!(draw(&mut scratch, &logits, &params, &turn(0)).unwrap().token, 1);
    let mut top = Vec::new();
    let logprob = raw_logprobs(&mut scratch, &logits, 2, 3, &mut top).unwrap();
    let lse = logits.iter().map(|x: &f32| f64::from(*x).exp()).sum::<f64>().ln();
    assert!((f64::from(logprob) - (2.0 - lse)).abs() < 1e-6);
    assert_eq!(top.iter().map(|t| t.token).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(top[2], TokenLogprob { token: 2, logprob });
    let broken = [1.0, f32::NAN, 2.0, f32::INFINITY];
    let error = raw_logprobs(&mut scratch, &broken, 2, 3, &mut top).unwrap_err();
    assert_eq!(error.to_string(), "the logit of token 1 is NaN");
}

#[test]
fn greedy_has_one_token_of_logprob_zero() {
    let params = Params { temperature: 0.0, ..plain() };
    let mut scratch = Scratch::new(Best::detect(), 3);
    let mut top = Vec::new();
    let mut drawn = draw(&mut scratch, &[0.0, 1.0, 1.0], &params, &turn(0)).unwrap();
    assert_eq!(drawn.logprobs(2, &mut top), 0.0);
    assert_eq!(top, [TokenLogprob { token: 1, logprob: 0.0 }]);
}

#[test]
fn penalties_turn_greedy_away_from_what_was_said() {
    let logits = [1.0, 1.5, 1.2];
    let mut scratch = Scratch::new(Best::detect(), 3);
    let mut greedy = |params: &Params, prompt: &[u32], generated: &[u32]| {
        let turn = Turn { prompt, generated, ..turn(0) };
        draw(&mut scratch, &logits, params, &turn).unwrap().token
    };
    let repetition = Params { temperature: 0.0, repetition_penalty: 2.0, ..plain() };
    let presence = Params { temperature: 0.0, presence_penalty: 0.4, ..plain() };
    let frequency = Params { temperature: 0.0, frequency_penalty: 0.2, ..plain() };
    // The prompt counts for repetition only; ids beyond the vocabulary for nothing.
    assert_eq!(greedy(&repetition, &[1, 9], &[]), 2);
    assert_eq!(greedy(&presence, &[1, 9], &[]), 1);
    assert_eq!(greedy(&presence, &[], &[1, 9]), 2);
    // 1.5 - 0.2 is still the most, 1.5 - 0.4 isn't.
    assert_eq!(greedy(&frequency, &[], &[1]), 1);
    assert_eq!(greedy(&frequency, &[], &[1, 1]), 2);
    assert_eq!(greedy(&presence, &[], &[]), 1);
}

#[test]
fn a_mask_that_leaves_nothing_is_an_error() {
    let mut scratch = Scratch::new(Best::detect(), 3);
    for params in [plain(), Params { temperature: 0.0, ..plain() }, Params { top_k: 2, ..plain() }]
    {
        for mask in [Mask::Except(&[0, 1, 2, 3]), Mask::Only(&[8])] {
            let turn = Turn { mask, ..turn(0) };
            let found = draw(&mut scratch, &[1.0, 2.0, 3.0], &params, &turn);
            assert_eq!(found.err(), Some(Error::NothingAllowed));
        }
    }
}

#[test]
fn logits_that_overflow_are_named_as_such() {
    let mut scratch = Scratch::new(Best::detect(), 2);
    let params = Params { temperature: 0.01, ..plain() };
    let error = draw(&mut scratch, &[1.0, 3e38], &params, &turn(0)).err();
    assert_eq!(error, Some(Error::Overflow { token: 1, logit: 3e38 }));
}

#[test]
fn no_buffer_grows_whatever_is_drawn() {
    let logits = some_logits(3_000);
    let history: Vec<u32> = (0..4_000).collect();
    let mut scratch = Scratch::new(Best::detect(), logits.len());
    let sizes = |s: &Scratch| [s.keys.capacity(), s.kept.capacity(), s.raw_keys.capacity()];
    let before = sizes(&scratch);
    let mut top = Vec::with_capacity(3_000);
    let cases = [
        plain(),
        Params { top_p: 0.99999, temperature: 50.0, ..plain() },
        Params { top_k: 40, repetition_penalty: 1.1, frequency_penalty: 0.1, ..plain() },
        Params { min_p: 1e-6, ..plain() },
    ];
    for params in cases {
        for position in 0..50 {
            let turn = Turn { prompt: &history, generated: &history, ..turn(position) };
            let mut drawn = draw(&mut scratch, &logits, &params, &turn).unwrap();
            drawn.logprobs(3_000, &mut top);
            raw_logprobs(&mut scratch, &logits, 0, 3_000, &mut top).unwrap();
            assert!(scratch.counts.iter().all(|&count| count == 0));
        }
    }
    assert_eq!(sizes(&scratch), before);
    assert_eq!(top.capacity(), 3_000);
}
