//! Model files: GGUF and safetensors, read and written; Hugging Face folders.
//!
//! Start at [`open`], the one door: it takes a path and gives a [`Checkpoint`], whose tensors come
//! through the trait [`Weights`]. Not here: what a config means (`spec`), what blocks decode to
//! (`quant`), tokenizers and templates (`text`), downloads (`hub`). [`Stream`] reads parts of files
//! while others work, for models larger than memory.
//!
//! Invariants: files are untrusted. Every length is compared with the bytes that are left before
//! it is believed, so no file makes a reader panic or allocate more than a small multiple of the
//! file; a [`Tensor`] that was handed out has exactly the bytes that its shape asks for, and they
//! overlap no other tensor's. Every [`Error`] is one line that names the file and the fault. No
//! code from a model file is ever run: pickled weights are refused.

mod atomic;
mod checkpoint;
mod error;
mod folder;
pub mod gguf;
mod json;
mod mmap;
mod random;
pub mod safetensors;
mod stream;
mod weights;

pub use checkpoint::{
    Checkpoint, Header, TextSource, hugging_face_config, open, open_header, open_text, open_with,
};
pub use error::Error;
pub use mmap::{Access, Bytes};
pub use random::Random;
pub use stream::{Extent, Finished, Method, ReadBuffer, Stream};
pub use weights::{Origin, Table, Tensor, TensorLayout, Weights};
