//! Weights in a folder, named as Hugging Face names them.

use std::io::{self, Write};
use std::path::Path;

use formats::{TensorLayout, safetensors};
use quant::QuantType;

use super::learner::Learner;
use crate::error::Error;

/// A tensor that is written.
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub value: &'a [f32],
    pub ty: QuantType,
}

impl Learner {
    /// Writes `model.safetensors`, or of adapters `adapter_model.safetensors`, into a folder:
    /// replaced at once, when all is on the disk. Matrices are stored as `ty`, vectors in F32.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn save(&self, folder: &Path, ty: QuantType) -> Result<(), Error> {
        let file =
            if self.is_adapting() { "adapter_model.safetensors" } else { "model.safetensors" };
        let tensors: Vec<Named<'_>> = self.tensors(ty);
        let layout = |tensor: &Named<'_>| TensorLayout {
            name: tensor.name.into(),
            quant: tensor.ty,
            shape: tensor.shape.to_vec(),
        };
        let layouts: Vec<TensorLayout> = tensors.iter().map(layout).collect();
        let mut left = tensors.iter();
        safetensors::write(&folder.join(file), &layouts, |_, out| {
            let tensor = left.next().expect("write asks for each tensor once");
            write_rows(out, tensor)
        })?;
        Ok(())
    }
}

/// Row after row, so that no second copy of a matrix is in memory.
fn write_rows(out: &mut dyn Write, tensor: &Named<'_>) -> io::Result<()> {
    let columns = tensor.shape.last().copied().unwrap_or(1);
    let row_bytes = tensor.ty.row_bytes(columns).expect("plain types have blocks of one");
    let mut bytes = vec![0; row_bytes];
    for row in tensor.value.chunks_exact(columns) {
        quant::encode(tensor.ty, row, &mut bytes);
        out.write_all(&bytes)?;
    }
    Ok(())
}
