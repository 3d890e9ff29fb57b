//! Writes a GGUF 3 file, tensor by tensor: no more than one of them need be in memory.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use super::MAGIC;
use super::metadata::{Metadata, Value};
use super::read::alignment;
use crate::error::Shown;
use crate::{Error, TensorLayout, atomic};

/// Writes a model to `path`, which is replaced once all is written and on the disk.
///
/// `fill` is called once a tensor, in order, and writes exactly its bytes, row after row. Keys
/// `split.*` are left out: the file is whole. Panics on two tensors of one name, or on rows that
/// are not whole blocks.
///
/// # Errors
/// [`Error::Io`], [`Error::Unfilled`], [`Error::Unwritable`] for a type that GGUF has no number
/// for, [`Error::Metadata`] for a `general.alignment` that is none.
pub fn write(
    path: &Path,
    metadata: &Metadata,
    tensors: &[TensorLayout],
    mut fill: impl FnMut(&TensorLayout, &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), tensors.len(), "every tensor has a name of its own");
    let alignment = alignment(metadata)?;
    let header = header(path, metadata, tensors, alignment)?;
    atomic::write(path, |out| {
        out.write_all(&header).map_err(Error::io(path, "write"))?;
        for tensor in tensors {
            atomic::fill(path, out, tensor, &mut fill)?;
            let padding = tensor.bytes().next_multiple_of(alignment) - tensor.bytes();
            out.write_all(&vec![0; padding]).map_err(Error::io(path, "write"))?;
        }
        Ok(())
    })
}

/// All that stands before the first tensor, padding included.
fn header(
    path: &Path,
    metadata: &Metadata,
    tensors: &[TensorLayout],
    alignment: usize,
) -> Result<Vec<u8>, Error> {
    let keys: Vec<_> = metadata.iter().filter(|(key, _)| !key.starts_with("split.")).collect();
    let mut out = Vec::from(MAGIC);
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        put_text(&mut out, key);
        out.extend((value.value_type() as u32).to_le_bytes());
        put_value(&mut out, value);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        let Some(id) = tensor.quant.ggml_id() else {
            let (path, name) = (path.into(), Shown::new(&tensor.name));
            return Err(Error::Unwritable { path, tensor: name, ty: tensor.quant });
        };
        put_text(&mut out, &tensor.name);
        // GGUF has no tensor without dimensions: a single number is a list of one.
        let dims = if tensor.shape.is_empty() { &[1][..] } else { &tensor.shape };
        out.extend((dims.len() as u32).to_le_bytes());
        out.extend(dims.iter().rev().flat_map(|&dim| (dim as u64).to_le_bytes()));
        out.extend(id.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(alignment);
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    Ok(out)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(n) => out.extend(n.to_le_bytes()),
        Value::I8(n) => out.extend(n.to_le_bytes()),
        Value::U16(n) => out.extend(n.to_le_bytes()),
        Value::I16(n) => out.extend(n.to_le_bytes()),
        Value::U32(n) => out.extend(n.to_le_bytes()),
        Value::I32(n) => out.extend(n.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::Text(text) => put_text(out, text),
        Value::Array(array) => {
            out.extend((array.element as u32).to_le_bytes());
            out.extend((array.len as u64).to_le_bytes());
            out.extend(&array.bytes);
        }
        Value::U64(n) => out.extend(n.to_le_bytes()),
        Value::I64(n) => out.extend(n.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
    }
}
