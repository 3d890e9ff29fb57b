//! Think tags: `<think>`, some thought, `</think>`, and then an answer; each once and in order.

use crate::{Score, Task, Verifier};

pub(crate) const OPEN: &str = "<think>";
pub(crate) const CLOSE: &str = "</think>";

/// Reads nothing of the task. A chat template may have opened the thought in the prompt already,
/// so the opening tag may be missing; where it stands, nothing but space stands before it.
pub struct ThinkTags;

impl Verifier for ThinkTags {
    fn name(&self) -> &'static str {
        "format"
    }

    fn score(&self, _: &Task, completion: &str) -> Score {
        match fault(completion) {
            None => Score::right("well formed"),
            Some(fault) => Score::wrong(fault),
        }
    }
}

/// What is wrong with the tags, if anything.
fn fault(completion: &str) -> Option<&'static str> {
    let Some((thought, said)) = completion.split_once(CLOSE) else {
        return Some("the thought is not closed");
    };
    if said.contains(CLOSE) {
        return Some("closed twice");
    }
    if said.contains(OPEN) {
        return Some("a thought after the answer");
    }
    let (before, thought) = thought.split_once(OPEN).unwrap_or(("", thought));
    if !before.trim().is_empty() {
        return Some("text before the thought");
    }
    if thought.contains(OPEN) {
        return Some("opened twice");
    }
    if thought.trim().is_empty() {
        return Some("no thought");
    }
    said.trim().is_empty().then_some("no answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_is_opened_once_closed_once_and_followed_by_an_answer() {
        let cases = [
            ("<think>a</think>b", "well formed"),
            ("\n<think>\na\n</think>\n\nb", "well formed"),
            ("a</think>b", "well formed"),
            ("<think>a", "the thought is not closed"),
            ("b", "the thought is not closed"),
            ("", "the thought is not closed"),
            ("<think>a</think>b</think>c", "closed twice"),
            ("<think>a</think><think>b</think>c", "closed twice"),
            ("<think>a</think>b<think>c", "a thought after the answer"),
            ("x<think>a</think>b", "text before the thought"),
            ("</think>a<think>b", "a thought after the answer"),
            ("<think><think>a</think>b", "opened twice"),
            ("<think> </think>b", "no thought"),
            ("<think>a</think> \n", "no answer"),
            ("<THINK>a</THINK>b", "the thought is not closed"),
        ];
        for (completion, why) in cases {
            let score = ThinkTags.score(&Task::default(), completion);
            assert_eq!(score.why, why, "{completion:?}");
            assert_eq!(score.value == 1.0, why == "well formed", "{completion:?}");
        }
    }
}
