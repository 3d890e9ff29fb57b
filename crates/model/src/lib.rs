//! The decoder: weights, cached keys and values, and the forward pass of every family.
//!
//! Start at `decoder.rs`. Not here: requests, sampling, text, files' layouts.
//! Invariants: there is one decoder, and a family is data to it; a token's logits depend on its own
//! sequence alone, bit for bit, however its prompt was cut, whatever else is in the step, on any
//! number of threads; a step allocates nothing.

#![forbid(unsafe_code)]

mod attention;
mod batch;
mod decoder;
mod error;
mod experts;
mod ffn;
mod groups;
mod kv;
pub mod learn;
mod linear;
mod next_token;
mod products;
mod weights;

pub use batch::Batch;
pub use decoder::{Decoder, Limits, Numerics};
pub use error::Error;
pub use experts::{ExpertMemory, ExpertStatistics, Footprint, Guess};
pub use kv::{Kv, KvType};
pub use ops::attention::PAGE;
pub use products::Products;
