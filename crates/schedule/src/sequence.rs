//! A request's tokens: known, computed, and the pages that hold them.

use crate::Micros;
use crate::cache::Cache;
use crate::pages::PageId;

/// Never used twice, so that a late cancel cannot hit a stranger: hence 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Whom a sequence is computed for. Clients of a class share it by tokens, not by sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Its class: a higher one goes first, until a lower one is overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    pub const COUNT: usize = 3;
}

/// What [`Scheduler::submit`](crate::Scheduler::submit) is asked.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The prompt. At least one token.
    pub tokens: Vec<u32>,
    /// How long it may become: prompt and answer. At most [`Limits::longest`](crate::Limits).
    pub len_max: usize,
    /// The first position whose logits are wanted; `None` for the last of the prompt only.
    pub logits_from: Option<usize>,
    /// Prefixes are shared only under the same salt: a hash of model, numerics and, if clients
    /// must not see each other's timing, of the key.
    pub salt: u64,
    pub priority: Priority,
    pub client: ClientId,
    /// When it is too late to start.
    pub expires: Option<Micros>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for pages, in the queue.
    Queued,
    /// Holds pages.
    Running,
    /// Was idle, and lost its pages: comes back to the queue when it is given tokens.
    Parked,
    /// A warm-up, in the warm queue.
    Warm,
}

/// What the queue needs to know of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) id: SequenceId,
    pub(crate) priority: Priority,
    pub(crate) client: ClientId,
    /// When it is overdue. Within a class this is the order of arrival.
    pub(crate) due: Micros,
}

/// Who goes first, smallest first: the overdue by due time, then the classes by arrival.
pub(crate) type Rank = (u8, Micros, SequenceId);

impl Ticket {
    pub(crate) fn rank(&self, now: Micros) -> Rank {
        let class = if self.due <= now { 0 } else { 1 + self.priority as u8 };
        (class, self.due, self.id)
    }
}

/// Tokens, how many are computed, and where.
#[derive(Clone, Debug)]
pub struct Sequence {
    pub(crate) ticket: Ticket,
    pub(crate) known: Vec<u32>,
    pub(crate) computed: usize,
    pub(crate) pages: Vec<PageId>,
    /// Full pages at the head of `pages` that the tree stores.
    pub(crate) n_stored: usize,
    pub(crate) len_max: usize,
    pub(crate) logits_from: usize,
    pub(crate) salt: u64,
    pub(crate) expires: Option<Micros>,
    pub(crate) state: State,
    pub(crate) started: bool,
    /// Whether it caught up since it was admitted: it answers, its prompt is done.
    pub(crate) answering: bool,
    pub(crate) in_flight: bool,
    pub(crate) n_cached: usize,
}

impl Sequence {
    pub(crate) fn new(arrival: Arrival, ticket: Ticket, state: State) -> Sequence {
        Sequence {
            ticket,
            logits_from: arrival.logits_from.unwrap_or(arrival.tokens.len() - 1),
            known: arrival.tokens,
            computed: 0,
            pages: Vec::new(),
            n_stored: 0,
            len_max: arrival.len_max,
            salt: arrival.salt,
            expires: arrival.expires,
            state,
            started: false,
            answering: false,
            in_flight: false,
            n_cached: 0,
        }
    }

    /// Prompt, answer so far, and drafts.
    pub fn known(&self) -> &[u32] {
        &self.known
    }

    /// How many of the known tokens have keys and values in `pages`.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// The page table: position `p` lies in `pages()[p / P]`.
    pub fn pages(&self) -> &[PageId] {
        &self.pages
    }

    /// Tokens that the cache already held when it started.
    pub fn n_cached(&self) -> usize {
        self.n_cached
    }

    pub fn len_max(&self) -> usize {
        self.len_max
    }

    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Tokens to be computed before it has caught up.
    pub fn behind(&self) -> usize {
        self.known.len() - self.computed
    }

    /// Whether it waits for the engine to say how it goes on.
    pub(crate) fn is_idle(&self) -> bool {
        self.behind() == 0 || self.state == State::Parked
    }

    /// Of how many of the last tokens before `end` the logits are wanted, from `computed` on.
    pub(crate) fn wants_logits(&self, end: usize) -> usize {
        end.saturating_sub(self.logits_from.max(self.computed))
    }
}

impl Sequence {
    /// Drops the known tokens after `len`, and the pages of those that were computed.
    pub(crate) fn truncate(&mut self, len: usize, cache: &mut Cache) {
        self.known.truncate(len);
        self.computed = self.computed.min(len);
        self.logits_from = self.logits_from.min(len);
        self.n_stored = self.n_stored.min(self.computed / cache.page_len());
        cache.truncate(&mut self.pages, self.computed);
    }

    /// Stores the pages that were filled since the last time.
    pub(crate) fn store(&mut self, cache: &mut Cache) {
        let n_full = self.computed / cache.page_len();
        if n_full > self.n_stored {
            cache.commit(self.salt, &self.known[..self.computed], &mut self.pages);
            self.n_stored = n_full;
        }
    }

    /// Takes the longest stored prefix, as far as no wanted logits lie in it; all but the last
    /// token at most.
    pub(crate) fn find_prefix(&mut self, cache: &mut Cache) {
        let page_len = cache.page_len();
        let limit = match self.state {
            State::Warm => self.known.len(),
            _ => self.logits_from.min(self.known.len() - 1),
        };
        let whole = (limit.div_ceil(page_len) * page_len).min(self.known.len());
        cache.match_prefix(self.salt, &self.known[..whole], &mut self.pages);
        self.computed = limit.min(self.pages.len() * page_len);
        self.n_stored = self.computed / page_len;
    }

    /// Lets go of all pages: what was computed counts no more.
    pub(crate) fn reset(&mut self, cache: &mut Cache) {
        cache.release(&mut self.pages);
        self.computed = 0;
        self.n_stored = 0;
        self.answering = false;
    }
}
