//! Gradients to new weights: AdamW and Muon, the learning rate over time, clipping.
//!
//! Every number of a weight depends on its own gradient and, for Muon, on its own matrix; the norm
//! is summed in runs of a fixed length. So threads change no bit.

mod adamw;
mod muon;
mod rate;

use par::Pool;
pub use rate::{Rate, Shape};
use serde::Deserialize;

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// arXiv 1711.05101
    Adamw,
    /// Matrices of layers by Muon, the rest by AdamW.
    Muon,
}

/// What an optimizer is set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub kind: Kind,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    /// Of matrices only.
    pub weight_decay: f64,
    /// The largest norm of all gradients together; none: they are taken as they are.
    pub clip: Option<f64>,
    /// For the weights that Muon moves: its own rate is this times the other.
    pub muon_rate: f64,
    pub muon_momentum: f64,
}

/// One tensor of weights, its gradient, and what is remembered of earlier ones.
pub struct Weight<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    /// (shape)
    pub value: &'a mut [f32],
    /// (shape)
    pub gradient: &'a [f32],
}

/// What is remembered of the gradients of one tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// The mean, or Muon's momentum. (shape)
    pub first: Vec<f32>,
    /// The mean of squares; none for what Muon moves. (shape, or nothing)
    pub second: Vec<f32>,
}

/// An optimizer with its memory.
#[derive(Clone, Debug)]
pub struct Optimizer {
    settings: Settings,
    /// In the order of the weights.
    pub moments: Vec<Moments>,
    /// Updates so far.
    pub n_updates: u64,
}

/// Numbers that one task looks at.
const RUN: usize = 1 << 14;

/// An update that can't be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the gradient of {name} is not finite")]
pub struct NotFinite {
    pub name: String,
}

impl Optimizer {
    pub fn new(settings: Settings) -> Optimizer {
        Optimizer { settings, moments: Vec::new(), n_updates: 0 }
    }

    /// Moves the weights against their gradients; the norm of all gradients before clipping.
    ///
    /// # Errors
    ///
    /// If a gradient is not finite. No weight has moved then.
    pub fn update(
        &mut self,
        pool: &Pool,
        weights: &mut [Weight<'_>],
        rate: f64,
    ) -> Result<f64, NotFinite> {
        let norm = norm(pool, weights)?;
        let scale = match self.settings.clip {
            Some(most) if norm > most => most / norm,
            _ => 1.0,
        };
        self.moments.resize_with(weights.len(), Moments::default);
        self.n_updates += 1;
        for (weight, moments) in weights.iter_mut().zip(&mut self.moments) {
            if self.settings.kind == Kind::Muon && muon::moves(weight) {
                let rate = rate * self.settings.muon_rate;
                muon::update(pool, weight, moments, (&self.settings, rate, scale));
            } else {
                let how = (&self.settings, rate, scale, self.n_updates);
                adamw::update(pool, weight, moments, how);
            }
        }
        Ok(norm)
    }

    /// Bytes that are remembered of weights of these names and shapes.
    pub fn bytes(settings: &Settings, n_numbers: u64) -> u64 {
        // Muon remembers less, but not of everything.
        let _ = settings;
        8 * n_numbers
    }
}

/// √ of the sum of squares of all gradients.
fn norm(pool: &Pool, weights: &[Weight<'_>]) -> Result<f64, NotFinite> {
    let mut total = 0.0;
    for weight in weights {
        let mut sums = vec![0.0_f64; weight.gradient.len().div_ceil(RUN)];
        pool.for_chunks(&mut sums, 1, |run, sum| {
            let end = weight.gradient.len().min((run + 1) * RUN);
            let square = |x: &f32| f64::from(*x) * f64::from(*x);
            sum[0] = weight.gradient[run * RUN..end].iter().map(square).sum();
        });
        let sum: f64 = sums.iter().sum();
        if !sum.is_finite() {
            return Err(NotFinite { name: weight.name.into() });
        }
        total += sum;
    }
    Ok(total.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADAMW: Settings = Settings {
        kind: Kind::Adamw,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        weight_decay: 0.0,
        clip: None,
        muon_rate: 20.0,
        muon_momentum: 0.95,
    };

    fn noise(n: usize, salt: u32) -> Vec<f32> {
        let mut state = salt;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// The weights after so many updates by made-up gradients.
    fn run(settings: Settings, threads: usize, n_updates: u32) -> Vec<f32> {
        let pool = Pool::new(threads);
        let shape = [60, 400];
        let mut value = noise(24_000, 1);
        let mut bias = noise(60, 2);
        let mut optimizer = Optimizer::new(settings);
        for step in 0..n_updates {
            let (gradient, bias_gradient) = (noise(24_000, 10 + step), noise(60, 100 + step));
            let mut weights = [
                Weight {
                    name: "model.layers.0.mlp.up_proj.weight",
                    shape: &shape,
                    value: &mut value,
                    gradient: &gradient,
                },
                Weight {
                    name: "model.norm.weight",
                    shape: &shape[..1],
                    value: &mut bias,
                    gradient: &bias_gradient,
                },
            ];
            optimizer.update(&pool, &mut weights, 1e-2).unwrap();
        }
        [value, bias].concat()
    }

    #[test]
    fn threads_change_no_bit() {
        let clipped = Settings { clip: Some(1.0), weight_decay: 0.1, ..ADAMW };
        for settings in [clipped, Settings { kind: Kind::Muon, ..clipped }] {
            assert_eq!(run(settings, 1, 4), run(settings, 2, 4), "{:?}", settings.kind);
        }
    }

    #[test]
    fn the_norm_of_all_gradients_is_clipped_together() {
        let pool = Pool::new(1);
        let settings = Settings { beta1: 0.0, beta2: 0.0, eps: 1e6, clip: Some(1.0), ..ADAMW };
        let (mut a, mut b) = (vec![0.0], vec![0.0]);
        let mut weights = [
            Weight { name: "a", shape: &[1], value: &mut a, gradient: &[3.0] },
            Weight { name: "b", shape: &[1], value: &mut b, gradient: &[4.0] },
        ];
        let norm = Optimizer::new(settings).update(&pool, &mut weights, 1e6).unwrap();
        assert_eq!(norm, 5.0);
        // With an eps as large as that a step is rate / eps · gradient.
        assert!((a[0] + 0.6).abs() < 1e-5 && (b[0] + 0.8).abs() < 1e-5, "{a:?} {b:?}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_named_and_moves_nothing() {
        let pool = Pool::new(1);
        let (mut a, mut b) = (vec![1.0], vec![1.0]);
        let mut weights = [
            Weight { name: "a", shape: &[1], value: &mut a, gradient: &[1.0] },
            Weight { name: "b", shape: &[1], value: &mut b, gradient: &[f32::NAN] },
        ];
        let error = Optimizer::new(ADAMW).update(&pool, &mut weights, 0.1).unwrap_err();
        assert_eq!(error.to_string(), "the gradient of b is not finite");
        assert_eq!((a[0], b[0]), (1.0, 1.0));
    }
}
