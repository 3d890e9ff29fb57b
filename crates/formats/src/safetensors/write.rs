//! Writes a safetensors file, tensor by tensor.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::tensor::TensorInfo;

use super::TYPES;
use crate::error::Shown;
use crate::{Error, TensorLayout, atomic};

/// Writes tensors to `path`, which is replaced once all is written and on the disk.
///
/// `fill` is called once a tensor, in order, and writes exactly its bytes. Panics on two tensors
/// of one name.
///
/// # Errors
/// [`Error::Io`], [`Error::Unfilled`], [`Error::Unwritable`] for a type that safetensors has not.
pub fn write(
    path: &Path,
    tensors: &[TensorLayout],
    mut fill: impl FnMut(&TensorLayout, &mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let header = header(path, tensors)?;
    atomic::write(path, |out| {
        out.write_all(&header).map_err(Error::io(path, "write"))?;
        tensors.iter().try_for_each(|tensor| atomic::fill(path, out, tensor, &mut fill))
    })
}

/// Writes tensors of f32: a name, a shape and as many numbers as the shape asks for.
///
/// # Errors
/// [`Error::Io`].
pub fn write_f32(path: &Path, tensors: &[(&str, &[usize], &[f32])]) -> Result<(), Error> {
    let layout = |(name, shape, values): &(&str, &[usize], &[f32])| {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name} of shape {shape:?}");
        TensorLayout { name: (*name).into(), quant: quant::QuantType::F32, shape: shape.to_vec() }
    };
    let layouts: Vec<_> = tensors.iter().map(layout).collect();
    let mut values = tensors.iter().map(|(_, _, values)| *values);
    write(path, &layouts, |_, out| {
        let values = values.next().expect("write asks for each tensor once");
        values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    })
}

fn header(path: &Path, tensors: &[TensorLayout]) -> Result<Vec<u8>, Error> {
    let mut rows = BTreeMap::new();
    let mut start = 0;
    for tensor in tensors {
        let Some(&(dtype, _)) = TYPES.iter().find(|(_, quant)| *quant == tensor.quant) else {
            let (path, name) = (path.into(), Shown::new(&tensor.name));
            return Err(Error::Unwritable { path, tensor: name, ty: tensor.quant });
        };
        let data_offsets = (start, start + tensor.bytes());
        start = data_offsets.1;
        let row = TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets };
        assert!(rows.insert(&tensor.name, row).is_none(), "every tensor has a name of its own");
    }
    let mut json = serde_json::to_vec(&rows).map_err(|error| Error::json(path, &error))?;
    // So that the data begins at a multiple of eight.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = Vec::from((json.len() as u64).to_le_bytes());
    header.extend(json);
    Ok(header)
}
