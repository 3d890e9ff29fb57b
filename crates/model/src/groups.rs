//! A list of products whose memory outlives the weights that it names.
//!
//! A step allocates nothing, yet a list of [`Group`]s borrows the step's buffers: the empty list is
//! kept between steps instead.

use panels::Group;

/// An empty list with room.
pub(crate) type Groups = Vec<Group<'static>>;

/// Empties a list and keeps its memory.
pub(crate) fn recycle(mut groups: Vec<Group<'_>>) -> Groups {
    groups.clear();
    // Collecting in place reuses the allocation; `tests/no_alloc.rs` sees to it.
    groups.into_iter().map(|_| unreachable!("the list is empty")).collect()
}
