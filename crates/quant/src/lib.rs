//! Block formats: how weights are laid out in a file, and what they decode to.
//!
//! Start at [`QuantType`]. Not here: matrix products (`panels`), files (`formats`), threads.
//! Invariant: [`decode`] agrees exactly with ggml's reference decode of the same bytes.

mod kind;

pub use kind::QuantType;
