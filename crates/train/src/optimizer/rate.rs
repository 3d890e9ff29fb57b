//! The learning rate over time: up in a line, then as the shape says.

use serde::Deserialize;

/// What comes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    Constant,
    /// Half a wave down to the last rate.
    Cosine,
    /// In a line down to the last rate.
    Linear,
    /// Constant, and in the last fifth in a line down to the last rate.
    LateLinear,
}

/// A learning rate as a function of the update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub peak: f64,
    /// Where the shape ends, as a share of the peak.
    pub last: f64,
    pub warmup: u64,
    pub shape: Shape,
    /// Updates in all.
    pub n_updates: u64,
}

impl Rate {
    /// The rate of update `n`, the first being 0.
    pub fn at(&self, n: u64) -> f64 {
        if n < self.warmup {
            return self.peak * (n + 1) as f64 / self.warmup as f64;
        }
        let whole = self.n_updates.saturating_sub(self.warmup).max(1) as f64;
        let done = ((n - self.warmup) as f64 / whole).min(1.0);
        let left = match self.shape {
            Shape::Constant => 1.0,
            Shape::Cosine => (1.0 + (std::f64::consts::PI * done).cos()) / 2.0,
            Shape::Linear => 1.0 - done,
            Shape::LateLinear => ((1.0 - done) * 5.0).min(1.0),
        };
        self.peak * (self.last + (1.0 - self.last) * left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_begins_at_its_peak_and_ends_at_its_last() {
        for (shape, middle) in [
            (Shape::Constant, 1.0),
            (Shape::Cosine, 0.55),
            (Shape::Linear, 0.55),
            (Shape::LateLinear, 1.0),
        ] {
            let rate = Rate { peak: 1.0, last: 0.1, warmup: 4, shape, n_updates: 104 };
            assert_eq!([0, 1, 3].map(|n| rate.at(n)), [0.25, 0.5, 1.0]);
            assert!((rate.at(4) - 1.0).abs() < 1e-12, "{shape:?}");
            assert!((rate.at(54) - middle).abs() < 1e-12, "{shape:?}: {}", rate.at(54));
            let last = if shape == Shape::Constant { 1.0 } else { 0.1 };
            assert!((rate.at(104) - last).abs() < 1e-12, "{shape:?}");
            assert!((rate.at(1000) - last).abs() < 1e-12, "{shape:?}");
        }
    }
}
