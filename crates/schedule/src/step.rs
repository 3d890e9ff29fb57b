//! What a plan says and what its commit is told: plain data.

use crate::pages::PageId;
use crate::sequence::SequenceId;

/// A forward pass to be done. Do `copies` first, in order, then the rows in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub rows: Vec<Row>,
    /// Pages (from, to) whose contents must be copied before any row writes, one after another: a
    /// later copy may read or write what an earlier one wrote or read.
    pub copies: Vec<(PageId, PageId)>,
    /// Sequences that got their first or their new pages.
    pub admitted: Vec<SequenceId>,
    /// Sequences that lost their pages, and will be computed again from their known tokens.
    pub preempted: Vec<SequenceId>,
    /// Sequences whose time to start had passed: gone, without any compute.
    pub expired: Vec<SequenceId>,
    /// Warm-ups that are gone: their prefix is stored already, or others needed their pages.
    pub dropped: Vec<SequenceId>,
}

impl Step {
    pub fn n_tokens(&self) -> usize {
        self.rows.iter().map(|row| row.n_tokens).sum()
    }

    pub fn n_logits(&self) -> usize {
        self.rows.iter().map(|row| row.wants_logits).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.copies.clear();
        self.admitted.clear();
        self.preempted.clear();
        self.expired.clear();
        self.dropped.clear();
    }
}

/// One sequence's share of a step: its known tokens `from .. from + n_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub sequence: SequenceId,
    /// Tokens that are computed already: the position of the row's first token.
    pub from: usize,
    pub n_tokens: usize,
    /// Of how many of its last tokens the logits are wanted: 0 inside a prompt, 1 for an answer,
    /// 1 + drafts for a speculated one, more for log-probabilities of the prompt.
    pub wants_logits: usize,
}

/// What came out of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// How many of the last known tokens were drafts that the model refused: they are dropped.
    pub n_rejected: usize,
    /// Tokens that follow the known ones. Empty unless all known tokens are computed.
    pub appended: &'a [u32],
    /// Whether the sequence ends here. Its pages stay stored until evicted.
    pub finished: bool,
}

/// A sequence that ended in a commit, and is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub sequence: SequenceId,
    pub reason: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its outcome said so.
    Finished,
    /// It reached its `len_max`.
    Length,
    /// A warm-up that stored its whole prefix.
    Warmed,
}
