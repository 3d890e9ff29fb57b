//! The paged KV cache as integers: match_prefix, reserve, commit, release, check.
//!
//! A *table* is the list of pages that hold a sequence, in order: position `p` lies in page
//! `table[p / P]`. It belongs to the sequence and grows only at its end. A page that others hold
//! too is never written: [`Cache::reserve`] makes the page of the first new position private.

use crate::evict::evict;
use crate::pages::{PageId, Pages};
use crate::prefix::PrefixTree;
use std::ops::Range;

/// Which page holds what, for how many. Contents are somebody else's.
#[derive(Debug)]
pub struct Cache {
    page_len: usize,
    pages: Pages,
    tree: PrefixTree,
    /// Pages that only the tree holds: what eviction can free.
    n_idle: usize,
    /// Counts operations, to order uses. Not a time.
    clock: u64,
    n_evicted: u64,
    /// Pages that a walk found; kept to reuse its memory.
    found: Vec<PageId>,
}

impl Cache {
    /// A pool of `pages_max` pages of `page_len` positions, all free.
    pub fn new(pages_max: usize, page_len: usize) -> Cache {
        assert!(page_len > 0, "a page needs at least one position");
        Cache {
            page_len,
            pages: Pages::new(pages_max),
            tree: PrefixTree::new(page_len, pages_max),
            n_idle: 0,
            clock: 0,
            n_evicted: 0,
            found: Vec::new(),
        }
    }

    /// Fills an empty `table` with the pages that store the longest prefix of `tokens` under
    /// `salt`, whole pages only, and holds them.
    pub fn match_prefix(&mut self, salt: u64, tokens: &[u32], table: &mut Vec<PageId>) {
        assert!(table.is_empty(), "a table of {} pages cannot be matched anew", table.len());
        self.clock += 1;
        self.tree.find(salt, tokens, table);
        for &page in table.iter() {
            self.hold(page);
            self.tree.touch(page, self.clock);
        }
    }

    /// Grows `table` to hold the positions of `span`, whose start follows what it holds, and makes
    /// the page of the first of them private. Evicts stored pages if it must.
    ///
    /// Appends to `copies` the pages (from, to) whose contents must be copied, in this order,
    /// before the step writes. False, with nothing changed, if the pages are not to be had.
    #[must_use = "without its pages a row cannot be computed"]
    pub fn reserve(
        &mut self,
        table: &mut Vec<PageId>,
        span: Range<usize>,
        copies: &mut Vec<(PageId, PageId)>,
    ) -> bool {
        let first = span.start / self.page_len;
        assert!(first <= table.len(), "position {} leaves a gap", span.start);
        let n_new = span.end.div_ceil(self.page_len).saturating_sub(table.len());
        if self.n_available() < n_new {
            return false;
        }
        if let Some(&shared) = table.get(first)
            && self.pages.count(shared) > 1
            && !self.detach(shared)
        {
            if self.n_available() > n_new {
                let private = self.take();
                copies.push((shared, private));
                table[first] = private;
                self.let_go(shared);
            } else if self.tree.stores(shared) && self.pages.count(shared) == 2 {
                // Only the tree shares it, and whatever is stored after it is idle.
                self.evict(self.n_idle);
                assert!(self.detach(shared), "a page after {shared:?} is held without it");
            } else {
                return false;
            }
        }
        for _ in 0..n_new {
            let page = self.take();
            table.push(page);
        }
        true
    }

    /// Stores the full pages of `tokens`, which the first pages of `table` hold, computed.
    ///
    /// A page whose tokens are stored already is exchanged for the stored one: it holds the same
    /// bits. Afterwards the tree stores every full page.
    pub fn commit(&mut self, salt: u64, tokens: &[u32], table: &mut [PageId]) {
        let n_full = tokens.len() / self.page_len;
        let (tokens, table) = (&tokens[..n_full * self.page_len], &mut table[..n_full]);
        self.clock += 1;
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        let place = self.tree.find(salt, tokens, &mut found);
        for (own, &stored) in table.iter_mut().zip(&found).filter(|(own, stored)| own != stored) {
            self.hold(stored);
            self.let_go(*own);
            *own = stored;
        }
        let n_found = found.len();
        self.found = found;
        if n_found < n_full {
            let run = &table[n_found..];
            for &page in run {
                assert!(!self.tree.stores(page), "{page:?} is stored under other tokens");
                self.pages.hold(page);
            }
            let tokens = &tokens[n_found * self.page_len..];
            self.tree.attach(salt, place, tokens, run, &self.pages);
        }
        if let Some(&last) = table.last() {
            self.tree.touch(last, self.clock);
        }
    }

