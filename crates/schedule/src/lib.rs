//! Who advances next, and by how many tokens; KV pages and the prefix tree, as integers.
//!
//! Not here: tensors, sampling, text, clocks, threads. A [`Scheduler`] decides, a [`Cache`] counts
//! pages, and both return plain data that an engine or a simulator carries out:
//!
//! ```text
//! submit ─► plan ─► Step { copies, rows, … } ─► forward, sample ─► commit ─► Ended
//!             ▲                                                       │
//!             └───────────────────────────────────────────────────────┘
//! ```
//!
//! Start at [`Scheduler::plan`], then read `policy.rs` and `cache.rs`.
//!
//! Invariants, which [`Scheduler::check`] verifies:
//! - `computed <= known`, and a running sequence holds exactly the pages of its computed tokens,
//!   and between plan and commit those of its row;
//! - a page is free, or held as often as tables and the prefix tree name it;
//! - a page that a row writes is named once: nobody reads it but its writer;
//! - every full page of a running sequence is stored in the prefix tree.
//!
//! Nothing deadlocks: the first in rank can take pages from everybody who has no row, and alone it
//! fits, or it was refused. Nothing starves: after [`Limits::overdue_after`] rank is by due time,
//! so everybody is first some day. The simulation in `tests/` checks both.

#![forbid(unsafe_code)]

mod cache;
mod control;
mod evict;
mod limits;
mod pages;
mod policy;
mod prefix;
mod queue;
mod sequence;
mod step;

pub use cache::Cache;
pub use limits::{Admission, Error, Limits};
pub use pages::PageId;
pub use sequence::{Arrival, ClientId, Priority, Sequence, SequenceId};
pub use step::{End, Ended, Outcome, Row, Step};

use policy::Budget;
use queue::Queue;
use sequence::{Rank, State, Ticket};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Microseconds on the caller's clock, which never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

/// All sequences, and the order in which they advance.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    sequences: BTreeMap<SequenceId, Sequence>,
    next_id: u64,
    queue: Queue,
    /// Known tokens of the sequences in `queue`.
    n_queued_tokens: usize,
    /// Sequences that never started and may expire, by when.
    expirations: BTreeSet<(Micros, SequenceId)>,
    /// Sequences that hold pages; in order of rank from the start of a plan on.
    running: Vec<Rank>,
    /// Prefixes to be computed when there is nothing else to do.
    warm: VecDeque<SequenceId>,
    /// Whether a step was planned and not committed yet.
    in_flight: bool,
    /// Sequences of one pass of a plan; kept to reuse its memory.
    pass: Vec<Rank>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    n_lookup_tokens: u64,
    n_hit_tokens: u64,
    n_preemptions: u64,
    n_expired: u64,
}

/// Where the scheduler and its cache stand: gauges of now, and counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    pub n_queued: usize,
    pub n_queued_tokens: usize,
    pub n_running: usize,
    pub n_warming: usize,
    /// Pages that sequences hold; `used + cached + free` is the pool.
    pub n_pages_used: usize,
    /// Pages stored for later, held by no sequence.
    pub n_pages_cached: usize,
    pub n_pages_free: usize,
    /// Tokens that were looked up in the prefix tree at the start of a sequence.
    pub n_lookup_tokens: u64,
    /// Of them, those that needed no compute.
    pub n_hit_tokens: u64,
    pub n_preemptions: u64,
    pub n_evicted_pages: u64,
    pub n_expired: u64,
}

impl Scheduler {
    /// # Errors
    /// [`Error::Limits`] if the limits contradict each other.
    pub fn new(limits: Limits) -> Result<Scheduler, Error> {
        limits.validate()?;
        Ok(Scheduler {
            limits,
            sequences: BTreeMap::new(),
            next_id: 0,
            queue: Queue::default(),
            n_queued_tokens: 0,
            expirations: BTreeSet::new(),
            running: Vec::new(),
            warm: VecDeque::new(),
            in_flight: false,
            pass: Vec::new(),
            counts: Counts::default(),
        })
    }

    /// The empty pool that goes with the limits.
    pub fn new_cache(&self) -> Cache {
        Cache::new(self.limits.pages_max, self.limits.page_len)
    }

    /// Takes a sequence into the queue.
    ///
    /// # Errors
    /// If it is empty, could not be computed even alone, or the queue is full; the error has the
    /// numbers. What is accepted will be computed to its end.
    pub fn submit(&mut self, arrival: Arrival, now: Micros) -> Result<SequenceId, Error> {
        self.admissible(&arrival)?;
        let ticket = Ticket {
            id: self.take_id(),
            priority: arrival.priority,
            client: arrival.client,
            due: Micros(now.0.saturating_add(
                self.limits.overdue_after.0.saturating_mul(1 << arrival.priority as u64),
            )),
        };
        if let Some(expires) = arrival.expires {
            self.expirations.insert((expires, ticket.id));
        }
        self.queue.join(ticket.client);
        self.queue.push(ticket);
        self.n_queued_tokens += arrival.tokens.len();
        self.sequences.insert(ticket.id, Sequence::new(arrival, ticket, State::Queued));
        Ok(ticket.id)
    }

