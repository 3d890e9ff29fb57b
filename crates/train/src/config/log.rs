//! The section about what a run tells.

use std::net::SocketAddr;

use serde::Deserialize;

/// What is told while it runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    pub tensorboard: bool,
    /// Answers of each step that are logged with their texts.
    pub samples: usize,
    /// Where the run's page is served while it trains.
    pub page: Option<SocketAddr>,
    /// Whether that may be an address that other machines reach.
    pub page_open: bool,
}

impl Default for LogSection {
    fn default() -> LogSection {
        LogSection { tensorboard: true, samples: 2, page: None, page_open: false }
    }
}
