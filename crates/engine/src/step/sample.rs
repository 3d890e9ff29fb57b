//! Each answer chooses its next tokens by the logits of a step. One that panics fails alone.

use simd::Best;

use super::Core;
use super::choices::Born;
use crate::answer::Answer;
use crate::auto::Stage;
use crate::chooser::{Chooser, Next};
use crate::contain::contain;
use crate::sampler::Scratch;

impl Core {
    /// Lets each answer whose logits are there choose its next tokens.
    pub(super) fn sample(&mut self, now: schedule::Micros) {
        self.appended.clear();
        self.ends.clear();
        self.rejected.clear();
        let mut chooser = Chooser {
            tokenizer: &self.tokenizer,
            scratch: &mut self.scratch,
            now,
            as_drawn: self.as_drawn,
            routes: &[],
            appended: &mut self.appended,
        };
        let vocab = self.decoder.spec().vocab;
        let mut logits = self.decoder.last_logits();
        let mut routes = self.decoder.last_routes();
        for row in &self.step.rows {
            let (of_row, later) = routes.split_at(row.n_tokens);
            routes = later;
            chooser.routes = &of_row[row.n_tokens - row.wants_logits..];
            let (own, rest) = logits.split_at(row.wants_logits * vocab);
            logits = rest;
            let mut n_rejected = 0;
            let mut next = Next::GoesOn;
            let before = chooser.appended.len();
            if row.wants_logits == 0 {
                // Its prompt goes on.
            } else if let Some(trial) = self.trials.get_mut(&row.sequence) {
                next = alone(&mut chooser, |chooser| trial.advance(chooser, own));
            } else if let Some(course) = self.courses.get_mut(&row.sequence)
                && let (Stage::Walk, Some(thinking)) = (course.stage, &self.thinking)
            {
                next = alone(&mut chooser, |chooser| course.walk(chooser, thinking, own));
            } else if let Some(answer) = self.answers.get_mut(&row.sequence) {
                let sequence = self.scheduler.sequence(row.sequence);
                let known = sequence.expect("a row has a sequence").known();
                let from = row.from + row.n_tokens - row.wants_logits + 1;
                let before = answer.guessed();
                next = alone(&mut chooser, |chooser| {
                    let next;
                    (n_rejected, next) =
                        answer.advance(chooser, own.chunks_exact(vocab), (known, from));
                    next
                });
                let after = answer.guessed();
                self.meter.spent.guesses.note(after.0 - before.0, after.1 - before.1);
                if from + row.wants_logits > known.len()
                    && let Some(unborn) = self.unborn.remove(&row.sequence)
                {
                    let last = &own[own.len() - vocab..];
                    // Each chooses its own first token by the same logits.
                    for mut answer in unborn.choices {
                        let (first, next) = first(&mut chooser, &mut answer, last, known);
                        let (id, parent) = (unborn.id, row.sequence);
                        self.born.push(Born { id, parent, answer, first, next });
                    }
                }
            }
            let is_held = || self.answers.get(&row.sequence).is_some_and(Answer::is_held);
            match next {
                Next::GoesOn => {}
                Next::Pauses => self.paused.push((row.sequence, None)),
                Next::Ends(finish) if is_held() => {
                    chooser.appended.truncate(before);
                    self.paused.push((row.sequence, Some(finish)));
                }
                Next::Ends(finish) => self.ended.push((row.sequence, finish)),
            }
            self.rejected.push(n_rejected);
            self.ends.push(chooser.appended.len());
        }
    }
}

/// The first tokens of a further answer to the `known` prompt, whose last logits (V) these are.
fn first(
    chooser: &mut Chooser<'_>,
    answer: &mut Answer,
    logits: &[f32],
    known: &[u32],
) -> (Vec<u32>, Next) {
    let mut first = Vec::new();
    let mut chooser = Chooser { appended: &mut first, ..chooser.reborrow() };
    let next = alone(&mut chooser, |chooser| {
        answer.advance(chooser, std::iter::once(logits), (known, known.len())).1
    });
    (first, next)
}

/// What `choose` makes of an answer. Its panic leaves nothing behind for the next one.
fn alone(chooser: &mut Chooser<'_>, choose: impl FnOnce(&mut Chooser<'_>) -> Next) -> Next {
    let before = chooser.appended.len();
    contain(|| choose(chooser)).unwrap_or_else(|| {
        chooser.appended.truncate(before);
        *chooser.scratch = Scratch::new(Best::detect(), chooser.scratch.vocab());
        Next::panicked()
    })
}
