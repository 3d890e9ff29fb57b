//! Budgets, admission and preemption: the parts of a plan.

use crate::cache::Cache;
use crate::limits::Admission;
use crate::sequence::{Rank, Sequence, SequenceId, State};
use crate::step::{Row, Step};
use crate::{Micros, Scheduler};

/// What a step may still hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) tokens: usize,
    /// Rows of logits.
    pub(crate) logits: usize,
}

impl Budget {
    /// How many of the tokens that a sequence is behind fit, if `others` need one each and of the
    /// logits `waiting` need a row each.
    fn fit(&self, sequence: &Sequence, others: usize, waiting: usize) -> usize {
        // Tokens before the first whose logits are wanted cost none.
        let free = sequence.logits_from.saturating_sub(sequence.computed);
        let n_logits = self.logits.saturating_sub(waiting);
        let n_tokens = self.tokens.saturating_sub(others);
        sequence.behind().min(n_tokens).min(free.saturating_add(n_logits))
    }

    fn spend(&mut self, row: &Row) {
        self.tokens -= row.n_tokens;
        self.logits -= row.wants_logits;
    }
}

impl Scheduler {
    /// Reports and forgets the sequences whose time to start has passed.
    pub(crate) fn expire(&mut self, now: Micros, cache: &mut Cache, step: &mut Step) {
        while let Some(&(expires, id)) = self.expirations.first()
            && expires <= now
        {
            self.remove(id, cache);
            self.counts.n_expired += 1;
            step.expired.push(id);
        }
    }

    pub(crate) fn rank_running(&mut self, now: Micros) {
        for rank in &mut self.running {
            *rank = self.sequences[&rank.2].ticket.rank(now);
        }
        self.running.sort_unstable();
    }

    /// Advances whoever holds pages, answers before prompts. Who lacks pages, and can take them
    /// from nobody, stays where it is.
    pub(crate) fn advance_running(
        &mut self,
        cache: &mut Cache,
        budget: &mut Budget,
        step: &mut Step,
    ) {
        let mut waiting = self.running.len();
        for answering in [true, false] {
            let mut pass = std::mem::take(&mut self.pass);
            pass.clear();
            pass.extend(self.running.iter().filter(|rank| {
                let sequence = &self.sequences[&rank.2];
                sequence.answering == answering && !sequence.is_idle()
            }));
            for (index, &rank) in pass.iter().enumerate() {
                let sequence = &self.sequences[&rank.2];
                if sequence.state != State::Running {
                    continue; // Preempted by one before it.
                }
                // Drafts and forced text leave one token for each answer to come.
                let others = if answering { pass.len() - index - 1 } else { 0 };
                // Each that runs may want the logits of one token.
                waiting = waiting.saturating_sub(1);
                let n_tokens = budget.fit(sequence, others, waiting);
                if n_tokens == 0 {
                    break;
                }
                if self.advance(rank, n_tokens, cache, step) {
                    budget.spend(step.rows.last().expect("who advances has a row"));
                }
            }
            self.pass = pass;
        }
    }

    /// Admits waiting sequences in their order. Whoever does not fit is not overtaken.
    pub(crate) fn admit_waiting(
        &mut self,
        cache: &mut Cache,
        now: Micros,
        budget: &mut Budget,
        step: &mut Step,
    ) {
        let mut promised = self.n_promised();
        while budget.tokens > 0
            && budget.logits > 0
            && let Some(id) = self.queue.next(now)
        {
            if self.admit(id, &mut promised, cache, *budget, step) {
                let row = step.rows.last().expect("an admitted sequence has a row");
                budget.spend(row);
                let ticket = self.sequences[&id].ticket;
                self.running.push(ticket.rank(now));
            } else if self.drop_warm(cache, step)
                || (step.rows.is_empty() && self.park_idle(cache, step))
            {
                promised = self.n_promised();
            } else {
                break;
            }
        }
    }

    /// Computes a prefix that somebody may ask for later, since nothing else is to be done.
    pub(crate) fn advance_warm(&mut self, cache: &mut Cache, budget: usize, step: &mut Step) {
        while let Some(&id) = self.warm.front() {
            let sequence = self.sequences.get_mut(&id).expect("a listed sequence exists");
            if sequence.pages.is_empty() {
                sequence.find_prefix(cache);
            }
            let n_tokens = sequence.behind().min(budget);
            let span = sequence.computed..sequence.computed + n_tokens;
            if n_tokens > 0 && cache.reserve(&mut sequence.pages, span, &mut step.copies) {
                step.rows.push(row_of(sequence, n_tokens));
                return;
            }
            self.remove(id, cache);
            step.dropped.push(id);
        }
    }

    /// Plans a row for a running sequence, taking pages from others if it must.
    fn advance(&mut self, rank: Rank, n_tokens: usize, cache: &mut Cache, step: &mut Step) -> bool {
        loop {
            let sequence = self.get_mut(rank.2);
            let span = sequence.computed..sequence.computed + n_tokens;
            if cache.reserve(&mut sequence.pages, span, &mut step.copies) {
                step.rows.push(row_of(sequence, n_tokens));
                let client = sequence.ticket.client;
                self.queue.charge(client, n_tokens);
                return true;
            }
            let room = self.drop_warm(cache, step)
                || self.preempt_after(rank, cache, step)
                || self.park_idle(cache, step);
            if !room {
                return false;
            }
        }
    }

