//! Thinking: whether a model does it, how a prompt asks for it or against it, and for how long.
//!
//! Nothing here looks at a model's name. Tags are `<think>` and `</think>`, as tokens of their own
//! or spelled out in several.

mod card;
mod loops;
mod split;
mod state;

use std::sync::Arc;

use crate::{ChatTemplate, Conversation, Error, Prompt, RenderOptions, Tokenizer};
use card::Card;
pub use loops::LoopDetector;
pub use split::{Piece, Split};
pub use state::{Place, ThinkEnd, ThinkLimits, ThinkState, answer_reserve};

pub(crate) const OPEN: &str = "<think>";
pub(crate) const CLOSE: &str = "</think>";

/// What is asked of a model that can think.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ThinkMode {
    /// Whatever its template does.
    #[default]
    Auto,
    /// Thinking, also where the template leaves it open.
    On,
    /// None: by the template's switch, else by an empty think block.
    Off,
}

/// How one model thinks.
#[derive(Debug, Clone)]
pub struct Thinking {
    card: &'static Card,
    has_switch: bool,
    /// The tokens of the card's texts.
    stop: Vec<u32>,
    close: Vec<u32>,
    wait: Vec<u32>,
    trial: Vec<u32>,
    /// `<think>`, and what stands between it and an end that comes at once.
    open: Vec<u32>,
    blank: Vec<u32>,
    /// The tokens that `</think>` may begin with.
    closing: Vec<u32>,
    /// The tokens that leave thinking before any of it.
    nothing: Vec<u32>,
    /// The tokens that begin with what is left of `</think>` after so many bytes of it.
    closers: [Vec<u32>; CLOSE.len()],
    /// The tokens that end an answer.
    ends: Vec<u32>,
}

/// A prompt and where the answer to it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinkPrompt {
    pub prompt: Prompt,
    /// Whether the next token is already thinking.
    pub inside: bool,
}

impl Thinking {
    /// How a model with this vocabulary and template thinks; none if neither knows the tags.
    pub fn of(tokenizer: &Tokenizer, template: &ChatTemplate) -> Result<Option<Arc<Self>>, Error> {
        let known = [OPEN, CLOSE];
        let in_template = known.iter().any(|tag| template.source().contains(tag));
        if !in_template && !known.iter().any(|tag| tokenizer.added(tag).is_some()) {
            return Ok(None);
        }
        let card = Card::of(tokenizer, template);
        let mut closers: [Vec<u32>; CLOSE.len()] = Default::default();
        for id in (0..).take(tokenizer.vocab_len()) {
            for (matched, ids) in closers.iter_mut().enumerate() {
                if tokenizer.bytes(id).starts_with(&CLOSE.as_bytes()[matched..]) {
                    ids.push(id);
                }
            }
        }
        let tokens = |text: &str| tokenizer.encode_prompt(&Prompt::of_markup(text));
        let nothing = card.nothing.trim_start_matches(OPEN);
        let between = nothing.split(CLOSE).next().unwrap_or_default();
        let spelled = tokens(CLOSE)?;
        let whole = closers[0].clone();
        Ok(Some(Arc::new(Self {
            card,
            has_switch: template.has_switch(),
            stop: tokens(card.stop)?,
            close: tokens(card.close)?,
            wait: tokens(card.wait)?,
            trial: tokens(card.trial)?,
            open: tokens(OPEN)?,
            blank: tokens(if between.trim().is_empty() { between } else { "\n" })?,
            closing: if whole.is_empty() { spelled[..1].to_vec() } else { whole },
            nothing: tokens(nothing)?,
            closers,
            ends: tokenizer.stops().to_vec(),
        })))
    }

    /// Whether the template itself can switch thinking off.
    pub fn has_switch(&self) -> bool {
        self.has_switch
    }

    /// The tokens that end thinking for a trial and ask for the answer in a line.
    pub fn trial(&self) -> &[u32] {
        &self.trial
    }

    /// The tokens of `<think>`.
    pub fn open(&self) -> &[u32] {
        &self.open
    }

    /// What the family writes between `<think>` and an end that comes at once.
    pub fn blank(&self) -> &[u32] {
        &self.blank
    }

    /// The tokens that `</think>` may begin with, ascending.
    pub fn closing(&self) -> &[u32] {
        &self.closing
    }

    /// Renders `conversation` up to where the answer begins, thinking or not as `mode` asks.
    ///
    /// The `thinking` of `options` is `mode`'s to choose, and a generation prompt is always added.
    pub fn render(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
        options: &RenderOptions,
        mode: ThinkMode,
    ) -> Result<ThinkPrompt, Error> {
        let thinking = match mode {
            ThinkMode::Auto => None,
            ThinkMode::On => Some(true),
            ThinkMode::Off => Some(false),
        };
        let thinking = thinking.filter(|_| self.has_switch);
        let options = RenderOptions { add_generation_prompt: true, thinking, ..*options };
        let mut prompt = template.render(conversation, &options)?;
        match mode {
            ThinkMode::On if !self.has_switch && !starts_inside(&prompt) => {
                prompt.push_markup("<think>\n");
            }
            ThinkMode::Off if starts_inside(&prompt) => {
                let block = self.card.nothing.trim_start_matches(OPEN);
                // The template may have begun the line already.
                let begun = prompt.marked().ends_with('\n');
                prompt.push_markup(if begun { block.trim_start_matches('\n') } else { block });
            }
            ThinkMode::Off if !self.has_switch && !ends_closed(&prompt) => {
                prompt.push_markup(self.card.nothing);
            }
            _ => {}
        }
        Ok(ThinkPrompt { inside: starts_inside(&prompt), prompt })
    }

    /// Whether a template with a switch leaves the choice to the model where it is not used.
    pub fn leaves_open(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
        options: &RenderOptions,
    ) -> Result<bool, Error> {
        if !self.has_switch {
            return Ok(false);
        }
        let asked = self.render(template, conversation, options, ThinkMode::Auto)?;
        Ok(!asked.inside && !ends_closed(&asked.prompt))
    }
}

/// Whether an answer to `prompt` begins as thinking: its template has just opened it.
pub fn starts_inside(prompt: &Prompt) -> bool {
    // A user's tag is marked, or does not stand at the end.
    prompt.marked().trim_end().ends_with(OPEN)
}

fn ends_closed(prompt: &Prompt) -> bool {
    prompt.marked().trim_end().ends_with(CLOSE)
}
