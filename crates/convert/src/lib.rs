//! Models into GGUF files: real ones in another type, and made-up ones of a true shape.
//!
//! Start at [`quantize`], then `plan` (what a file will hold) and `write` (how it gets there);
//! [`synthesize`] shares both. Not here: what blocks look like (`quant`), how files are laid out
//! (`formats`), flags and bars (`cli`).
//!
//! Invariants: what is written depends on the model and the options alone, not on threads; one
//! run of rows is in memory at a time, never a model; an output appears whole or not at all.

#![forbid(unsafe_code)]

mod entries;
mod error;
mod keys;
mod plan;
mod quantize;
mod recipe;
mod synthetic;
mod target;
mod vocabulary;
mod write;

pub use entries::hugging_face_tensors;
pub use error::Error;
pub use quantize::{Options, quantize};
pub use synthetic::{Shape, Source, Synthetic, shapes, synthesize};
pub use target::Target;
pub use write::{FellBack, Summary};
