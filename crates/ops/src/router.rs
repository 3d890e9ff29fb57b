//! The choice of experts, and their weights.
//!
//! Softmax or sigmoid scores; a bias for the choice only and groups of which the worst are out
//! (DeepSeek-V3, arXiv 2412.19437 §2.1.2); the weights of the chosen normalised and scaled.

use simd::{Best, Isa, Kernel, dispatch};
use spec::{GroupScore, Groups, RouterSpec, Scoring};

/// As the reference implementations have it: weights that are all zero stay zero.
const NORMALISE_EPS: f32 = 1e-20;

/// A row of router logits holds NaN or an infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinite;

/// The chosen experts (T, k) and their weights (T, k) from logits (T, E), which become scores.
/// `scratch` (E). Experts are in descending order of what they were chosen by, ties by index.
pub fn forward(
    (chosen, weights): (&mut [u32], &mut [f32]),
    logits: &mut [f32],
    scratch: &mut [f32],
    bias: Option<&[f32]>,
    router: &RouterSpec,
) -> Result<(), NotFinite> {
    let n_experts = scratch.len();
    let n_tokens = logits.len() / n_experts;
    assert_eq!(logits.len(), n_tokens * n_experts);
    assert_eq!(chosen.len(), weights.len());
    if n_tokens == 0 {
        return Ok(());
    }
    let k = chosen.len() / n_tokens;
    let rows = chosen.chunks_exact_mut(k).zip(weights.chunks_exact_mut(k));
    for ((chosen, weights), scores) in rows.zip(logits.chunks_exact_mut(n_experts)) {
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(NotFinite);
        }
        dispatch(Best::detect(), Score { logits: scores, scoring: router.scoring });
        scratch.copy_from_slice(scores);
        if let Some(bias) = bias {
            for (choice, bias) in scratch.iter_mut().zip(bias) {
                *choice += bias;
            }
        }
        if let Some(groups) = router.groups {
            drop_groups(scratch, groups);
        }
        choose(chosen, scratch);
        weigh(weights, chosen, scores, router);
    }
    Ok(())
}

/// Turns one row of logits (E) into scores.
struct Score<'a> {
    logits: &'a mut [f32],
    scoring: Scoring,
}

impl Kernel for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        match self.scoring {
            Scoring::Softmax => {
                let largest = simd::math::max(isa, self.logits);
                let total = simd::math::exp_sum(isa, self.logits, largest);
                for score in self.logits {
                    *score /= total;
                }
            }
            Scoring::Sigmoid => {
                for scores in self.logits.chunks_mut(I::LANES) {
                    let sigmoid = simd::math::sigmoid(isa, isa.load_head(scores, 0.0));
                    isa.store_head(sigmoid, scores);
                }
            }
        }
    }
}

/// Masks all but the best groups with −∞. Not with 0: a biased score may be below it.
fn drop_groups(choice: &mut [f32], groups: Groups) {
    let size = choice.len() / groups.n_groups;
    for _ in groups.n_chosen..groups.n_groups {
        let mut worst = (f32::INFINITY, 0);
        for (g, group) in choice.chunks_exact(size).enumerate() {
            let worth = worth(group, groups.score);
            // Of equal groups the later one goes, so that ties are to the lowest index.
            if worth > f32::NEG_INFINITY && worth <= worst.0 {
                worst = (worth, g);
            }
        }
        choice[worst.1 * size..][..size].fill(f32::NEG_INFINITY);
    }
}

fn worth(group: &[f32], score: GroupScore) -> f32 {
    let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &x in group {
        if x > best {
            (best, second) = (x, best);
        } else if x > second {
            second = x;
        }
    }
    match score {
        GroupScore::Best => best,
        // A group of one has no second best.
        GroupScore::TwoBest if second == f32::NEG_INFINITY => best,
        GroupScore::TwoBest => best + second,
    }
}

