//! Slots filled from a source of tensors: every shape is checked here, once.

use formats::{Tensor, Weights};
use panels::Panels;
use par::Pool;
use quant::QuantType;
use spec::{Dialect, ModelSpec, Slot};

use crate::Error;

/// Finds the tensors of a model's slots.
pub(crate) struct Loader<'a> {
    pub spec: &'a ModelSpec,
    pub dialect: Dialect,
    pub weights: &'a dyn Weights,
    pub pool: &'a Pool,
    /// Told the bytes of each tensor that has been read.
    pub progress: &'a dyn Fn(u64),
}

impl Loader<'_> {
    /// What the file calls a slot of layer `layer`, and of expert `expert` where experts are apart.
    fn name(&self, slot: Slot, layer: usize, expert: usize) -> String {
        let names = self.spec.names.iter().find(|names| names.slot == slot);
        let names = names.expect("every slot of a spec has a name");
        let name = match self.dialect {
            Dialect::HuggingFace => names.hugging_face,
            Dialect::Gguf => names.gguf,
        };
        name.replace("{i}", &layer.to_string()).replace("{e}", &expert.to_string())
    }

    /// Whether the file has MLA's up-projection as two tensors: newer GGUF files do.
    pub(crate) fn contains_split_latent_up(&self, layer: usize) -> bool {
        self.dialect == Dialect::Gguf
            && self.weights.contains(&self.name(Slot::LatentUpKey, layer, 0))
    }

    /// The tensor of a slot, of that shape.
    pub(crate) fn tensor(
        &self,
        slot: Slot,
        layer: usize,
        shape: &[usize],
    ) -> Result<Tensor, Error> {
        self.named(&self.name(slot, layer, 0), shape)
    }

    fn named(&self, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let tensor = self.weights.tensor(name)?;
        if tensor.shape != shape {
            let (found, expected) = (tensor.shape, shape.to_vec());
            return Err(Error::Shape { name: tensor.name, found, expected });
        }
        let cols = shape[shape.len() - 1];
        if tensor.quant.row_bytes(cols).is_none() {
            let (name, quant) = (tensor.name, tensor.quant.name());
            return Err(Error::Blocks { name, cols, quant });
        }
        (self.progress)(tensor.bytes.len() as u64);
        Ok(tensor)
    }

    /// A vector (n) in f32.
    pub(crate) fn vector(&self, slot: Slot, layer: usize, n: usize) -> Result<Vec<f32>, Error> {
        Ok(self.tensor(slot, layer, &[n])?.to_f32())
    }

    /// A matrix (rows, cols), packed.
    pub(crate) fn matrix(
        &self,
        slot: Slot,
        layer: usize,
        (rows, cols): (usize, usize),
    ) -> Result<Panels, Error> {
        self.pack(&self.tensor(slot, layer, &[rows, cols])?)
    }

    /// The matrices (rows, cols) of all experts of a layer, from one tensor or from one each.
    pub(crate) fn experts(
        &self,
        slot: Slot,
        layer: usize,
        (n, rows, cols): (usize, usize, usize),
    ) -> Result<Vec<Panels>, Error> {
        if self.name(slot, layer, 0) != self.name(slot, layer, 1) {
            let expert = |expert| self.named(&self.name(slot, layer, expert), &[rows, cols]);
            return (0..n).map(|e| self.pack(&expert(e)?)).collect();
        }
        let stacked = self.tensor(slot, layer, &[n, rows, cols])?;
        let expert = stacked.bytes.chunks_exact(stacked.bytes.len() / n);
        Ok(expert.map(|bytes| Panels::pack(self.pool, stacked.quant, rows, cols, bytes)).collect())
    }

    /// A tensor (rows, cols), packed. FP8 brings its scales from the tensor beside it.
    pub(crate) fn pack(&self, tensor: &Tensor) -> Result<Panels, Error> {
        let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
        if tensor.quant == QuantType::F8E4M3 {
            let scales = self.scales(tensor)?;
            return Ok(Panels::pack_fp8(self.pool, rows, cols, &tensor.bytes, &scales));
        }
        Ok(Panels::pack(self.pool, tensor.quant, rows, cols, &tensor.bytes))
    }

    /// The scales (⌈rows/128⌉, ⌈cols/128⌉) that DeepSeek's files keep beside an FP8 matrix.
    pub(crate) fn scales(&self, tensor: &Tensor) -> Result<Vec<f32>, Error> {
        let shape = [tensor.shape[0].div_ceil(FP8_BLOCK), tensor.shape[1].div_ceil(FP8_BLOCK)];
        Ok(self.named(&format!("{}_scale_inv", tensor.name), &shape)?.to_f32())
    }
}

/// Rows and columns that share a scale in DeepSeek's FP8 files.
pub(crate) const FP8_BLOCK: usize = 128;
