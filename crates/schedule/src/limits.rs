//! What may not be exceeded, and the errors of asking for more.

use crate::Micros;

/// Bounds of a [`Scheduler`](crate::Scheduler) and its [`Cache`](crate::Cache). Built once, never
/// changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens that one step may compute, over all its rows. At least `sequences_max`, so that
    /// every answer can advance in every step.
    pub tokens_per_step: usize,
    /// Rows of logits that one step may want, over all its rows. At least `sequences_max`.
    pub logits_per_step: usize,
    /// Sequences that hold pages at the same time.
    pub sequences_max: usize,
    /// Pages of the KV pool.
    pub pages_max: usize,
    /// Positions in a page.
    pub page_len: usize,
    /// Tokens of the longest sequence, prompt and answer together.
    pub context_max: usize,
    /// Sequences that may wait for pages when one more is submitted.
    pub queue_max: usize,
    /// Tokens that may wait, over all waiting sequences. At least `context_max`, or some prompt
    /// that the context holds could never be accepted.
    pub queue_tokens_max: usize,
    /// Warm-ups that may wait for an idle moment.
    pub warm_max: usize,
    /// After how long a waiting [`Priority::High`](crate::Priority::High) sequence is overdue and
    /// goes before its class and client. Normal waits twice as long, Low four times.
    pub overdue_after: Micros,
    pub admission: Admission,
}

/// How many pages must be in sight before a waiting sequence starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Enough for the tokens that are known and one more: the pool runs full, and answers that
    /// outgrow it are preempted and computed again.
    Optimistic,
    /// Enough for the longest answer of everybody who runs: no preemption but under forks.
    WorstCase,
}

impl Limits {
    /// Tokens of the longest sequence that both the context and the pool can hold.
    pub fn longest(&self) -> usize {
        self.context_max.min(self.pages_max.saturating_mul(self.page_len))
    }

    /// # Errors
    /// [`Error::Limits`] if the limits contradict each other.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let rules = [
            (self.page_len > 0, "page_len must be at least 1"),
            (self.pages_max > 0, "pages_max must be at least 1"),
            (u32::try_from(self.pages_max).is_ok(), "pages_max must fit in 32 bits"),
            (self.sequences_max > 0, "sequences_max must be at least 1"),
            (self.context_max > 0, "context_max must be at least 1"),
            (self.queue_max > 0, "queue_max must be at least 1"),
            (
                self.tokens_per_step >= self.sequences_max,
                "tokens_per_step must be at least sequences_max",
            ),
            (
                self.logits_per_step >= self.sequences_max,
                "logits_per_step must be at least sequences_max",
            ),
            (
                self.queue_tokens_max >= self.context_max,
                "queue_tokens_max must be at least context_max",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some(&(_, rule)) => Err(Error::Limits { rule }),
            None => Ok(()),
        }
    }
}

/// Why a sequence or its tokens were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("limits contradict each other: {rule}")]
    Limits { rule: &'static str },
    #[error("a sequence needs at least one token")]
    Empty,
    #[error("{known} tokens do not fit in the {len_max} that this sequence may have")]
    TooLong { known: usize, len_max: usize },
    #[error("{len_max} tokens are more than the context of {context_max}")]
    ContextExceeded { len_max: usize, context_max: usize },
    #[error("{len_max} tokens need {pages} KV pages, the whole pool has {pages_max}")]
    PoolExceeded { len_max: usize, pages: usize, pages_max: usize },
    #[error("the queue is full: {queued} of {queue_max} sequences wait")]
    QueueFull { queued: usize, queue_max: usize },
    #[error("the queue is full: {queued_tokens} tokens wait, {tokens} more exceed {max}")]
    QueueTokensFull { queued_tokens: usize, tokens: usize, max: usize },
}
