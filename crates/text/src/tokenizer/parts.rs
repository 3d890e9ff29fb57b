//! What the two kinds of vocabulary file have in common once they are read.

use tokenizers::AddedToken;

use super::pieces::Pieces;
use crate::Error;

/// A token that templates write by its text and users cannot.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    pub(crate) id: u32,
    pub(crate) text: String,
    /// Never shown to a reader; others, such as `<think>`, are text too.
    pub(crate) control: bool,
    /// Swallows white space before it.
    pub(crate) lstrip: bool,
    /// Swallows white space after it.
    pub(crate) rstrip: bool,
}

/// Whether a space goes before text, as SentencePiece likes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DummyPrefix {
    None,
    /// Before the text and after each control token.
    EverySegment,
    /// Before the text, unless it has one.
    FirstSegment,
    /// As `EverySegment`, by the normalizer of the inner tokenizer.
    Inner,
}

/// Tokens with a role.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ids {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) unk: Option<u32>,
    pub(crate) pad: Option<u32>,
}

pub(crate) struct Parts {
    /// Knows no control token: whatever it reads is text.
    pub(crate) inner: tokenizers::Tokenizer,
    pub(crate) pieces: Pieces,
    pub(crate) added: Vec<Added>,
    pub(crate) prefix: DummyPrefix,
    pub(crate) ids: Ids,
    /// Tokens that end an answer, besides `ids.eos`.
    pub(crate) stops: Vec<u32>,
    pub(crate) add_bos: Option<bool>,
    pub(crate) add_eos: Option<bool>,
}

impl Parts {
    /// Makes the inner tokenizer match runs of white space that are tokens of their own.
    ///
    /// They must be in its model, or it numbers them itself.
    pub(crate) fn match_blanks(&mut self, blanks: Vec<(u32, String)>) -> Result<(), Error> {
        for (id, text) in blanks {
            self.inner
                .add_tokens([AddedToken::from(text.clone(), false).normalized(false)])
                .map_err(|e| Error::Tokenizer(e.to_string()))?;
            if self.inner.token_to_id(&text) != Some(id) {
                return Err(Error::Tokenizer(format!("token {id} ({text:?}) cannot be matched")));
            }
        }
        Ok(())
    }
}
