//! Weight matrices repacked once at load, and their products with rows of activations.
//!
//! A *panel* is sixteen output rows. Its codes are interleaved so that one vector load brings
//! four consecutive k (a *quad*) of 8 or 16 rows: one activation quad is broadcast against all of
//! them, each lane is an output, and no sum crosses a lane.
//!
//! ```text
//! y (T, N) = x (T, K) · wᵀ        w (N, K) in panels, N padded to sixteen
//! ```
//!
//! Invariant, the promise of the product: the bits of `y[t][n]` depend on `x[t]`, `w[n]` and the
//! ISA alone, never on T, t, tiles or threads. Each output is one f32 chain over ascending k; what
//! is summed inside a block of a quantised type is an exact integer. AVX2 and AVX-512 agree bit for
//! bit, the scalar ISA (without FMA) within a bound that the tests state.
//!
//! Start at [`Panels`], then [`Activations`] and [`matmul`]; `coded.rs` and `float.rs` hold the
//! two kernels. Gradients multiply plain matrices: [`gemm`]. Not here:
//! file formats, attention, anything that knows a model.

#![forbid(unsafe_code)]

mod activations;
mod aligned;
mod batch;
#[macro_use]
mod format;
mod coded;
mod float;
mod gemm;
mod matrix;
pub mod peak;
mod product;
mod run;
mod strip;
mod tile;

pub use activations::{Activations, Form};
pub use aligned::Aligned;
pub use gemm::{Gemm, View, gemm, gemm_on, gemm_strip};
pub use matrix::Panels;
pub use product::{
    Group, Rows, Start, matmul, matmul_add, matmul_grouped, matmul_rows, multiply, multiply_strip,
};

/// Output rows of a panel.
pub const PANEL_ROWS: usize = 16;