    /// Lets go of a whole table. What is stored stays until evicted, the rest is free at once.
    pub fn release(&mut self, table: &mut Vec<PageId>) {
        self.truncate(table, 0);
    }

    /// Lets go of the pages after position `len`.
    pub fn truncate(&mut self, table: &mut Vec<PageId>, len: usize) {
        self.clock += 1;
        // From the tail: a page is never held without the ones before it.
        while table.len() > len.div_ceil(self.page_len) {
            let page = table.pop().expect("the table is longer than asked");
            self.tree.touch(page, self.clock);
            self.let_go(page);
        }
    }

    /// A second table over the same pages.
    pub fn fork(&mut self, table: &[PageId]) -> Vec<PageId> {
        for &page in table {
            self.hold(page);
        }
        table.to_vec()
    }

    /// Frees the stored pages of `tokens` that lie after position `len`, as far as nobody holds
    /// them and nothing else is stored after them.
    pub fn forget(&mut self, salt: u64, tokens: &[u32], len: usize) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.tree.find(salt, tokens, &mut found);
        let kept = len.div_ceil(self.page_len).min(found.len());
        for &page in found[kept..].iter().rev() {
            if self.pages.count(page) > 1 || !self.tree.is_end(page) {
                break;
            }
            self.tree.detach(page, &self.pages);
            self.pages.let_go(page);
            self.n_idle -= 1;
        }
        self.found = found;
    }

    /// Pages that a call of `reserve` can get: the free ones and those that can be evicted.
    pub fn n_available(&self) -> usize {
        self.pages.n_free() + self.n_idle
    }

    pub fn n_pages(&self) -> usize {
        self.pages.n_pages()
    }

    pub fn n_free(&self) -> usize {
        self.pages.n_free()
    }

    /// Pages that are stored for later and held by no table.
    pub fn n_cached(&self) -> usize {
        self.n_idle
    }

    /// Pages evicted so far.
    pub fn n_evicted(&self) -> u64 {
        self.n_evicted
    }

    pub fn page_len(&self) -> usize {
        self.page_len
    }

    /// Whether a single table, and not the tree, holds this page: only then may it be written.
    pub fn is_private(&self, page: PageId) -> bool {
        self.pages.count(page) == 1 && !self.tree.stores(page)
    }

    /// Panics unless the counts add up over `tables` and the tree, nothing leaks, and the tree is
    /// consistent. For tests and debug builds: it looks at every page.
    pub fn check<'a>(&self, tables: impl Iterator<Item = &'a [PageId]>) {
        let mut expected = vec![0; self.pages.n_pages()];
        for page in tables.flatten() {
            expected[page.index()] += 1;
        }
        let mut n_idle = 0;
        self.tree.check(&self.pages, |page| {
            expected[page.index()] += 1;
            n_idle += usize::from(expected[page.index()] == 1);
        });
        self.pages.check(&expected);
        assert_eq!(self.n_idle, n_idle, "the idle pages are miscounted");
    }

    /// A private page; the caller has seen that one is available.
    fn take(&mut self) -> PageId {
        if self.pages.n_free() == 0 {
            self.evict(1);
        }
        self.pages.take().expect("an available page is free or idle")
    }

    fn evict(&mut self, n: usize) {
        let evicted = evict(&mut self.tree, &mut self.pages, n);
        self.n_idle -= evicted;
        self.n_evicted += evicted as u64;
    }

    /// Takes a page that one table and the tree hold out of the tree, if it is at an end there.
    ///
    /// Cheaper than a copy, and it will be stored again when it is full again.
    fn detach(&mut self, page: PageId) -> bool {
        if self.pages.count(page) != 2 || !self.tree.is_end(page) {
            return false;
        }
        self.tree.detach(page, &self.pages);
        self.pages.let_go(page);
        true
    }

    fn hold(&mut self, page: PageId) {
        if self.pages.hold(page) == 2 && self.tree.stores(page) {
            self.n_idle -= 1;
            self.tree.recount(page, &self.pages);
        }
    }

    fn let_go(&mut self, page: PageId) {
        if self.pages.let_go(page) == 1 && self.tree.stores(page) {
            self.n_idle += 1;
            self.tree.recount(page, &self.pages);
        }
    }
}
