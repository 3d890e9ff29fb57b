//! Threads in a box: a fixed pool that lives as long as the engine.
//!
//! Start at [`Pool`]. Not here: async, queues, ranks between machines.
//! Invariant: how work is cut into tasks is chosen by the caller from shapes alone, so which thread
//! runs a task, and how many there are, changes no result.

mod parts;
mod pool;

pub use parts::{Chunks, Parts, Strip, Strips, Tiles};
pub use pool::Pool;
