//! Least recently used leaf first, tails before heads.

use crate::pages::Pages;
use crate::prefix::PrefixTree;

/// Frees up to `n` pages that only the tree holds; how many.
///
/// A run is eaten from its tail: the head is what the next request shares.
pub(crate) fn evict(tree: &mut PrefixTree, pages: &mut Pages, n: usize) -> usize {
    for evicted in 0..n {
        let Some(page) = tree.oldest_idle() else { return evicted };
        tree.detach(page, pages);
        pages.let_go(page);
    }
    n
}
