//! What answers are told beside their tokens: that they begin, and that they end.

use schedule::{Micros, SequenceId};

use super::Core;
use crate::contain::contain;
use crate::request::Finish;

impl Core {
    pub(super) fn tell_started_and_expired(&mut self, now: Micros) {
        for id in std::mem::take(&mut self.step.expired) {
            self.end(id, &Finish::Expired);
        }
        for id in &self.step.admitted {
            let n_cached = self.scheduler.sequence(*id).map_or(0, schedule::Sequence::n_cached);
            if let Some(answer) = self.answers.get_mut(id) {
                // Who does not listen is noticed at the first token.
                let _ = contain(|| answer.start(n_cached, now));
            }
        }
    }

    pub(super) fn end(&mut self, id: SequenceId, finish: &Finish) {
        self.guesses.remove(&id);
        if self.end_fork(id, finish) {
            return;
        }
        self.end_course(id, finish);
        if let Some(answer) = self.answers.remove(&id) {
            answer.finish(finish.clone());
        }
        for answer in self.unborn.remove(&id).into_iter().flat_map(|unborn| unborn.choices) {
            answer.finish(finish.clone());
        }
        self.requests.retain(|_, sequences| {
            sequences.retain(|sequence| *sequence != id);
            !sequences.is_empty()
        });
    }
}
