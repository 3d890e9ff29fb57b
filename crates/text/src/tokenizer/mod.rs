//! Text to tokens and back.
//!
//! The work is done by the `tokenizers` crate, on a vocabulary from which control tokens were
//! taken out: however a text reads, it cannot become one. Control tokens are matched here, and
//! only in the parts of a [`Prompt`] that its template wrote.

mod export;
mod gguf;
mod json;
mod parts;
mod pieces;
mod pre;
mod vocab;

use std::collections::BTreeMap;

use crate::markup::Finder;
use crate::{Error, Prompt, Specials, marks};
use parts::{Added, DummyPrefix, Ids};
use pieces::Pieces;
pub use vocab::{GgufVocab, TokenizerConfig, VocabSource};

/// Control tokens that end an answer by their very name, as llama.cpp lists them, for files whose
/// `eos_token_id` names only one of two.
const ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
];

/// What to do with control tokens in text that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// They leave no text. Added tokens that are text, such as `<think>`, stay.
    Drop,
    /// They are written by their name.
    Keep,
}

/// A vocabulary of V tokens and the way to and from it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
    added: Vec<Added>,
    /// Finds `added`, by index.
    finder: Finder,
    by_text: BTreeMap<String, u32>,
    /// Whether a token is a control token. (V)
    control: Vec<bool>,
    prefix: DummyPrefix,
    ids: Ids,
    stops: Vec<u32>,
    add_bos: bool,
    add_eos: bool,
}

impl Tokenizer {
    /// Reads a vocabulary. `config` names what `source` does not; a GGUF file needs none.
    ///
    /// Whatever the bytes, the answer is a tokenizer or an error that names the fault.
    pub fn new(source: VocabSource<'_>, config: &TokenizerConfig) -> Result<Self, Error> {
        let parts = match source {
            VocabSource::TokenizerJson(bytes) => json::build(bytes, config)?,
            VocabSource::Gguf(vocab) => gguf::build(vocab)?,
        };
        let texts: Vec<String> = parts.added.iter().map(|a| a.text.clone()).collect();
        let mut control = vec![false; parts.pieces.len()];
        for added in &parts.added {
            control[added.id as usize] = added.control;
        }
        let mut stops = parts.stops;
        stops.extend(parts.ids.eos);
        let named = |a: &&Added| a.control && ENDS.contains(&a.text.as_str());
        stops.extend(parts.added.iter().filter(named).map(|a| a.id));
        stops.sort_unstable();
        stops.dedup();
        Ok(Self {
            finder: Finder::new(&texts)?,
            by_text: parts.added.iter().map(|a| (a.text.clone(), a.id)).collect(),
            add_bos: parts.add_bos.unwrap_or(false) && parts.ids.bos.is_some(),
            add_eos: parts.add_eos.unwrap_or(false) && parts.ids.eos.is_some(),
            inner: parts.inner,
            pieces: parts.pieces,
            added: parts.added,
            prefix: parts.prefix,
            ids: parts.ids,
            control,
            stops,
        })
    }

    /// V: one more than the largest id. A model may have more rows than that, which mean nothing.
    pub fn vocab_len(&self) -> usize {
        self.pieces.len()
    }

    /// The token that begins a text, if the vocabulary has one.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// Tokens after which an answer is over, ascending.
    pub fn stops(&self) -> &[u32] {
        &self.stops
    }

    /// The added token that is written `text`, such as `</think>`.
    pub fn added(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// Whether `id` is a control token, which is no text.
    pub fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }

    /// The bytes that `id` stands for; none for an id that the vocabulary lacks.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.pieces.get(id).unwrap_or_default()
    }

    /// The strings that a chat template needs and a user must not forge.
    pub fn specials(&self) -> Specials {
        let name = |id: Option<u32>| {
            let id = id?;
            let text = std::str::from_utf8(self.pieces.get(id)?).ok()?;
            Some(text.to_owned())
        };
        Specials {
            tokens: self.added.iter().map(|a| a.text.clone()).collect(),
            bos: name(self.ids.bos),
            eos: name(self.ids.eos),
            unk: name(self.ids.unk),
            pad: name(self.ids.pad),
        }
    }

    /// The tokens of a user's text. None of them is a control token, whatever the text says.
    ///
    /// Decoding them gives the text back, but for what the vocabulary itself does not keep: some
    /// bring text to Unicode's composed form (Qwen's), some have no token for some control
    /// characters (SmolLM2's).
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        self.encode_segment(text, true, &mut ids)?;
        Ok(ids)
    }

    /// The tokens of a text that stands alone: with what the vocabulary puts before and after.
    pub fn encode_document(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.ids.bos.filter(|_| self.add_bos).into_iter().collect();
        self.encode_segment(text, true, &mut ids)?;
        ids.extend(self.ids.eos.filter(|_| self.add_eos));
        Ok(ids)
    }

    /// The tokens of a prompt: control tokens where its template wrote them, text elsewhere.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, Error> {
        let marked = prompt.marked();
        let mut ids = Vec::new();
        let mut at = 0;
        let mut strip_start = false;
        let mut first = true;
        for (index, start, end) in self.finder.find(marked) {
            let added = &self.added[index];
            let mut text = &marked[at..start];
            if added.lstrip {
                text = text.trim_end();
            }
            if strip_start {
                text = text.trim_start();
            }
            self.encode_segment(&marks::unmark(text), first, &mut ids)?;
            ids.push(added.id);
            at = end;
            strip_start = added.rstrip;
            first = false;
        }
        let rest = if strip_start { marked[at..].trim_start() } else { &marked[at..] };
        self.encode_segment(&marks::unmark(rest), first, &mut ids)?;
        Ok(ids)
    }

    /// Appends the tokens of a run of text to `ids`; `first` if nothing was before it.
    fn encode_segment(&self, text: &str, first: bool, ids: &mut Vec<u32>) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        let prefixed = match self.prefix {
            DummyPrefix::EverySegment => true,
            DummyPrefix::FirstSegment => first && !text.starts_with([' ', '▁']),
            DummyPrefix::None | DummyPrefix::Inner => false,
        };
        let encoding = if prefixed {
            self.inner.encode_fast(format!(" {text}"), false)
        } else {
            self.inner.encode_fast(text, false)
        };
        let encoding = encoding.map_err(|e| Error::Tokenizer(e.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }

    /// The bytes that `ids` stand for, without the space that the vocabulary puts before text.
    pub fn decode_bytes(&self, ids: &[u32], controls: Controls) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &id in ids {
            if controls == Controls::Keep || !self.is_control(id) {
                bytes.extend_from_slice(self.bytes(id));
            }
        }
        if self.begins_with_space() && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        bytes
    }

    /// The text that `ids` stand for; bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], controls: Controls) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids, controls)).into_owned()
    }

    /// Whether a text's tokens begin with a space that is not the text's.
    pub(crate) fn begins_with_space(&self) -> bool {
        self.prefix != DummyPrefix::None
    }
}
