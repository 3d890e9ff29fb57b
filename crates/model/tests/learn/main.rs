//! Training against what transformers computes (fixtures/golden), against serving, and against
//! itself: the same bits however the work is cut.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod adapters;
mod gradients;
mod school;
mod serving;