    /// Chooses the next step, in place of what `step` held.
    ///
    /// There is no prefill phase and no decode phase. A sequence is behind by `known - computed`
    /// tokens, and a step lets sequences catch up within a budget: a long prompt in several steps,
    /// a running answer by one token, a prefix found in the cache by nothing at all.
    ///
    /// A step with rows must be committed before the next is planned.
    pub fn plan(&mut self, cache: &mut Cache, now: Micros, step: &mut Step) {
        assert!(!self.in_flight, "the last step was not committed");
        assert_eq!(cache.page_len(), self.limits.page_len, "the cache has other pages");
        assert_eq!(cache.n_pages(), self.limits.pages_max, "the cache has other pages");
        step.clear();
        let Limits { tokens_per_step, logits_per_step, .. } = self.limits;
        let mut budget = Budget { tokens: tokens_per_step, logits: logits_per_step };
        self.expire(now, cache, step);
        self.rank_running(now);
        self.advance_running(cache, &mut budget, step);
        self.admit_waiting(cache, now, &mut budget, step);
        if step.rows.is_empty() && self.queue.len() == 0 {
            self.advance_warm(cache, budget.tokens, step);
        }
        self.in_flight = !step.rows.is_empty();
    }

    /// Takes in what came out of a step, one outcome a row; the sequences that ended by it.
    ///
    /// Rows whose sequence was cancelled since the plan are skipped.
    pub fn commit(
        &mut self,
        step: &Step,
        outcomes: &[Outcome<'_>],
        cache: &mut Cache,
    ) -> Vec<Ended> {
        assert_eq!(step.rows.len(), outcomes.len(), "rows and outcomes differ in number");
        self.in_flight = false;
        let mut ended = Vec::new();
        for (row, outcome) in step.rows.iter().zip(outcomes) {
            let Some(sequence) = self.sequences.get_mut(&row.sequence) else { continue };
            if let Some(reason) = commit_row(sequence, row, outcome, cache) {
                self.remove(row.sequence, cache);
                ended.push(Ended { sequence: row.sequence, reason });
            }
        }
        if cfg!(debug_assertions) {
            self.check(cache);
        }
        ended
    }

    /// Forgets a sequence, wherever it is, and frees its pages at once; stored ones stay stored.
    /// Between plan and commit too: nothing takes pages before the next plan. False if it is gone
    /// already.
    pub fn cancel(&mut self, id: SequenceId, cache: &mut Cache) -> bool {
        self.sequences.contains_key(&id) && {
            self.remove(id, cache);
            true
        }
    }

    /// `None` once it ended, expired, was dropped or cancelled.
    pub fn sequence(&self, id: SequenceId) -> Option<&Sequence> {
        self.sequences.get(&id)
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether nothing is left to do: no sequence and no warm-up.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub fn statistics(&self, cache: &Cache) -> Statistics {
        Statistics {
            n_queued: self.queue.len(),
            n_queued_tokens: self.n_queued_tokens,
            n_running: self.running.len(),
            n_warming: self.warm.len(),
            n_pages_used: cache.n_pages() - cache.n_available(),
            n_pages_cached: cache.n_cached(),
            n_pages_free: cache.n_free(),
            n_lookup_tokens: self.counts.n_lookup_tokens,
            n_hit_tokens: self.counts.n_hit_tokens,
            n_preemptions: self.counts.n_preemptions,
            n_evicted_pages: cache.n_evicted(),
            n_expired: self.counts.n_expired,
        }
    }

    /// Panics if an invariant of this crate does not hold. Looks at every sequence and page.
    pub fn check(&self, cache: &Cache) {
        cache.check(self.sequences.values().map(Sequence::pages));
        let page_len = self.limits.page_len;
        let (mut n_queued, mut n_queued_tokens) = (0, 0);
        for (id, sequence) in &self.sequences {
            let Sequence { known, computed, pages, state, .. } = sequence;
            assert!(*computed <= known.len(), "{id:?} computed more than it knows");
            assert!(known.len() <= sequence.len_max, "{id:?} outgrew its length");
            let listed = self.running.iter().filter(|rank| rank.2 == *id).count();
            assert_eq!(listed, usize::from(*state == State::Running), "{id:?} is listed wrongly");
            if !sequence.in_flight {
                assert_eq!(pages.len(), computed.div_ceil(page_len), "{id:?} holds other pages");
                assert_eq!(sequence.n_stored, computed / page_len, "{id:?} is not stored");
            } else if let Some(written) = pages.get(computed / page_len..) {
                let private = written.iter().all(|&page| cache.is_private(page));
                assert!(private, "{id:?} writes a page that others read");
            }
            match state {
                State::Queued => {
                    (n_queued, n_queued_tokens) = (n_queued + 1, n_queued_tokens + known.len());
                    assert!(pages.is_empty(), "{id:?} waits with pages");
                }
                State::Parked => assert!(pages.is_empty(), "{id:?} is parked with pages"),
                State::Warm => assert!(self.warm.contains(id), "{id:?} is not listed"),
                State::Running => {}
            }
        }
        assert_eq!(n_queued, self.queue.len(), "the queue and the sequences disagree");
        assert_eq!(n_queued_tokens, self.n_queued_tokens, "queued tokens are miscounted");
        assert!(self.running.len() <= self.limits.sequences_max, "too many run");
        assert!(self.warm.len() <= self.limits.warm_max, "too many warm-ups");
    }

    fn admissible(&self, arrival: &Arrival) -> Result<(), Error> {
        let limits = &self.limits;
        let (tokens, len_max) = (arrival.tokens.len(), arrival.len_max);
        if tokens == 0 {
            return Err(Error::Empty);
        }
        if tokens > len_max {
            return Err(Error::TooLong { known: tokens, len_max });
        }
        if len_max > limits.context_max {
            return Err(Error::ContextExceeded { len_max, context_max: limits.context_max });
        }
        let (pages, pages_max) = (len_max.div_ceil(limits.page_len), limits.pages_max);
        if pages > pages_max {
            return Err(Error::PoolExceeded { len_max, pages, pages_max });
        }
        let (queued, queue_max) = (self.queue.len(), limits.queue_max);
        if queued >= queue_max {
            return Err(Error::QueueFull { queued, queue_max });
        }
        let (queued_tokens, max) = (self.n_queued_tokens, limits.queue_tokens_max);
        if queued_tokens + tokens > max {
            return Err(Error::QueueTokensFull { queued_tokens, tokens, max });
        }
        Ok(())
    }

    fn take_id(&mut self) -> SequenceId {
        self.next_id += 1;
        SequenceId(self.next_id)
    }

    fn get_mut(&mut self, id: SequenceId) -> &mut Sequence {
        self.sequences.get_mut(&id).expect("a listed sequence exists")
    }

    /// Takes a sequence out of every list, and lets go of its pages.
    fn remove(&mut self, id: SequenceId, cache: &mut Cache) -> Sequence {
        let mut sequence = self.sequences.remove(&id).expect("the sequence is not gone yet");
        match sequence.state {
            State::Queued => {
                self.queue.remove(sequence.ticket);
                self.n_queued_tokens -= sequence.known.len();
            }
            State::Running => self.running.retain(|rank| rank.2 != id),
            State::Warm => self.warm.retain(|warm| *warm != id),
            State::Parked => {}
        }
        if sequence.state != State::Warm {
            self.queue.leave(sequence.ticket.client);
        }
        if let Some(expires) = sequence.expires {
            self.expirations.remove(&(expires, id));
        }
        cache.release(&mut sequence.pages);
        sequence
    }
}

/// Moves one sequence by its row; why it ended, if it did.
fn commit_row(
    sequence: &mut Sequence,
    row: &Row,
    outcome: &Outcome<'_>,
    cache: &mut Cache,
) -> Option<End> {
    let id = row.sequence;
    assert!(sequence.in_flight, "{id:?} has no row to commit");
    sequence.in_flight = false;
    sequence.computed = row.from + row.n_tokens;
    sequence.logits_from = sequence.logits_from.max(sequence.computed);
    sequence.truncate(sequence.known.len() - outcome.n_rejected, cache);
    sequence.store(cache);
    let caught_up = sequence.behind() == 0;
    sequence.answering |= caught_up;
    if !outcome.appended.is_empty() {
        assert!(caught_up, "{id:?} was given tokens before it had caught up");
        let (known, room) = (sequence.known.len() + outcome.appended.len(), sequence.len_max);
        assert!(known <= room, "{id:?} was given {known} tokens, it may have {room}");
        sequence.known.extend_from_slice(outcome.appended);
        sequence.logits_from = known - 1;
    }
    if outcome.finished {
        return Some(End::Finished);
    }
    if sequence.state == State::Warm {
        return caught_up.then_some(End::Warmed);
    }
    (caught_up && sequence.known.len() == sequence.len_max).then_some(End::Length)
}
