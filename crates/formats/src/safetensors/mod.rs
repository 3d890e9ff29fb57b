//! safetensors: a JSON header, then the bytes of the tensors; in one file, or in shards.
//!
//! ```text
//! header length (u64) | {"name": {"dtype", "shape", "data_offsets"}, …} | bytes …
//! ```
//!
//! Start at [`parse`] (bytes) or [`write()`]; folders of shards are opened by [`crate::open`].

mod index;
mod read;
mod write;

use ::safetensors::Dtype;
use quant::QuantType;

pub(crate) use index::open_index;
pub(crate) use read::open;
pub use read::parse;
pub use write::{write, write_f32};

/// The types of ours that safetensors has too.
const TYPES: [(Dtype, QuantType); 4] = [
    (Dtype::F32, QuantType::F32),
    (Dtype::F16, QuantType::F16),
    (Dtype::BF16, QuantType::Bf16),
    (Dtype::F8_E4M3, QuantType::F8E4M3),
];
