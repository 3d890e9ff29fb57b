//! Estimates of the KL divergence from the reference by one token, d = log π - log π_ref.
//!
//! ```text
//! k1 = d        k2 = d² / 2        k3 = e^-d + d - 1        (Schulman 2020)
//! ```
//!
//! The gradient of k3 is not that of the divergence, that of k2 is: `k3-plus` has the value of one
//! and the gradient of the other.

use serde::Deserialize;

/// Which estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kl {
    K1,
    K2,
    K3,
    K1Plus,
    K3Plus,
}

const DIFFERENCE_MAX: f64 = 20.0;
const K3_MAX: f64 = 10.0;

impl Kl {
    /// The estimate at d, and its derivative.
    pub fn value_and_slope(self, d: f64) -> (f64, f64) {
        let bounded = d.clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX);
        let moves = if bounded == d { 1.0 } else { 0.0 };
        let k1 = (bounded, moves);
        let k2 = (bounded * bounded / 2.0, bounded * moves);
        let k3 = {
            let free = (-bounded).exp() + bounded - 1.0;
            let moves = if free < K3_MAX { moves } else { 0.0 };
            (free.min(K3_MAX), (1.0 - (-bounded).exp()) * moves)
        };
        match self {
            Kl::K1 => k1,
            Kl::K2 => k2,
            Kl::K3 => k3,
            Kl::K1Plus => (k1.0, k2.1),
            Kl::K3Plus => (k3.0, k2.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimates_are_as_worked_by_hand() {
        let ln2 = std::f64::consts::LN_2;
        // e^-ln 2 = 1/2.
        let cases = [
            (Kl::K1, ln2, 1.0),
            (Kl::K2, ln2 * ln2 / 2.0, ln2),
            (Kl::K3, ln2 - 0.5, 0.5),
            (Kl::K1Plus, ln2, ln2),
            (Kl::K3Plus, ln2 - 0.5, ln2),
        ];
        for (kl, value, slope) in cases {
            let found = kl.value_and_slope(ln2);
            let close = (found.0 - value).abs() < 1e-12 && (found.1 - slope).abs() < 1e-12;
            assert!(close, "{kl:?}: {found:?}");
        }
        assert_eq!(Kl::K3.value_and_slope(-30.0), (10.0, 0.0));
        assert_eq!(Kl::K1.value_and_slope(30.0), (20.0, 0.0));
    }

    #[test]
    fn slopes_match_finite_differences() {
        for kl in [Kl::K1, Kl::K2, Kl::K3] {
            for d in [-2.0, -0.3, 0.0, 0.7, 5.0] {
                let h = 1e-6;
                let difference =
                    (kl.value_and_slope(d + h).0 - kl.value_and_slope(d - h).0) / (2.0 * h);
                assert!((difference - kl.value_and_slope(d).1).abs() < 1e-6, "{kl:?} at {d}");
            }
        }
    }
}
