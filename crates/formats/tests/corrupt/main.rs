//! Files that are wrong in one way each, and the one line that says so.

mod folders;
mod forge;
mod gguf;
mod safetensors;
