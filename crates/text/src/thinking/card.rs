//! What is known of how families stop thinking, by what their files show.

use crate::{ChatTemplate, Tokenizer};

/// The texts by which a family's thinking is cut short, drawn out or left out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// Ends thinking that has used up its budget, and leads to the answer.
    pub(crate) stop: &'static str,
    /// Ends thinking where there is no room for more words.
    pub(crate) close: &'static str,
    /// Stands in a prompt for thinking that is not wanted.
    pub(crate) nothing: &'static str,
    /// Comes instead of an end of thinking that is too early.
    pub(crate) wait: &'static str,
    /// Ends thinking for a trial, and asks for the answer in a line.
    pub(crate) trial: &'static str,
}

/// Qwen3's report (arXiv 2505.09388, section 4.7), where models obey it without being trained to;
/// public code varies between one newline and two before it.
const STOP: &str = "\n\nConsidering the limited time by the user, I have to give the solution \
                    based on the thinking directly now.\n</think>\n\n";
const CLOSE: &str = "\n</think>\n\n";
/// Budget forcing as s1 does it (arXiv 2501.19393), on a line of its own.
const WAIT: &str = "\nWait,";
/// As DEER and Dynasor ask (arXiv 2504.15895, 2412.20993), but for any kind of answer.
const TRIAL: &str = "\n</think>\n\n**Final answer:**";

/// Qwen3: trained on the empty block (report, section 4.3).
const QWEN3: Card =
    Card { stop: STOP, close: CLOSE, nothing: "<think>\n\n</think>\n\n", wait: WAIT, trial: TRIAL };

/// Everybody else, among them QwQ and R1, which have no switch: NoThinking (arXiv 2504.09858)
/// measured this block on R1's distillates. No maker has published a stop text of its own.
const OTHERS: Card = Card {
    stop: STOP,
    close: CLOSE,
    nothing: "<think>\nOkay, I think I have finished thinking.\n</think>\n\n",
    wait: WAIT,
    trial: TRIAL,
};

impl Card {
    pub(crate) fn of(tokenizer: &Tokenizer, template: &ChatTemplate) -> &'static Self {
        let chat_ml = tokenizer.added("<|im_start|>").is_some();
        if chat_ml && template.source().contains("enable_thinking") { &QWEN3 } else { &OTHERS }
    }
}
