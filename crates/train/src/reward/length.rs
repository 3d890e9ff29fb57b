//! Rewards by length, in tokens.
//!
//! ```text
//! overlong   0 up to L - cache, then down in a line to -1 at L        (DAPO, arXiv 2503.14476)
//! kimi       λ = 1/2 - (n - min) / (max - min); wrong answers get no more than 0
//!                                                            (Kimi k1.5, arXiv 2501.12599)
//! l1-exact   -alpha · |asked - n|                                     (L1, arXiv 2503.04697)
//! l1-max     · clip(alpha · (asked - n) + delta, 0, 1)
//! ```

use serde::Deserialize;

use super::Written;

/// Where an answer begins to be too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlong {
    /// The longest answer allowed.
    pub longest: usize,
    /// Tokens before it in which the penalty grows.
    pub cache: usize,
}

/// What length is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub enum Length {
    #[default]
    Off,
    /// Shorter than the group is better. Counts from step `after` on.
    Kimi {
        #[serde(default = "one")]
        weight: f32,
        #[serde(default)]
        after: u64,
    },
    /// As long as asked.
    L1Exact {
        #[serde(default = "alpha")]
        alpha: f32,
    },
    /// No longer than asked.
    L1Max {
        #[serde(default = "alpha")]
        alpha: f32,
        #[serde(default = "half")]
        delta: f32,
    },
}

fn one() -> f32 {
    1.0
}

fn half() -> f32 {
    0.5
}

fn alpha() -> f32 {
    3e-4
}

/// What length does to the rewards of a group.
pub(super) struct Parts {
    pub added: Vec<f32>,
    pub factors: Option<Vec<f32>>,
}

impl Length {
    /// Whether a task says how long to think.
    pub fn asks(self) -> bool {
        matches!(self, Length::L1Exact { .. } | Length::L1Max { .. })
    }

    pub(super) fn parts(self, group: &[Written], right: &[bool], step: u64) -> Option<Parts> {
        let lens: Vec<usize> = group.iter().map(|written| written.n_tokens).collect();
        let past = |written: &Written| {
            written.asked_tokens.map_or(0.0, |asked| asked as f32 - written.n_tokens as f32)
        };
        match self {
            Length::Off => None,
            Length::Kimi { after, .. } if step < after => None,
            Length::Kimi { weight, .. } => {
                let added = kimi(&lens, right).into_iter().map(|part| weight * part).collect();
                Some(Parts { added, factors: None })
            }
            Length::L1Exact { alpha } => {
                let added = group.iter().map(|written| -alpha * past(written).abs()).collect();
                Some(Parts { added, factors: None })
            }
            Length::L1Max { alpha, delta } => {
                let factor = |written| (alpha * past(written) + delta).clamp(0.0, 1.0);
                let factors = Some(group.iter().map(factor).collect());
                Some(Parts { added: vec![0.0; group.len()], factors })
            }
        }
    }
}

/// What an answer's length costs near the longest allowed, in [-1, 0].
pub fn overlong(n_tokens: usize, Overlong { longest, cache }: Overlong) -> f32 {
    let free = longest.saturating_sub(cache);
    if n_tokens <= free {
        return 0.0;
    }
    let beyond = (n_tokens - free) as f32 / cache.max(1) as f32;
    -beyond.min(1.0)
}

/// In [-1/2, 1/2]: what each answer of a group is worth by its length.
pub fn kimi(lens: &[usize], right: &[bool]) -> Vec<f32> {
    let min = lens.iter().min().copied().unwrap_or(0);
    let max = lens.iter().max().copied().unwrap_or(0);
    let part = |(&len, &right): (&usize, &bool)| {
        if max == min {
            return 0.0;
        }
        let lambda = 0.5 - (len - min) as f32 / (max - min) as f32;
        if right { lambda } else { lambda.min(0.0) }
    };
    lens.iter().zip(right).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(n_tokens: usize, asked: usize) -> Written {
        Written {
            text: String::new(),
            n_tokens,
            thinks: true,
            is_lost_in_thought: false,
            truncated: false,
            asked_tokens: Some(asked),
        }
    }

    #[test]
    fn an_overlong_answer_pays_in_a_line_down_to_one() {
        let overlong_of = |n| overlong(n, Overlong { longest: 20, cache: 4 });
        let found: Vec<f32> = [10, 16, 17, 18, 20, 30].into_iter().map(overlong_of).collect();
        assert_eq!(found, [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]);
    }

    #[test]
    fn shorter_answers_of_a_group_are_worth_more_and_wrong_ones_never_gain() {
        let found = kimi(&[10, 20, 30, 10], &[true, true, true, false]);
        assert_eq!(found, [0.5, 0.0, -0.5, 0.0]);
        assert_eq!(kimi(&[30, 10], &[false, true]), [-0.5, 0.5]);
        assert_eq!(kimi(&[7, 7], &[true, false]), [0.0, 0.0]);
    }

    #[test]
    fn a_length_that_was_asked_for_is_kept_exactly_or_at_most() {
        let group = [written(100, 200), written(300, 200)];
        let exact = Length::L1Exact { alpha: 1e-3 };
        let found = exact.parts(&group, &[true, true], 0).unwrap().added;
        assert!(found.iter().all(|part| (part + 0.1).abs() < 1e-6), "{found:?}");
        let max = Length::L1Max { alpha: 1e-2, delta: 0.5 };
        let factors = max.parts(&group, &[true, true], 0).unwrap().factors.unwrap();
        assert_eq!(factors, [1.0, 0.0]);
    }

    #[test]
    fn a_length_reward_may_wait() {
        let kimi = Length::Kimi { weight: 2.0, after: 5 };
        let group = [written(10, 0), written(20, 0)];
        assert!(kimi.parts(&group, &[true, true], 4).is_none());
        assert_eq!(kimi.parts(&group, &[true, true], 5).unwrap().added, [1.0, -1.0]);
    }
}
