//! A panic that stays with the answer it came of: the others go on.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` gives; none if it panicked. What it was at work on must not be used any more, or
/// must not mind: an answer is ended, buffers are made anew. The thread's hook has told of it.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
