//! AdamW: a step against the mean gradient, over the root of the mean square.
//!
//! ```text
//! m ← β₁ m + (1 - β₁) g        v ← β₂ v + (1 - β₂) g²
//! w ← w - rate · (m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + eps) + decay · w)
//! ```

use par::Pool;

use super::{Moments, RUN, Settings, Weight};

/// Moves one tensor: settings, rate, what gradients are multiplied by, and which update this is.
pub(super) fn update(
    pool: &Pool,
    weight: &mut Weight<'_>,
    moments: &mut Moments,
    (settings, rate, scale, n): (&Settings, f64, f64, u64),
) {
    let len = weight.value.len();
    moments.first.resize(len, 0.0);
    moments.second.resize(len, 0.0);
    let power = i32::try_from(n).unwrap_or(i32::MAX);
    let (beta1, beta2) = (settings.beta1 as f32, settings.beta2 as f32);
    let step = (rate / (1.0 - settings.beta1.powi(power))) as f32;
    let correct = (1.0 / (1.0 - settings.beta2.powi(power))) as f32;
    let (eps, scale) = (settings.eps as f32, scale as f32);
    // Norms and biases are few, and small ones are not better ones.
    let decay = if weight.shape.len() >= 2 { settings.weight_decay } else { 0.0 };
    let keep = (1.0 - rate * decay) as f32;
    let gradient = weight.gradient;
    let parts = (
        par::Chunks::new(weight.value, RUN),
        par::Chunks::new(&mut moments.first, RUN),
        par::Chunks::new(&mut moments.second, RUN),
    );
    pool.for_parts(parts, |run, (value, first, second)| {
        let gradient = &gradient[run * RUN..][..value.len()];
        for i in 0..value.len() {
            let g = gradient[i] * scale;
            first[i] = beta1 * first[i] + (1.0 - beta1) * g;
            second[i] = beta2 * second[i] + (1.0 - beta2) * g * g;
            let root = (second[i] * correct).sqrt() + eps;
            value[i] = value[i] * keep - step * first[i] / root;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{Kind, Optimizer};

    #[test]
    fn two_steps_are_as_worked_by_hand() {
        let settings = Settings {
            kind: Kind::Adamw,
            beta1: 0.9,
            beta2: 0.99,
            eps: 0.0,
            weight_decay: 0.5,
            clip: None,
            muon_rate: 1.0,
            muon_momentum: 0.0,
        };
        let pool = Pool::new(1);
        let mut optimizer = Optimizer::new(settings);
        let mut value = vec![2.0_f32];
        let mut step = |value: &mut [f32], gradient: f32| {
            let gradient = [gradient];
            let mut weights = [Weight { name: "w", shape: &[1, 1], value, gradient: &gradient }];
            optimizer.update(&pool, &mut weights, 0.1).unwrap();
        };
        // The first step is the rate, whatever the gradient; decay takes 5 % first.
        step(&mut value, 4.0);
        assert!((value[0] - (1.9 - 0.1)).abs() < 1e-6, "{value:?}");
        // m = 0.36 - 0.2 = 0.16 of 0.19; v = 0.1584 + 0.04 = 0.1984 of 0.0199.
        step(&mut value, -2.0);
        let (m, v) = (0.16_f32 / 0.19, 0.1984_f32 / 0.0199);
        let expected = 1.8 * 0.95 - 0.1 * m / v.sqrt();
        assert!((value[0] - expected).abs() < 1e-5, "{} {expected}", value[0]);
    }
}
