//! Several answers to one prompt: they share its pages, and each goes its own way from there.

use schedule::SequenceId;

use super::Core;
use crate::answer::Answer;
use crate::chooser::Next;
use crate::handle::RequestId;

/// A further answer whose first tokens are chosen.
pub(super) struct Born {
    pub(super) id: RequestId,
    pub(super) parent: SequenceId,
    pub(super) answer: Answer,
    pub(super) first: Vec<u32>,
    pub(super) next: Next,
}

/// The answers that will share a prompt with the one that computes it.
pub(super) struct Unborn {
    pub(super) id: RequestId,
    pub(super) choices: Vec<Answer>,
}

impl Core {
    /// Shares the pages of a computed prompt among its answers, and lets each begin.
    pub(super) fn give_birth(&mut self, parent: SequenceId, first: &[u32], finished: bool) {
        let born: Vec<Born> = self.born.extract_if(.., |born| born.parent == parent).collect();
        let children = self.scheduler.fork(parent, born.len(), &mut self.cache);
        for (child, born) in children.into_iter().zip(born) {
            self.answers.insert(child, born.answer);
            self.requests.entry(born.id).or_default().push(child);
            match born.next {
                Next::GoesOn | Next::Pauses => self.begin(child, &born.first),
                Next::Ends(finish) => {
                    self.scheduler.cancel(child, &mut self.cache);
                    self.end(child, &finish);
                }
            }
        }
        if finished {
            self.scheduler.cancel(parent, &mut self.cache);
        } else {
            self.begin(parent, first);
        }
    }

    pub(super) fn begin(&mut self, id: SequenceId, first: &[u32]) {
        self.scheduler.extend(id, first).expect("a first token fits, or the prompt was refused");
    }
}
