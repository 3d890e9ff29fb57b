//! SwiGLU, and the choice among many of them.
//!
//! ```text
//! f(x) = down (silu(gate x) · up x),   silu(a) = a / (1 + e^−a)
//! moe(x) = f_shared(x) + Σ_chosen weight · f_expert(x)
//! ```

use spec::{GroupScore, Groups, MoeSpec, RouterSpec, Scoring, Slot};

use crate::linear::{linear, softmax};
use crate::source::{Error, Reader};

/// The matrices of one SwiGLU: (F, D), (F, D), (D, F).
struct Swiglu {
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

impl Swiglu {
    /// y (T, D) of x (T, D).
    fn forward(&self, x: &[f32], dim: usize) -> Vec<f32> {
        let mut h = linear(&self.gate, x, dim);
        for (gate, up) in h.iter_mut().zip(linear(&self.up, x, dim)) {
            let a = f64::from(*gate);
            *gate = (a / (1.0 + (-a).exp()) * f64::from(up)) as f32;
        }
        linear(&self.down, &h, self.gate.len() / dim)
    }
}

/// y (T, D) of h (T, D), the normed stream.
pub(crate) fn dense(h: &[f32], hidden: usize, weights: &Reader<'_>) -> Result<Vec<f32>, Error> {
    let swiglu = read(weights, [Slot::Gate, Slot::Up, Slot::Down], hidden)?;
    Ok(swiglu.forward(h, weights.dim))
}

/// y (T, D) of h (T, D), the normed stream.
pub(crate) fn moe(h: &[f32], spec: &MoeSpec, weights: &Reader<'_>) -> Result<Vec<f32>, Error> {
    let dim = weights.dim;
    let router = weights.read(Slot::Router, &[spec.n_experts, dim])?;
    let bias = match spec.router.selection_bias {
        true => weights.read(Slot::RouterBias, &[spec.n_experts])?,
        false => vec![0.0; spec.n_experts],
    };
    let choices: Vec<Vec<(usize, f32)>> = linear(&router, h, dim)
        .chunks_exact(spec.n_experts)
        .map(|logits| choose(logits, &bias, spec.n_chosen, &spec.router))
        .collect();

    let mut y = vec![0.0; h.len()];
    if spec.shared_hidden > 0 {
        let slots = [Slot::SharedGate, Slot::SharedUp, Slot::SharedDown];
        accumulate(&mut y, 1.0, &read(weights, slots, spec.shared_hidden)?.forward(h, dim));
    }
    for expert in 0..spec.n_experts {
        let weight = |t: usize| choices[t].iter().find(|choice| choice.0 == expert);
        let chosen: Vec<_> = (0..choices.len()).filter_map(|t| Some((t, weight(t)?.1))).collect();
        if chosen.is_empty() {
            continue;
        }
        let swiglu = read_expert(weights, expert, spec.hidden)?;
        for (t, weight) in chosen {
            let row = t * dim..(t + 1) * dim;
            accumulate(&mut y[row.clone()], weight, &swiglu.forward(&h[row], dim));
        }
    }
    Ok(y.iter().map(|&sum| sum as f32).collect())
}

/// The chosen experts of one token and their weights, from its router logits (E) and the selection
/// bias (E). The best first; ties go to the lowest index.
fn choose(logits: &[f32], bias: &[f32], n_chosen: usize, spec: &RouterSpec) -> Vec<(usize, f32)> {
    let mut scores: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    match spec.scoring {
        Scoring::Softmax => softmax(&mut scores),
        Scoring::Sigmoid => scores.iter_mut().for_each(|s| *s = 1.0 / (1.0 + (-*s).exp())),
    }
    let scores: Vec<f32> = scores.iter().map(|&score| score as f32).collect();
    // The bias sways the choice, never the weights.
    let mut biased: Vec<f32> = scores.iter().zip(bias).map(|(score, bias)| score + bias).collect();
    if let Some(groups) = &spec.groups {
        mask_groups(&mut biased, groups);
    }
    let chosen = best(&biased, n_chosen);
    let sum: f64 = chosen.iter().map(|&expert| f64::from(scores[expert])).sum();
    let divisor = if spec.normalise { sum + 1e-20 } else { 1.0 };
    let weight = |expert: usize| f64::from(scores[expert]) / divisor * f64::from(spec.scale);
    chosen.iter().map(|&expert| (expert, weight(expert) as f32)).collect()
}

/// −∞ for the experts of all but the best groups: a biased score may be below 0.
fn mask_groups(scores: &mut [f32], groups: &Groups) {
    let size = scores.len() / groups.n_groups;
    let worth = |group: &[f32]| {
        let order = best(group, 2.min(group.len()));
        match groups.score {
            GroupScore::Best => group[order[0]],
            GroupScore::TwoBest => order.iter().map(|&i| group[i]).sum(),
        }
    };
    let worths: Vec<f32> = scores.chunks_exact(size).map(worth).collect();
    let kept = best(&worths, groups.n_chosen);
    for (i, group) in scores.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&i) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// The indices of the n largest, in falling order; of equals the lowest comes first.
fn best(scores: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // The sort is stable. Adding 0 makes −0 and 0 the equals that they are.
    order.sort_by(|&a, &b| (scores[b] + 0.0).total_cmp(&(scores[a] + 0.0)));
    order.truncate(n);
    order
}

/// y (N) += weight · x (N).
fn accumulate(y: &mut [f64], weight: f32, x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += f64::from(weight) * f64::from(x);
    }
}

