//! A KV pool that remembers, for each slot, the whole prefix that it was computed from.

use ruminate_schedule::{Cache, PageId, Row, Scheduler, Step};
use std::collections::BTreeSet;

pub(crate) struct Kv {
    page_len: usize,
    /// Digest of salt and tokens up to and with this position. (pages_max, P), flat
    slots: Vec<u64>,
}

/// A sequence's row, and what its tokens are.
pub(crate) struct Written<'a> {
    pub(crate) row: &'a Row,
    pub(crate) pages: &'a [PageId],
    pub(crate) salt: u64,
    pub(crate) known: &'a [u32],
}

impl Kv {
    pub(crate) fn new(scheduler: &Scheduler) -> Kv {
        let limits = scheduler.limits();
        Kv { page_len: limits.page_len, slots: vec![0; limits.pages_max * limits.page_len] }
    }

    /// Copies, then writes every row; before and after, everything that a row reads is what its
    /// own tokens say. Rows run at once in a real engine, so no two may write the same slot.
    pub(crate) fn run(&mut self, step: &Step, rows: &[Written<'_>]) {
        for &(from, to) in &step.copies {
            let source = from.index() * self.page_len;
            self.slots.copy_within(source..source + self.page_len, to.index() * self.page_len);
        }
        for written in rows {
            self.expect(written, written.row.from);
        }
        let mut slots = BTreeSet::new();
        for written in rows {
            let chain = chain(written.salt, written.known);
            for position in written.row.from..written.row.from + written.row.n_tokens {
                let slot = self.slot(written.pages, position);
                assert!(slots.insert(slot), "two rows write slot {slot}");
                self.slots[slot] = chain[position];
            }
        }
        for written in rows {
            self.expect(written, written.row.from + written.row.n_tokens);
        }
    }

    fn expect(&self, written: &Written<'_>, len: usize) {
        let Written { row, pages, salt, known } = written;
        for (position, digest) in chain(*salt, known)[..len].iter().enumerate() {
            let found = self.slots[self.slot(pages, position)];
            assert_eq!(found, *digest, "{:?} reads a stranger's position {position}", row.sequence);
        }
    }

    fn slot(&self, pages: &[PageId], position: usize) -> usize {
        pages[position / self.page_len].index() * self.page_len + position % self.page_len
    }
}

/// The digest of each prefix of `tokens`. (tokens)
pub(crate) fn chain(salt: u64, tokens: &[u32]) -> Vec<u64> {
    let mut digest = mix(salt ^ 0x5eed);
    let step = |token: &u32| {
        digest = mix(digest ^ (u64::from(*token) + 1));
        digest
    };
    tokens.iter().map(step).collect()
}

/// The token that the model chooses after a prefix, one of two.
pub(crate) fn next_token(salt: u64, tokens: &[u32]) -> u32 {
    (chain(salt, tokens).last().expect("a prefix has tokens") >> 40) as u32 & 1
}

/// One round of splitmix64.
pub(crate) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// No page outlives its sequences but those that are stored.
pub(crate) fn expect_all_free(cache: &Cache) {
    assert_eq!(cache.n_available(), cache.n_pages(), "a page leaked");
}
