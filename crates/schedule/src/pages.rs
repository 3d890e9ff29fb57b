//! The pages of the KV pool: a free list and a reference count each.

/// A run of `page_len` KV positions, by its index in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId(pub u32);

impl PageId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Every page is free (count 0) or held `count` times: once by each sequence whose table names
/// it, and once by the prefix tree if it stores it.
#[derive(Debug)]
pub(crate) struct Pages {
    /// (pages_max)
    counts: Vec<u32>,
    free: Vec<PageId>,
}

impl Pages {
    pub(crate) fn new(pages_max: usize) -> Pages {
        let last = u32::try_from(pages_max).expect("limits were validated");
        // Reversed: the lowest page is taken first.
        Pages { counts: vec![0; pages_max], free: (0..last).rev().map(PageId).collect() }
    }

    /// A free page, held once.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        self.counts[page.index()] = 1;
        Some(page)
    }

    /// Holds a page once more; the new count.
    pub(crate) fn hold(&mut self, page: PageId) -> u32 {
        let count = &mut self.counts[page.index()];
        assert!(*count > 0, "{page:?} is free and cannot be shared");
        *count += 1;
        *count
    }

    /// Lets go of a page once; the new count. At zero it is free.
    pub(crate) fn let_go(&mut self, page: PageId) -> u32 {
        let count = &mut self.counts[page.index()];
        assert!(*count > 0, "{page:?} is free already");
        *count -= 1;
        if *count == 0 {
            self.free.push(page);
        }
        *count
    }

    pub(crate) fn count(&self, page: PageId) -> u32 {
        self.counts[page.index()]
    }

    pub(crate) fn n_free(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn n_pages(&self) -> usize {
        self.counts.len()
    }

    /// Panics unless the counts are `expected` (pages_max) and exactly the unheld pages are free.
    pub(crate) fn check(&self, expected: &[u32]) {
        assert_eq!(self.counts, expected, "reference counts do not add up");
        let mut free = self.free.clone();
        free.sort_unstable();
        let unheld: Vec<PageId> = (0..)
            .map(PageId)
            .zip(expected)
            .filter(|(_, n)| **n == 0)
            .map(|(page, _)| page)
            .collect();
        assert_eq!(free, unheld, "the free list is not the pages that nobody holds");
    }
}
