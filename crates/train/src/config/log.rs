//! The section about what a run tells.

use serde::Deserialize;

/// What is told while it runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    pub tensorboard: bool,
    /// Answers of each step that are logged with their texts.
    pub samples: usize,
}

impl Default for LogSection {
    fn default() -> LogSection {
        LogSection { tensorboard: true, samples: 2 }
    }
}