fn read(weights: &Reader<'_>, slots: [Slot; 3], hidden: usize) -> Result<Swiglu, Error> {
    let dim = weights.dim;
    Ok(Swiglu {
        gate: weights.read(slots[0], &[hidden, dim])?,
        up: weights.read(slots[1], &[hidden, dim])?,
        down: weights.read(slots[2], &[dim, hidden])?,
    })
}

fn read_expert(weights: &Reader<'_>, expert: usize, hidden: usize) -> Result<Swiglu, Error> {
    let dim = weights.dim;
    Ok(Swiglu {
        gate: weights.read_expert(Slot::ExpertGate, expert, &[hidden, dim])?,
        up: weights.read_expert(Slot::ExpertUp, expert, &[hidden, dim])?,
        down: weights.read_expert(Slot::ExpertDown, expert, &[dim, hidden])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: RouterSpec = RouterSpec {
        scoring: Scoring::Sigmoid,
        selection_bias: true,
        groups: None,
        normalise: false,
        scale: 1.0,
    };

    /// The logit whose sigmoid is `p`.
    fn logit(p: f32) -> f32 {
        (p / (1.0 - p)).ln()
    }

    fn experts(choice: &[(usize, f32)]) -> Vec<usize> {
        choice.iter().map(|choice| choice.0).collect()
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        assert_eq!(best(&[1.0, 3.0, 3.0, -0.0, 0.0, 3.0], 5), [1, 2, 5, 0, 3]);
    }

    #[test]
    fn the_bias_sways_the_choice_and_not_the_weights() {
        let choice = choose(&[logit(0.5), logit(0.25), logit(0.75)], &[0.0, 1.0, 0.0], 2, &PLAIN);
        assert_eq!(experts(&choice), [1, 2]);
        assert!((choice[0].1 - 0.25).abs() < 1e-6 && (choice[1].1 - 0.75).abs() < 1e-6);
    }

    #[test]
    fn normalised_weights_sum_to_the_scale() {
        let spec = RouterSpec { normalise: true, scale: 2.5, ..PLAIN };
        let choice = choose(&[logit(0.2), logit(0.6), logit(0.1)], &[0.0; 3], 2, &spec);
        assert_eq!(experts(&choice), [1, 0]);
        assert!((choice[0].1 - 1.875).abs() < 1e-5 && (choice[1].1 - 0.625).abs() < 1e-5);
    }

    #[test]
    fn a_dropped_group_is_out_though_its_rivals_are_below_zero() {
        let groups = |score| Some(Groups { n_groups: 2, n_chosen: 1, score });
        let logits = [0.9, 0.1, 0.6, 0.6].map(logit);
        // The best expert is in the first group, the best pair in the second.
        let spec = RouterSpec { groups: groups(GroupScore::Best), ..PLAIN };
        assert_eq!(experts(&choose(&logits, &[-2.0; 4], 2, &spec)), [0, 1]);
        let spec = RouterSpec { groups: groups(GroupScore::TwoBest), ..PLAIN };
        assert_eq!(experts(&choose(&logits, &[-2.0; 4], 2, &spec)), [2, 3]);
    }

    #[test]
    fn softmax_scores_are_shares_of_all_experts() {
        let spec = RouterSpec { scoring: Scoring::Softmax, ..PLAIN };
        let choice = choose(&[0.0, 2f32.ln(), 0.0], &[0.0; 3], 1, &spec);
        assert_eq!(experts(&choice), [1]);
        assert!((choice[0].1 - 0.5).abs() < 1e-6);
    }
}