    /// Gives a waiting sequence its first pages and a row, if there is room for it.
    ///
    /// `promised` are the pages that those who run will still ask for, and so what the ones that
    /// stay where they are lack: nobody is admitted past them.
    fn admit(
        &mut self,
        id: SequenceId,
        promised: &mut usize,
        cache: &mut Cache,
        budget: Budget,
        step: &mut Step,
    ) -> bool {
        if self.running.len() >= self.limits.sequences_max {
            return false;
        }
        let sequence = self.sequences.get_mut(&id).expect("a queued sequence exists");
        sequence.find_prefix(cache);
        let needed = n_claimed(sequence, &self.limits).saturating_sub(sequence.pages.len());
        let n_tokens = budget.fit(sequence, 0, 0);
        let span = sequence.computed..sequence.computed + n_tokens;
        if cache.n_available() < *promised + needed
            || !cache.reserve(&mut sequence.pages, span, &mut step.copies)
        {
            sequence.reset(cache);
            return false;
        }
        if !sequence.started {
            sequence.started = true;
            sequence.n_cached = sequence.computed;
            self.counts.n_lookup_tokens += sequence.known.len() as u64;
            self.counts.n_hit_tokens += sequence.computed as u64;
            if let Some(expires) = sequence.expires {
                self.expirations.remove(&(expires, id));
            }
        }
        *promised += n_claimed(sequence, &self.limits).saturating_sub(sequence.pages.len());
        self.n_queued_tokens -= sequence.known.len();
        sequence.state = State::Running;
        step.rows.push(row_of(sequence, n_tokens));
        step.admitted.push(id);
        let ticket = sequence.ticket;
        self.queue.admit(ticket);
        self.queue.charge(ticket.client, n_tokens);
        true
    }

    /// Pages that the running sequences have not got yet, and were admitted for.
    fn n_promised(&self) -> usize {
        let missing = |rank: &Rank| {
            let sequence = &self.sequences[&rank.2];
            n_claimed(sequence, &self.limits).saturating_sub(sequence.pages.len())
        };
        self.running.iter().map(missing).sum()
    }

    /// Drops the warm-up that holds pages, if there is one.
    fn drop_warm(&mut self, cache: &mut Cache, step: &mut Step) -> bool {
        let Some(&id) = self.warm.front() else { return false };
        if self.sequences[&id].pages.is_empty() {
            return false;
        }
        self.remove(id, cache);
        step.dropped.push(id);
        true
    }

    /// Preempts the last in rank of those after `rank` that have no row in this step.
    fn preempt_after(&mut self, rank: Rank, cache: &mut Cache, step: &mut Step) -> bool {
        let is_victim = |other: &Rank| *other > rank && !self.sequences[&other.2].in_flight;
        let victim = self.running.iter().rposition(is_victim);
        victim.is_some_and(|index| {
            self.preempt(index, cache, step);
            true
        })
    }

    /// Preempts the last in rank of those that wait for the engine, whatever their rank: what they
    /// wait for may be the one that needs the pages.
    fn park_idle(&mut self, cache: &mut Cache, step: &mut Step) -> bool {
        let is_victim = |other: &Rank| {
            let sequence = &self.sequences[&other.2];
            sequence.is_idle() && !sequence.in_flight
        };
        let victim = self.running.iter().rposition(is_victim);
        victim.is_some_and(|index| {
            self.preempt(index, cache, step);
            true
        })
    }

    fn preempt(&mut self, index: usize, cache: &mut Cache, step: &mut Step) {
        let id = self.running.remove(index).2;
        let sequence = self.get_mut(id);
        let idle = sequence.is_idle();
        sequence.reset(cache);
        sequence.state = State::Parked;
        self.counts.n_preemptions += 1;
        step.preempted.push(id);
        if !idle {
            self.requeue(id);
        }
    }

    /// Puts a parked sequence at the head of its class.
    pub(crate) fn requeue(&mut self, id: SequenceId) {
        let sequence = self.get_mut(id);
        sequence.state = State::Queued;
        let (ticket, n_tokens) = (sequence.ticket, sequence.known.len());
        self.n_queued_tokens += n_tokens;
        self.queue.push_returned(ticket);
    }
}

fn row_of(sequence: &mut Sequence, n_tokens: usize) -> Row {
    sequence.in_flight = true;
    Row {
        sequence: sequence.ticket.id,
        from: sequence.computed,
        n_tokens,
        wants_logits: sequence.wants_logits(sequence.computed + n_tokens),
    }
}

/// The pages that must be in sight for a sequence to run.
fn n_claimed(sequence: &Sequence, limits: &crate::Limits) -> usize {
    let len = match limits.admission {
        Admission::Optimistic => sequence.len_max.min(sequence.known.len() + 1),
        Admission::WorstCase => sequence.len_max,
    };
    len.div_ceil(limits.page_len)
}
