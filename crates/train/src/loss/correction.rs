//! What is done about rollouts whose probabilities are not those of training.
//!
//! With k = π of training, at the weights that wrote, over π of the rollout, a token's policy loss
//! is multiplied by
//!
//! ```text
//! tis        min(k, cap)
//! ice-pop    k where low ≤ k ≤ high, else 0
//! ```
//!
//! A rollout by the engine on the weights in training has k = 1: there both change nothing.

use serde::Deserialize;

use super::LOG_RATIO_MAX;

/// How tokens are weighed by what training would have given them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub enum Correction {
    /// The rollout's probabilities are taken for training's.
    #[default]
    Off,
    /// Truncated importance sampling (Yao et al. 2025, "Your Efficient RL Framework Secretly Brings
    /// You Off-Policy Training").
    Tis {
        #[serde(default = "cap")]
        cap: f64,
    },
    /// Tokens that both disagree on don't count (Ling team 2025, "IcePop").
    IcePop {
        #[serde(default = "low")]
        low: f64,
        #[serde(default = "high")]
        high: f64,
    },
}

fn cap() -> f64 {
    2.0
}

fn low() -> f64 {
    0.5
}

fn high() -> f64 {
    5.0
}

impl Correction {
    pub fn is_on(self) -> bool {
        self != Correction::Off
    }

    /// What a token's loss is multiplied by, given ln k; and whether that isn't k.
    pub fn weight(self, log_ratio: f64) -> (f64, bool) {
        let k = log_ratio.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
        match self {
            Correction::Off => (1.0, false),
            Correction::Tis { cap } => (k.min(cap), k > cap),
            Correction::IcePop { low, high } if (low..=high).contains(&k) => (k, false),
            Correction::IcePop { .. } => (0.0, true),
        }
    }

    /// Names what can't be.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Correction::Tis { cap } if !(cap.is_finite() && cap > 0.0) => {
                Err(format!("loss.correction.cap is {cap}: it must be above 0"))
            }
            Correction::IcePop { low, high }
                if !((0.0..=1.0).contains(&low) && high >= 1.0 && high.is_finite()) =>
            {
                Err(format!("loss.correction: {low} to {high} does not hold 1"))
            }
            _ => Ok(()),
        }
    }
}
