//! Log-probabilities of the tokens that followed, and entropies, from rows of logits.
//!
//! ```text
//! z = logits / temperature      ln p(target) = z[target] − ln Σ e^z      H = ln Σ e^z − Σ p z
//! ```
//!
//! Divided and summed as the sampler does it, so that what was drawn and what is trained on have
//! the same bits.

use par::{Chunks, Pool};
use simd::{Best, Isa, Kernel, dispatch, math};

/// z (…) = logits (…) / temperature, in place.
pub fn scale(pool: &Pool, logits: &mut [f32], temperature: f32) {
    pool.for_chunks(logits, 16 * 1024, |_, z| z.iter_mut().for_each(|z| *z /= temperature));
}

/// logprobs (L) and entropies (L) of `targets` (L) under scaled logits z (L, V).
pub fn forward(
    pool: &Pool,
    (logprobs, entropies): (&mut [f32], &mut [f32]),
    z: &[f32],
    targets: &[u32],
) {
    let n = targets.len();
    assert_eq!((logprobs.len(), entropies.len()), (n, n));
    let Some(vocab) = z.len().checked_div(n) else { return };
    let best = Best::detect();
    let parts = (Chunks::new(logprobs, 1), Chunks::new(entropies, 1));
    pool.for_parts(parts, |i, (logprob, entropy)| {
        let z = &z[i * vocab..][..vocab];
        let lse = math::log_sum_exp(best, z);
        logprob[0] = z[targets[i] as usize] - lse;
        entropy[0] = lse - dispatch(best, Mean { z, lse });
    });
}

/// Scaled logits z (L, V), as `scale` left them, become the gradient of the logits, from those of
/// logprobs and entropies (L).
pub fn backward(
    pool: &Pool,
    z: &mut [f32],
    (d_logprobs, d_entropies): (&[f32], &[f32]),
    targets: &[u32],
    temperature: f32,
) {
    let n = targets.len();
    assert_eq!((d_logprobs.len(), d_entropies.len()), (n, n));
    let Some(vocab) = z.len().checked_div(n) else { return };
    let best = Best::detect();
    pool.for_parts(Chunks::new(z, vocab), |i, z| {
        let lse = math::log_sum_exp(best, z);
        let entropy = match d_entropies[i] {
            0.0 => 0.0,
            _ => lse - dispatch(best, Mean { z, lse }),
        };
        let (d_logprob, d_entropy) = (d_logprobs[i] / temperature, d_entropies[i] / temperature);
        dispatch(best, Slope { z, lse, entropy, d_logprob, d_entropy });
        z[targets[i] as usize] += d_logprob;
    });
}

/// Σ p z over a row (V), in runs that meet in f64.
struct Mean<'a> {
    z: &'a [f32],
    lse: f32,
}

/// Elements that are summed in f32.
const RUN: usize = 512;

impl Kernel for Mean<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f32 {
        let lse = isa.splat(self.lse);
        let mut total = 0.0;
        for run in self.z.chunks(RUN) {
            let mut sum = isa.splat(0.0);
            for z in run.chunks(I::LANES) {
                // What is past the end counts as z = 0 with a weight, and adds nothing.
                let z = isa.load_head(z, 0.0);
                sum = isa.fma(math::exp(isa, isa.sub(z, lse)), z, sum);
            }
            total += f64::from(isa.sum(sum));
        }
        total as f32
    }
}

/// z = −d_logprob · p − d_entropy · p · (ln p + H), but for the target's own part.
struct Slope<'a> {
    z: &'a mut [f32],
    lse: f32,
    entropy: f32,
    d_logprob: f32,
    d_entropy: f32,
}

impl Kernel for Slope<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (lse, entropy) = (isa.splat(self.lse), isa.splat(self.entropy));
        let (by_logprob, by_entropy) = (isa.splat(-self.d_logprob), isa.splat(-self.d_entropy));
        for out in self.z.chunks_mut(I::LANES) {
            let logprob = isa.sub(isa.load_head(out, 0.0), lse);
            let p = math::exp(isa, logprob);
            let slope = isa.fma(by_entropy, isa.add(logprob, entropy), by_logprob);
            isa.store_head(isa.mul(p, slope), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    const VOCAB: usize = 83;

    /// The log-probability and the entropy of one row, in f64.
    fn exact(logits: &[f64], target: usize, temperature: f64) -> (f64, f64) {
        let z: Vec<f64> = logits.iter().map(|x| x / temperature).collect();
        let lse = z.iter().map(|z| z.exp()).sum::<f64>().ln();
        (z[target] - lse, lse - z.iter().map(|z| z * (z - lse).exp()).sum::<f64>())
    }

    #[test]
    fn log_probabilities_and_entropies_agree_with_f64() {
        let (logits, targets) = (noise(1, 3 * VOCAB), [5, 82, 0]);
        let (mut logprobs, mut entropies) = ([0.0; 3], [0.0; 3]);
        let mut z = logits.clone();
        scale(&Pool::new(2), &mut z, 0.7);
        forward(&Pool::new(2), (&mut logprobs, &mut entropies), &z, &targets);
        for (i, row) in logits.chunks(VOCAB).enumerate() {
            let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
            let (logprob, entropy) = exact(&row, targets[i] as usize, 0.7);
            assert!((f64::from(logprobs[i]) - logprob).abs() < 2e-6);
            assert!((f64::from(entropies[i]) - entropy).abs() < 4e-6);
        }
    }

    #[test]
    fn gradient_matches_finite_difference() {
        let (logits, targets) = (noise(1, 3 * VOCAB), [5, 82, 0]);
        let (d_logprobs, d_entropies) = ([0.5, -1.5, 2.0], [0.25, 0.0, -0.75]);
        let (pool, temperature) = (Pool::new(2), 0.75);
        let mut z = logits.clone();
        scale(&pool, &mut z, temperature);
        backward(&pool, &mut z, (&d_logprobs, &d_entropies), &targets, temperature);
        let loss = |logits: &[f64]| {
            let rows = logits.chunks(VOCAB).enumerate();
            rows.map(|(i, row)| {
                let (logprob, entropy) = exact(row, targets[i] as usize, temperature.into());
                logprob * f64::from(d_logprobs[i]) + entropy * f64::from(d_entropies[i])
            })
            .sum()
        };
        check(loss, &logits, &z, 1e-5);
    }
}
