//! Whoever looks at a run while it trains.

use crate::report::Report;

/// What is told, and whether to go on.
pub struct Watch<'a> {
    pub report: &'a mut dyn FnMut(&Report),
    pub note: &'a mut dyn FnMut(&str),
    pub stops: &'a dyn Fn() -> bool,
}

impl Watch<'_> {
    pub fn report(&mut self, report: &Report) {
        (self.report)(report);
    }

    /// One line about something that happened once.
    pub fn note(&mut self, text: &str) {
        (self.note)(text);
    }

    /// Whether to end after this step.
    pub fn is_stopped(&self) -> bool {
        (self.stops)()
    }
}
