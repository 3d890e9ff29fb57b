//! What is known of how families stop thinking, by what their files show.

use crate::{ChatTemplate, Tokenizer};

/// The texts by which a family's thinking is cut short or left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// Ends thinking that has used up its budget, and leads to the answer.
    pub(crate) stop: &'static str,
    /// Stands in a prompt for thinking that is not wanted.
    pub(crate) nothing: &'static str,
}

/// Qwen3's report (arXiv 2505.09388, section 4.7), where models obey it without being trained to;
/// public code varies between one newline and two before it.
const STOP: &str = "\n\nConsidering the limited time by the user, I have to give the solution \
                    based on the thinking directly now.\n</think>\n\n";

/// Qwen3: trained on the empty block (report, section 4.3).
const QWEN3: Card = Card { stop: STOP, nothing: "<think>\n\n</think>\n\n" };

/// Everybody else, among them QwQ and R1, which have no switch: NoThinking (arXiv 2504.09858)
/// measured this block on R1's distillates. No maker has published a stop text of its own.
const OTHERS: Card =
    Card { stop: STOP, nothing: "<think>\nOkay, I think I have finished thinking.\n</think>\n\n" };

impl Card {
    pub(crate) fn of(tokenizer: &Tokenizer, template: &ChatTemplate) -> &'static Self {
        let chat_ml = tokenizer.added("<|im_start|>").is_some();
        if chat_ml && template.source().contains("enable_thinking") { &QWEN3 } else { &OTHERS }
    }
}
