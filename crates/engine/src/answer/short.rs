//! Answers whose thinking the engine decides: held back, weighed, let go or concluded.

use std::sync::Arc;

use text::{StopStrings, ThinkEnd, ThinkState, Thinking, Tokenizer};

use super::Answer;
use crate::auto::{Confidence, ShortAnswer, TrialAnswer, Watch};
use crate::chooser::Next;
use crate::contain::contain;
use crate::outlet::Outlet;
use crate::request::{Event, Request, Sink};

impl Answer {
    /// A short answer instead of this one, which has not begun. What it tells is held back until
    /// [`Answer::release`], and its first `n_judged` tokens are weighed.
    pub(crate) fn short(
        &self,
        request: &Request,
        choice: usize,
        stops: StopStrings,
        thinking: Option<&Arc<Thinking>>,
        n_judged: u32,
    ) -> Answer {
        let nowhere: Sink = Box::new(|_| true);
        let mut short = Answer::new(request, (choice, nowhere), stops, thinking, self.arrived);
        short.outlet = Outlet::Held(Vec::new());
        short.confidence = Some(Confidence::new(n_judged));
        short.started = self.started;
        short.usage.cached_tokens = self.usage.cached_tokens;
        short
    }

    /// Whether what it tells is held back.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.outlet, Outlet::Held(_))
    }

    /// Tells what was held back to whom `of` told; false if nobody listens.
    pub(crate) fn release(&mut self, of: Answer) -> bool {
        self.watch = Watch::Nothing;
        let Outlet::Held(events) = std::mem::replace(&mut self.outlet, of.outlet) else {
            return true;
        };
        contain(|| events.into_iter().all(|event| self.outlet.tell(event))).unwrap_or(false)
    }

    /// How sure it is so far.
    pub(crate) fn sureness(&self, finished: bool) -> Option<ShortAnswer> {
        let confidence = self.confidence?;
        // What ended after the tokens that were weighed is not short.
        let finished = finished && confidence.n() as usize == self.usage.completion_tokens;
        Some(confidence.of_answer(finished))
    }

    /// Whether it has thought.
    pub(crate) fn has_thought(&self) -> bool {
        self.usage.thinking_tokens > 0
    }

    /// Tokens of it that were guessed, and those that were right.
    pub(crate) fn guessed(&self) -> (usize, usize) {
        (self.usage.drafted_tokens, self.usage.accepted_tokens)
    }

    pub(crate) fn completion_tokens(&self) -> usize {
        self.usage.completion_tokens
    }

    pub(crate) fn thinking_tokens(&self) -> usize {
        self.usage.thinking_tokens
    }

    /// Tells of a trial; false if nobody listens.
    pub(crate) fn tell_trial(&mut self, trial: TrialAnswer) -> bool {
        contain(|| self.outlet.tell(Event::Trial(trial))).unwrap_or(false)
    }

    /// Ends the thinking of an answer that pauses. What must follow is held with the rest.
    pub(crate) fn conclude(&mut self, tokenizer: &Tokenizer) -> Next {
        let mut next = Next::GoesOn;
        if let Some(think) = &mut self.think {
            think.end(ThinkEnd::Agreed);
        }
        let mut held = std::mem::take(&mut self.held);
        while let (Next::GoesOn, Some(token)) =
            (&next, self.think.as_ref().and_then(ThinkState::forced))
        {
            next = self.take(tokenizer, token, (None, Vec::new(), None), &mut held);
        }
        self.held = held;
        next
    }
}
