//! The way to the end: no new requests, then the running ones, then nothing.

use std::time::Duration;

use tokio::sync::watch;

/// Where on that way the server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    #[default]
    Serving,
    /// What runs may end; nothing begins.
    Draining,
    /// What still runs is told so, and ends.
    Aborting,
}

/// Says where, and tells who waits for it.
#[derive(Debug)]
pub(crate) struct Drain {
    phase: watch::Sender<Phase>,
}

/// When a client should look for another server, or for this one's successor.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain { phase: watch::Sender::new(Phase::Serving) }
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`; never back.
    pub(crate) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// Waits until it is at `phase` or past it.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut receiver = self.phase.subscribe();
        // The sender lives as long as this is borrowed.
        let _ = receiver.wait_for(|current| *current >= phase).await;
    }
}