/// The k largest of `choice`, which is used up.
fn choose(chosen: &mut [u32], choice: &mut [f32]) {
    for chosen in chosen {
        let mut best = 0;
        for (expert, &x) in choice.iter().enumerate() {
            if x > choice[best] {
                best = expert;
            }
        }
        *chosen = best as u32;
        choice[best] = f32::NEG_INFINITY;
    }
}

fn weigh(weights: &mut [f32], chosen: &[u32], scores: &[f32], router: &RouterSpec) {
    for (weight, &expert) in weights.iter_mut().zip(chosen) {
        *weight = scores[expert as usize];
    }
    let total = match router.normalise {
        true => weights.iter().sum::<f32>() + NORMALISE_EPS,
        false => 1.0,
    };
    for weight in weights {
        *weight = *weight / total * router.scale;
    }
}

/// d_logits (T, E) = the gradient of the logits, from that of the weights (T, k), the scores (T, E)
/// that `forward` left and what it chose. It goes through the kept weights alone; the choice and
/// its bias have none.
pub fn backward(
    d_logits: &mut [f32],
    d_weights: &[f32],
    scores: &[f32],
    chosen: &[u32],
    n_experts: usize,
    router: &RouterSpec,
) {
    assert_eq!(d_logits.len(), scores.len());
    assert_eq!(d_weights.len(), chosen.len());
    let n_tokens = scores.len() / n_experts;
    if n_tokens == 0 {
        return;
    }
    let k = chosen.len() / n_tokens;
    let rows = d_logits.chunks_exact_mut(n_experts).zip(scores.chunks_exact(n_experts));
    let choices = d_weights.chunks_exact(k).zip(chosen.chunks_exact(k));
    for ((d, scores), (d_weights, chosen)) in rows.zip(choices) {
        d.fill(0.0);
        let kept = || d_weights.iter().zip(chosen).map(|(d, &expert)| (d, scores[expert as usize]));
        let (total, pull) = match router.normalise {
            true => {
                let total = kept().map(|(_, score)| score).sum::<f32>() + NORMALISE_EPS;
                (total, kept().map(|(d, score)| d * (score / total)).sum())
            }
            false => (1.0, 0.0f32),
        };
        for (d_weight, &expert) in d_weights.iter().zip(chosen) {
            d[expert as usize] = (d_weight - pull) / total * router.scale;
        }
        match router.scoring {
            Scoring::Softmax => {
                let mean: f32 = d.iter().zip(scores).map(|(d, score)| d * score).sum();
                d.iter_mut().zip(scores).for_each(|(d, score)| *d = score * (*d - mean));
            }
            Scoring::Sigmoid => {
                d.iter_mut().zip(scores).for_each(|(d, score)| *d *= score * (1.0 - score));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    /// The weights of a choice that stays as it is, in f64.
    fn weights(logits: &[f64], chosen: &[u32], router: &RouterSpec) -> Vec<f64> {
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        let score = |e: usize| match router.scoring {
            Scoring::Softmax => logits[e].exp() / total,
            Scoring::Sigmoid => 1.0 / (1.0 + (-logits[e]).exp()),
        };
        let kept: Vec<f64> = chosen.iter().map(|&e| score(e as usize)).collect();
        let total = if router.normalise { kept.iter().sum() } else { 1.0 };
        kept.iter().map(|x| x / total * f64::from(router.scale)).collect()
    }

    #[test]
    fn gradient_matches_finite_difference() {
        let (n, k, tokens) = (12, 3, 4);
        let groups = Some(Groups { n_groups: 4, n_chosen: 2, score: GroupScore::TwoBest });
        for scoring in [Scoring::Softmax, Scoring::Sigmoid] {
            for normalise in [false, true] {
                let router =
                    RouterSpec { scoring, selection_bias: true, groups, normalise, scale: 2.5 };
                let (logits, bias, dw) = (noise(1, tokens * n), noise(2, n), noise(3, tokens * k));
                let mut scores = logits.clone();
                let (mut chosen, mut w) = (vec![0; tokens * k], vec![0.0; tokens * k]);
                let outputs = (&mut chosen[..], &mut w[..]);
                forward(outputs, &mut scores, &mut vec![0.0; n], Some(&bias), &router).unwrap();
                let mut d_logits = vec![f32::NAN; tokens * n];
                backward(&mut d_logits, &dw, &scores, &chosen, n, &router);
                let loss = |logits: &[f64]| {
                    let rows = logits.chunks(n).zip(chosen.chunks(k));
                    let all = rows.flat_map(|(row, chosen)| weights(row, chosen, &router));
                    all.zip(&dw).map(|(w, &dw)| w * f64::from(dw)).sum()
                };
                check(loss, &logits, &d_logits, 1e-5);
            }
        }
    }

    fn route(logits: &[f32], k: usize, bias: Option<&[f32]>, router: RouterSpec) -> Routed {
        let (mut chosen, mut weights) = (vec![0; k], vec![0.0; k]);
        let mut logits = logits.to_vec();
        let mut scratch = vec![0.0; logits.len()];
        forward((&mut chosen, &mut weights), &mut logits, &mut scratch, bias, &router)?;
        Ok((chosen, weights))
    }

    type Routed = Result<(Vec<u32>, Vec<f32>), NotFinite>;

    const SOFTMAX: RouterSpec = RouterSpec {
        scoring: Scoring::Softmax,
        selection_bias: false,
        groups: None,
        normalise: false,
        scale: 1.0,
    };

    #[test]
    fn softmax_weights_are_probabilities_and_ties_go_to_the_lowest_index() {
        let (chosen, weights) = route(&[1.0, 3.0, 3.0, 0.0], 3, None, SOFTMAX).unwrap();
        assert_eq!(chosen, [1, 2, 0]);
        let total = 2.0 * 3f32.exp() + 1f32.exp() + 1.0;
        assert!((weights[0] - 3f32.exp() / total).abs() < 1e-6);
        let normalised = RouterSpec { normalise: true, scale: 2.0, ..SOFTMAX };
        let (_, weights) = route(&[1.0, 3.0, 3.0, 0.0], 3, None, normalised).unwrap();
        assert!((weights.iter().sum::<f32>() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn the_bias_moves_the_choice_and_not_the_weights() {
        let router = RouterSpec {
            scoring: Scoring::Sigmoid,
            selection_bias: true,
            groups: Some(Groups { n_groups: 2, n_chosen: 1, score: GroupScore::TwoBest }),
            normalise: false,
            scale: 1.0,
        };
        // Without the bias the second group wins; with it the first does, though all its biased
        // scores but one are below zero.
        let logits = [0.0, 0.0, 2.0, 2.0];
        let bias = [3.0, -0.9, 0.0, -1.5];
        let (chosen, weights) = route(&logits, 2, Some(&bias), router.clone()).unwrap();
        assert_eq!(chosen, [0, 1]);
        assert_eq!(weights, [0.5, 0.5]);
        let (chosen, _) = route(&logits, 2, Some(&[0.0; 4]), router).unwrap();
        assert_eq!(chosen, [2, 3]);
    }

    #[test]
    fn a_group_is_worth_its_best_expert_in_v2() {
        let groups = Some(Groups { n_groups: 2, n_chosen: 1, score: GroupScore::Best });
        let router = RouterSpec { groups, ..SOFTMAX };
        let (chosen, _) = route(&[5.0, 0.0, 4.0, 4.0], 2, None, router).unwrap();
        assert_eq!(chosen, [0, 1]);
    }

    #[test]
    fn nan_is_refused() {
        assert_eq!(route(&[1.0, f32::NAN], 1, None, SOFTMAX), Err(NotFinite));
        assert_eq!(route(&[1.0, f32::INFINITY], 1, None, SOFTMAX), Err(NotFinite));
    }
}
