//! What a caller hears while a model comes, and how it stops it.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

/// The caller's side of a pull. A closure `(file, done, total)` is one.
pub trait Progress {
    /// `done` of the `total` bytes of `file` are here. `Break` cancels the pull; what came stays
    /// on disk, and the next pull goes on from there.
    fn advance(&mut self, file: &str, done: u64, total: u64) -> ControlFlow<()>;

    /// Lets `delay` pass. Whoever overrides it can say why, cut it short, or cancel.
    fn wait(&mut self, _why: &Wait, delay: Duration) -> ControlFlow<()> {
        std::thread::sleep(delay);
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&str, u64, u64) -> ControlFlow<()>> Progress for F {
    fn advance(&mut self, file: &str, done: u64, total: u64) -> ControlFlow<()> {
        self(file, done, total)
    }
}

/// Why a pull waits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// A request failed in a way that may pass; the text is the failure.
    Retry(String),
    /// Another process is downloading the same blob.
    Locked { file: String },
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(failure) => write!(f, "{failure}; trying again"),
            Self::Locked { file } => write!(f, "another process is downloading {file}"),
        }
    }
}
