//! Questions to tokens, and tokens to what was said.

use std::sync::Arc;

use engine::{Think, Vocabulary};
use text::{Controls, Conversation, Prompt};

use crate::reward::Written;

/// Templates that write the date write this one, so that a run that goes on writes what it did.
const NOW_UNIX_S: i64 = 1_735_689_600;

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// How a model is asked, and how its answers are read.
#[derive(Clone)]
pub struct Prompts {
    vocabulary: Arc<Vocabulary>,
    /// Questions are text as they stand.
    plain: bool,
}

/// A question in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub tokens: Vec<u32>,
    /// The answer begins as a thought: the prompt has opened it.
    pub inside: bool,
}

impl Prompts {
    pub fn new(vocabulary: Arc<Vocabulary>, plain: bool) -> Prompts {
        Prompts { vocabulary, plain }
    }

    /// Tokens that end an answer.
    pub fn stops(&self) -> Arc<[u32]> {
        self.vocabulary.tokenizer.stops().into()
    }

    /// The token that an answer to learn ends with.
    pub fn stop(&self) -> u32 {
        let tokenizer = &self.vocabulary.tokenizer;
        let eos = tokenizer.specials().eos.and_then(|eos| tokenizer.added(&eos));
        eos.filter(|eos| tokenizer.stops().contains(eos)).unwrap_or_else(|| tokenizer.stops()[0])
    }

    /// The tokens that ask.
    ///
    /// # Errors
    ///
    /// What the template or the tokenizer says.
    pub fn ask(&self, conversation: &Conversation, think: Think) -> Result<Asked, engine::Error> {
        if self.plain {
            let text = conversation.messages.last().map_or("", |message| &message.content);
            let tokens = self.vocabulary.tokenizer.encode_document(text)?;
            return Ok(Asked { tokens, inside: text.trim_end().ends_with(OPEN) });
        }
        let (tokens, start) = self.vocabulary.prompt(conversation, think, NOW_UNIX_S)?;
        Ok(Asked { tokens, inside: start.is_some_and(|start| start.inside) })
    }

    /// The tokens of an answer as the model would write it, without the one that ends it.
    ///
    /// # Errors
    ///
    /// What the tokenizer says.
    pub fn answer(&self, text: &str, inside: bool) -> Result<Vec<u32>, engine::Error> {
        // The prompt has opened the thought already.
        let text = match text.trim_start().strip_prefix(OPEN) {
            Some(rest) if inside => rest.trim_start_matches('\n'),
            _ => text,
        };
        let text = match inside && !text.contains(CLOSE) {
            true => format!("{CLOSE}\n\n{text}"),
            false => text.to_string(),
        };
        Ok(self.vocabulary.tokenizer.encode_prompt(&Prompt::of_markup(&text))?)
    }

    /// Whether these tokens leave a thought open.
    pub fn opens_thought(&self, tokens: &[u32]) -> bool {
        self.vocabulary.tokenizer.decode(tokens, Controls::Drop).trim_end().ends_with(OPEN)
    }

    /// Reads an answer; how many of its tokens are thinking, tags included.
    pub fn read(&self, tokens: &[u32], inside: bool, truncated: bool) -> (Written, usize) {
        let tokenizer = &self.vocabulary.tokenizer;
        let text = tokenizer.decode(tokens, Controls::Drop);
        let begins = inside || text.trim_start().starts_with(OPEN);
        let close = text.rfind(CLOSE);
        let thought = close.map_or("", |at| &text[..at]).trim_start().trim_start_matches(OPEN);
        let is_lost = begins && close.is_none();
        let n_thinking = match (close, is_lost) {
            (None, false) => 0,
            (None, true) => tokens.len(),
            (Some(_), _) => self.thinking_tokens(tokens),
        };
        let written = Written {
            n_tokens: tokens.len(),
            thinks: is_lost || !thought.trim().is_empty(),
            is_lost_in_thought: is_lost,
            truncated,
            asked_tokens: None,
            text,
        };
        (written, n_thinking)
    }

    /// Tokens up to the end of the last thought, for an answer that has one.
    fn thinking_tokens(&self, tokens: &[u32]) -> usize {
        let tokenizer = &self.vocabulary.tokenizer;
        if let Some(close) = tokenizer.added(CLOSE)
            && let Some(at) = tokens.iter().rposition(|token| *token == close)
        {
            return at + 1;
        }
        let mut bytes = Vec::new();
        let mut end = 0;
        for (i, token) in tokens.iter().enumerate() {
            bytes.extend_from_slice(tokenizer.bytes(*token));
            let tail = bytes.len().saturating_sub(CLOSE.len() + tokenizer.bytes(*token).len());
            if String::from_utf8_lossy(&bytes[tail..]).contains(CLOSE) {
                end = i + 1;
            }
        }
        end
    }
}
