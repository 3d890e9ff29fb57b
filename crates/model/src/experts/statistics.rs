//! What reading experts from their files came to.

use std::time::Duration;

use formats::Method;

/// Counts since the model was loaded, and what they are to be measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertStatistics {
    /// Experts that fit into the cache, of `experts` in all.
    pub slots: usize,
    pub experts: usize,
    /// Bytes of the cache and of the buffers for reading.
    pub bytes: u64,
    /// Chosen experts that were in the cache, and that were not.
    pub hits: u64,
    pub misses: u64,
    /// Bytes of experts read from files, those guessed wrong included.
    pub bytes_read: u64,
    /// Experts read before their router had chosen, and how many of them it then chose.
    pub guesses: u64,
    pub guesses_right: u64,
    /// Whether guessing goes on.
    pub is_guessing: bool,
    /// Time in steps, and the part of it that was spent waiting for the disk.
    pub time: Duration,
    pub waiting: Duration,
    /// What the disk gave when experts were read at load, and nothing else was done. Bytes a
    /// second.
    pub disk_bandwidth: f64,
    pub method: Method,
    /// Whether reads pass the system's cache.
    pub is_direct: bool,
}

impl ExpertStatistics {
    /// Of the experts that were chosen, the part that was in memory.
    pub fn hit_rate(&self) -> f64 {
        self.hits as f64 / (self.hits + self.misses).max(1) as f64
    }

    /// Of the experts that were read ahead, the part that was then chosen.
    pub fn right_share(&self) -> f64 {
        self.guesses_right as f64 / self.guesses.max(1) as f64
    }

    /// Of what the disk could have brought during the steps, the part that it did.
    pub fn disk_share(&self) -> f64 {
        let most = self.disk_bandwidth * self.time.as_secs_f64();
        if most > 0.0 { self.bytes_read as f64 / most } else { 0.0 }
    }
}
