//! Where an answer's events go: to who asked, or into a box until it is known that they are wanted.

use crate::request::{Event, Sink};

/// Where events go.
pub(crate) enum Outlet {
    Sink(Sink),
    /// Kept, until it is known whether they are wanted.
    Held(Vec<Event>),
}

impl Outlet {
    /// False once nobody listens.
    pub(crate) fn tell(&mut self, event: Event) -> bool {
        match self {
            Outlet::Sink(sink) => sink(event),
            Outlet::Held(events) => {
                events.push(event);
                true
            }
        }
    }
}
