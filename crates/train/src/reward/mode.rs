//! Rewards for choosing well whether to think.
//!
//! ```text
//! adapt-think   R + delta without thinking                            (arXiv 2505.13417)
//! thinkless     1 right without, `thinking` right with thinking, -1 wrong
//!                                                                     (arXiv 2505.13379)
//! ```
//!
//! AdaptThink also takes away how often the first model was right on the question when it thought:
//! that is the same for a whole group, so it leaves every advantage as it is.

use serde::Deserialize;

use super::Written;

/// What the choice is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, tag = "kind")]
pub enum Mode {
    #[default]
    Off,
    AdaptThink {
        #[serde(default = "delta")]
        delta: f32,
    },
    Thinkless {
        #[serde(default = "thinking")]
        thinking: f32,
    },
}

fn delta() -> f32 {
    0.05
}

fn thinking() -> f32 {
    0.5
}

impl Mode {
    /// What is added to a reward of `total`.
    pub(super) fn part(self, written: &Written, is_right: bool, total: f32) -> Option<f32> {
        match self {
            Mode::Off => None,
            Mode::AdaptThink { delta } => Some(if written.thinks { 0.0 } else { delta }),
            Mode::Thinkless { thinking } => {
                let worth = match (is_right, written.thinks) {
                    (false, _) => -1.0,
                    (true, true) => thinking,
                    (true, false) => 1.0,
                };
                Some(worth - total)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Length, Settings, rewards};
    use super::*;
    use verifiers::Task;
    use verifiers::exact::ExactMatch;

    fn written(text: &str) -> Written {
        Written {
            text: text.into(),
            n_tokens: text.len(),
            thinks: text.contains("hm"),
            is_lost_in_thought: false,
            truncated: false,
            asked_tokens: None,
        }
    }

    fn totals(mode: Mode) -> Vec<f32> {
        let group = ["<think>hm</think>7", "<think></think>7", "<think>hm</think>8"].map(written);
        let settings =
            Settings { wrong: 0.0, format: 0.0, length: Length::Off, overlong: None, mode };
        let task = Task::with_answer("7");
        let found = rewards(&group, (&task, &ExactMatch), &settings, 0);
        found.into_iter().map(|reward| reward.total).collect()
    }

    #[test]
    fn being_right_without_thinking_is_worth_more() {
        assert_eq!(totals(Mode::Off), [1.0, 1.0, 0.0]);
        assert_eq!(totals(Mode::Thinkless { thinking: 0.5 }), [0.5, 1.0, -1.0]);
        assert_eq!(totals(Mode::AdaptThink { delta: 0.25 }), [1.0, 1.25, 0.0]);
    }

    #[test]
    fn the_parts_of_a_reward_are_its_sum() {
        let group = ["<think>hm</think>7", "7"].map(written);
        let settings = Settings {
            wrong: -1.0,
            format: 0.5,
            length: Length::Kimi { weight: 1.0, after: 0 },
            overlong: Some(super::super::Overlong { longest: 20, cache: 4 }),
            mode: Mode::AdaptThink { delta: 0.25 },
        };
        let task = Task::with_answer("7");
        for reward in rewards(&group, (&task, &ExactMatch), &settings, 0) {
            let parts: f32 = reward.parts.iter().map(|part| part.1).sum();
            assert!((1.0 + parts - reward.total).abs() < 1e-6, "{reward:?}");
            assert!(reward.is_right());
        }
    }
}
