//! What the answers of a step share while each chooses its next tokens, and what may come of it.

use schedule::Micros;
use text::Tokenizer;

use crate::request::Finish;
use crate::sampler::Scratch;

/// What the tokens of a step make of an answer.
pub(crate) enum Next {
    GoesOn,
    /// It waits to be judged; its last token is held back.
    Pauses,
    Ends(Finish),
}

impl Next {
    /// After a panic.
    pub(crate) fn panicked() -> Next {
        Next::Ends(Finish::Failed("a bug: choosing its next token panicked".into()))
    }
}

/// What the answers of a step share.
pub(crate) struct Chooser<'a> {
    pub tokenizer: &'a Tokenizer,
    pub scratch: &'a mut Scratch,
    pub now: Micros,
    /// Log-probabilities are those of the distribution that tokens are drawn from.
    pub as_drawn: bool,
    /// What routers chose for the tokens whose logits these are. (rows)
    pub routes: &'a [u64],
    /// Tokens that follow the known ones are appended here.
    pub appended: &'a mut Vec<u32>,
}

impl Chooser<'_> {
    /// The same, to put other tokens elsewhere.
    pub(crate) fn reborrow(&mut self) -> Chooser<'_> {
        Chooser {
            tokenizer: self.tokenizer,
            scratch: self.scratch,
            now: self.now,
            as_drawn: self.as_drawn,
            routes: self.routes,
            appended: self.appended,
        }
    }
}
