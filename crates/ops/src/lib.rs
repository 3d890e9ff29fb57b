//! The operations that a decoder is made of, each in one file.
//!
//! Matrix products are `panels`' own. Start at `rmsnorm.rs`. Not here: models, weights' names,
//! requests. Invariants: outputs come first, then inputs, then settings; a row's result depends on
//! that row alone, never on how many rows there are or on the number of threads. A `backward` adds
//! to the gradients of weights, row after row in their order; what it says of its other outputs
//! holds for them.

#![forbid(unsafe_code)]

pub mod attention;
pub mod attention_gradient;
pub mod bias;
pub mod element;
#[cfg(test)]
mod gradcheck;
pub mod latent_attention;
pub mod log_prob;
pub mod residual;
pub mod rmsnorm;
pub mod rope;
pub mod router;
pub mod swiglu;
