//! Block formats: how weights are laid out in a file, and what they decode to.
//!
//! A row of a tensor is a run of *blocks*: a fixed number of weights stored in a fixed number of
//! bytes. Start at [`QuantType`], then [`decode`], [`encode`] and [`unpack`]; one file a format
//! below says what its bytes mean. Not here: matrix products (`panels`), files (`formats`),
//! threads. Invariants: [`decode`] agrees bit for bit with ggml's reference decode of the same
//! bytes (a NaN is a NaN, whatever its payload), and no bytes and no weights make it panic.

#![forbid(unsafe_code)]

mod coded;
mod fit;
mod fp8;
mod ggml;
mod iq4;
mod k_fields;
mod plain;
mod q2_k;
mod q3_k;
mod q4;
mod q4_k;
mod q5;
mod q5_k;
mod q6_k;
mod q8_0;
mod registry;

pub use coded::{CodeLayout, CodeValue, Unpacked};
pub use ggml::ggml_type_name;
pub use iq4::IQ4_VALUES;
pub use registry::{QuantType, decode, encode, pack, unpack};
