//! GGUF: metadata, a table of tensors and their bytes in one file, or split over several.
//!
//! ```text
//! "GGUF" version n_tensors n_keys | key type value … | name dims type offset … | padding | bytes …
//! ```
//!
//! Start at [`parse`] (bytes); [`crate::open`] takes a path and joins split parts;
//! [`write()`] makes a file.

mod metadata;
mod read;
mod split;
mod write;

use crate::Table;

pub(crate) use metadata::LIST_LEN_MAX;
pub use metadata::{Array, Metadata, Value, ValueType};
pub use read::{parse, parse_header, parse_metadata};
pub(crate) use split::{SplitName, open};
pub use write::write;

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// Bytes that tensors are aligned to unless `general.alignment` says otherwise.
const ALIGNMENT_DEFAULT: usize = 32;

/// What a GGUF file holds.
#[derive(Debug)]
pub struct Gguf {
    pub metadata: Metadata,
    pub tensors: Table,
}
