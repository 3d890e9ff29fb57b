//! Exact match: what was said, trimmed, is the answer.

use crate::{Score, Task, Verifier, after_thinking};

/// Reads `answer`.
pub struct ExactMatch;

impl Verifier for ExactMatch {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn score(&self, task: &Task, completion: &str) -> Score {
        Score::from_bool(after_thinking(completion).trim() == task.answer.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_space_around_the_answer_is_forgiven() {
        let cases = [
            ("Paris", "Paris", 1.0),
            ("Paris", "\n Paris \n", 1.0),
            ("Paris", "<think>Rome?</think>\nParis", 1.0),
            ("Paris", "paris", 0.0),
            ("Paris", "Paris.", 0.0),
            ("Paris", "Paris</think>", 0.0),
            ("Paris", "", 0.0),
        ];
        for (answer, completion, value) in cases {
            let score = ExactMatch.score(&Task::with_answer(answer), completion);
            assert_eq!(score.value, value, "{completion:?}");
        }
    }
}
