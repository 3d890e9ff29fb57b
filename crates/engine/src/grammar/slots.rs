//! How many compiles may run at once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Places for so many at once.
pub(super) struct Slots {
    max: usize,
    taken: Mutex<usize>,
    freed: Condvar,
}

/// A place that is taken until this is dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: Mutex::new(0), freed: Condvar::new() }
    }

    pub(super) fn n_taken(&self) -> usize {
        *self.lock()
    }

    /// Takes a place, waiting for one until the deadline.
    pub(super) fn take(slots: &Arc<Self>, deadline: Instant) -> Option<Slot> {
        let mut taken = slots.lock();
        while *taken == slots.max {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = slots.freed.wait_timeout(taken, left);
            (taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Some(Slot(Arc::clone(slots)))
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_more_are_taken_than_there_are_and_a_freed_one_is_taken_again() {
        let slots = Arc::new(Slots::new(2));
        let now = Instant::now();
        let first = Slots::take(&slots, now).unwrap();
        let second = Slots::take(&slots, now).unwrap();
        assert!(Slots::take(&slots, now).is_none());
        assert_eq!(slots.n_taken(), 2);
        let waiting = std::thread::spawn({
            let slots = Arc::clone(&slots);
            move || Slots::take(&slots, Instant::now() + Duration::from_secs(60)).is_some()
        });
        drop(first);
        assert!(waiting.join().unwrap());
        drop(second);
        assert_eq!(slots.n_taken(), 0);
    }
}
