//! Training of tiny models, end to end: the same numbers in rollout and training, the same weights
//! whatever the threads and the packing, and faults that are named before they cost anything.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod examples;
mod faults;
mod parity;
mod school;
