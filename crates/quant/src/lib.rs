//! Block formats: how weights are laid out in a file, and what they decode to.
//!
//! A row of a tensor is a run of *blocks*: a fixed number of weights stored in a fixed number of
//! bytes. Start at [`QuantType`], then [`decode`], [`encode`] and [`unpack`]; one file a format
//! below says what its bytes mean. Not here: matrix products (`panels`), files (`formats`),
//! threads. Invariants: [`decode`] agrees bit for bit with ggml's reference decode of the same
//! bytes (a NaN is a NaN, whatever its payload), and no bytes and no weights make it panic.

#![forbid(unsafe_code)]

mod ggml;
mod registry;

pub use ggml::ggml_type_name;
pub use registry::QuantType;
