//! Weights as files hold them: by name, encoded, experts stacked or not.

use formats::Weights;
use quant::QuantType;
use spec::{Config, Dialect, ModelSpec, Slot, SlotName};

use crate::source::{Error, Source, Tensor};

/// Rows and columns that share a scale in DeepSeek's FP8 files; those at the edges are fewer.
const SCALED: usize = 128;

/// The weights of a checkpoint, by the names that the spec gives its slots.
pub struct FileSource<'a> {
    weights: &'a dyn Weights,
    dialect: Dialect,
    names: &'static [SlotName],
}

impl<'a> FileSource<'a> {
    /// `spec` and `config` are of the model whose `weights` these are.
    pub fn new(spec: &ModelSpec, config: &Config, weights: &'a dyn Weights) -> FileSource<'a> {
        FileSource { weights, dialect: config.dialect, names: spec.names }
    }

    /// What the file calls a slot, `{e}` not yet filled in; empty if it has no such tensor.
    fn name(&self, slot: Slot, layer: usize) -> String {
        let names = self.names.iter().find(|name| name.slot == slot);
        let name = names.map_or("", |names| match self.dialect {
            Dialect::HuggingFace => names.hugging_face,
            Dialect::Gguf => names.gguf,
        });
        name.replace("{i}", &layer.to_string())
    }

    fn read(&self, name: &str, stacked: Option<usize>) -> Result<Tensor, formats::Error> {
        let tensor = self.weights.tensor(name)?;
        if let (Some(expert), [n, rows, columns]) = (stacked, tensor.shape.as_slice())
            && expert < *n
        {
            let bytes = tensor.bytes.len() / n;
            let mut values = vec![0.0; rows * columns];
            quant::decode(tensor.quant, &tensor.bytes[expert * bytes..][..bytes], &mut values);
            return Ok(Tensor { shape: vec![*rows, *columns], values });
        }
        let mut values = tensor.to_f32();
        if let (QuantType::F8E4M3, [rows, columns]) = (tensor.quant, tensor.shape.as_slice()) {
            let scales = self.weights.tensor(&format!("{name}_scale_inv"))?;
            scales.check_shape(&[rows.div_ceil(SCALED), columns.div_ceil(SCALED)])?;
            scale(&mut values, *columns, &scales.to_f32());
        }
        Ok(Tensor { shape: tensor.shape, values })
    }
}

impl Source for FileSource<'_> {
    fn weight(
        &self,
        slot: Slot,
        layer: usize,
        expert: Option<usize>,
    ) -> Result<Option<Tensor>, Error> {
        let name = self.name(slot, layer);
        // A name without a place for the expert is of all experts at once.
        let stacked = expert.filter(|_| !name.contains("{e}"));
        let name = expert.map_or(name.clone(), |e| name.replace("{e}", &e.to_string()));
        if name.is_empty() || !self.weights.contains(&name) {
            return Ok(None);
        }
        let tensor = self.read(&name, stacked);
        tensor.map(Some).map_err(|cause| Error::Unreadable { slot, layer, cause: cause.into() })
    }
}

/// weights (rows, columns) times the scale of the block that each lies in.
fn scale(weights: &mut [f32], columns: usize, scales: &[f32]) {
    let columns_of_scales = columns.div_ceil(SCALED);
    for (i, row) in weights.chunks_exact_mut(columns).enumerate() {
        for (j, weight) in row.iter_mut().enumerate() {
            *weight *= scales[i / SCALED * columns_of_scales + j / SCALED];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_at_the_edges_are_ragged() {
        let (rows, columns) = (130, 300);
        let mut weights = vec![1.0; rows * columns];
        scale(&mut weights, columns, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let at = |i: usize, j: usize| weights[i * columns + j];
        assert_eq!([at(0, 0), at(127, 127), at(0, 128), at(127, 299)], [1.0, 1.0, 2.0, 3.0]);
        assert_eq!([at(128, 0), at(129, 255), at(129, 256)], [4.0, 5.0, 6.0]);
    }
}
