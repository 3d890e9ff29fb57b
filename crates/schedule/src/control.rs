//! What a running sequence can be told besides its next token: fork, extend, propose, rewind,
//! retire; and prefixes that are computed ahead of their request.
//!
//! None of these may be called for a sequence with a row in flight: between plan and commit only
//! `submit`, `cancel` and `warm` make sense.

use crate::cache::Cache;
use crate::limits::Error;
use crate::sequence::{Arrival, ClientId, Priority, Sequence, SequenceId, State, Ticket};
use crate::{Micros, Scheduler};

impl Scheduler {
    /// Makes `n` sequences with the tokens of `parent`, sharing its pages: the answers of a request
    /// with n > 1, or trials that are dropped or kept.
    ///
    /// For n > 1 commit the prompt's last row with nothing appended, fork, then extend each by its
    /// own first token. Forks are exempt from the limits of the queue: bound `n` at the door. If
    /// `sequences_max` run already, a fork waits at the head of its class.
    pub fn fork(&mut self, parent: SequenceId, n: usize, cache: &mut Cache) -> Vec<SequenceId> {
        let ids: Vec<SequenceId> = (0..n).map(|_| self.take_id()).collect();
        for &id in &ids {
            let parent = self.settled(parent);
            let (state, idle) = (parent.state, parent.is_idle());
            assert!(state != State::Warm, "a warm-up cannot be forked");
            let mut child = parent.clone();
            child.ticket.id = id;
            child.state = State::Parked;
            child.pages = cache.fork(&child.pages);
            let unstarted = child.expires.filter(|_| !child.started);
            self.expirations.extend(unstarted.map(|expires| (expires, id)));
            self.queue.join(child.ticket.client);
            if state == State::Running && self.running.len() < self.limits.sequences_max {
                child.state = State::Running;
                self.running.push(child.ticket.rank(Micros(0)));
            } else {
                child.reset(cache);
            }
            let waits = child.state == State::Parked && !idle;
            self.sequences.insert(id, child);
            if waits {
                self.requeue(id);
            }
        }
        ids
    }

    /// Adds known tokens that the model did not choose: forced text, or the first token of a fork.
    /// Logits are wanted of the last only.
    ///
    /// # Errors
    /// [`Error::TooLong`], with nothing added.
    pub fn extend(&mut self, id: SequenceId, tokens: &[u32]) -> Result<(), Error> {
        self.grow(id, tokens)?;
        let sequence = self.get_mut(id);
        sequence.logits_from = sequence.known.len() - 1;
        Ok(())
    }

    /// Adds known tokens that a draft model guessed. Logits are wanted of all of them and of the
    /// token before; refuse with [`Outcome::n_rejected`](crate::Outcome::n_rejected).
    ///
    /// # Errors
    /// [`Error::TooLong`], with nothing added.
    pub fn propose(&mut self, id: SequenceId, drafts: &[u32]) -> Result<(), Error> {
        self.grow(id, drafts)
    }

    /// Forgets the known tokens after `known_len`, at least 1. A sequence that had computed more is
    /// idle then: extend it.
    pub fn rewind(&mut self, id: SequenceId, known_len: usize, cache: &mut Cache) {
        let sequence = self.settled_mut(id);
        let before = sequence.known.len();
        assert!((1..=before).contains(&known_len), "{known_len} of {before} tokens cannot be kept");
        sequence.truncate(known_len, cache);
        if sequence.state == State::Queued {
            self.n_queued_tokens -= before - known_len;
        }
    }

    /// Ends a sequence. Of its known tokens the first `n_reusable` may be asked for again; pages
    /// after them, thinking say, are freed at once unless others hold them.
    pub fn retire(&mut self, id: SequenceId, n_reusable: usize, cache: &mut Cache) -> Vec<u32> {
        self.settled(id);
        let sequence = self.remove(id, cache);
        cache.forget(sequence.salt, &sequence.known, n_reusable);
        sequence.known
    }

    /// Asks for a prefix to be stored when there is nothing else to do, such as prompt and answer
    /// without the thinking. Whole pages only. Its rows want no logits, and it is dropped as soon
    /// as somebody needs its pages.
    ///
    /// `None` if it has no whole page, could not be held, or too many wait.
    pub fn warm(&mut self, mut tokens: Vec<u32>, salt: u64) -> Option<SequenceId> {
        let n_pages = tokens.len() / self.limits.page_len;
        tokens.truncate(n_pages * self.limits.page_len);
        let len_max = tokens.len();
        if n_pages == 0
            || len_max > self.limits.longest()
            || self.warm.len() >= self.limits.warm_max
        {
            return None;
        }
        let id = self.take_id();
        let (priority, client) = (Priority::Low, ClientId::default());
        let ticket = Ticket { id, priority, client, due: Micros(u64::MAX) };
        let logits_from = Some(len_max);
        let arrival =
            Arrival { tokens, len_max, logits_from, salt, priority, client, expires: None };
        self.sequences.insert(id, Sequence::new(arrival, ticket, State::Warm));
        self.warm.push_back(id);
        Some(id)
    }

    fn grow(&mut self, id: SequenceId, tokens: &[u32]) -> Result<(), Error> {
        let sequence = self.settled_mut(id);
        assert!(sequence.state != State::Warm, "a warm-up cannot be extended");
        let (known, len_max) = (sequence.known.len() + tokens.len(), sequence.len_max);
        if known > len_max {
            return Err(Error::TooLong { known, len_max });
        }
        sequence.known.extend_from_slice(tokens);
        match sequence.state {
            State::Queued => self.n_queued_tokens += tokens.len(),
            State::Parked if !tokens.is_empty() => self.requeue(id),
            _ => {}
        }
        Ok(())
    }

    fn settled(&self, id: SequenceId) -> &Sequence {
        let sequence = self.sequences.get(&id).expect("the caller knows which sequences are gone");
        assert!(!sequence.in_flight, "{id:?} has a row in flight");
        sequence
    }

    fn settled_mut(&mut self, id: SequenceId) -> &mut Sequence {
        self.settled(id);
        self.get_mut(id)
    }
}
