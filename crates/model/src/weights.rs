//! Slots filled from a source of tensors: every shape is checked here, once.

use std::sync::Arc;

use formats::{Origin, Tensor, TensorLayout, Weights};
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
    /// Whether routed experts stay in their files until they are chosen.
    pub is_storing_experts: bool,
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

    /// What Hugging Face calls the same, whatever the file's dialect.
    pub(crate) fn hugging_face_name(&self, slot: Slot, layer: usize, expert: usize) -> String {
        let hugging_face = Loader { dialect: Dialect::HuggingFace, ..*self };
        hugging_face.name(slot, layer, expert)
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
        check(name, tensor.quant, &tensor.shape, shape)?;
        (self.progress)(tensor.bytes.len() as u64);
        Ok(tensor)
    }

    /// The type of a tensor of that shape, and where it lies; it is not read.
    fn located(&self, name: &str, shape: &[usize]) -> Result<(QuantType, Origin), Error> {
        let (TensorLayout { name, quant, shape: found }, origin) = self.weights.locate(name)?;
        check(&name, quant, &found, shape)?;
        Ok((quant, origin.ok_or(Error::NoFile { name })?))
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
        if self.are_apart(slot, layer) {
            let expert = |expert| self.named(&self.name(slot, layer, expert), &[rows, cols]);
            return (0..n).map(|e| self.pack(&expert(e)?)).collect();
        }
        let stacked = self.tensor(slot, layer, &[n, rows, cols])?;
        let expert = stacked.bytes.chunks_exact(stacked.bytes.len() / n);
        Ok(expert.map(|bytes| Panels::pack(self.pool, stacked.quant, rows, cols, bytes)).collect())
    }

    /// The tensor of each expert's matrix (rows, cols), and its first row in it.
    pub(crate) fn expert_tensors(
        &self,
        slot: Slot,
        layer: usize,
        (n, rows, cols): (usize, usize, usize),
    ) -> Result<Vec<(Tensor, usize)>, Error> {
        if self.are_apart(slot, layer) {
            let expert = |expert| self.named(&self.name(slot, layer, expert), &[rows, cols]);
            return (0..n).map(|e| Ok((expert(e)?, 0))).collect();
        }
        let stacked = self.tensor(slot, layer, &[n, rows, cols])?;
        Ok((0..n).map(|expert| (stacked.clone(), expert * rows)).collect())
    }

    /// The types of the matrices (rows, cols) of all experts of a layer, and where they lie.
    pub(crate) fn locate_experts(
        &self,
        slot: Slot,
        layer: usize,
        (n, rows, cols): (usize, usize, usize),
    ) -> Result<Vec<(QuantType, Origin)>, Error> {
        if self.are_apart(slot, layer) {
            let expert = |expert| self.located(&self.name(slot, layer, expert), &[rows, cols]);
            return (0..n).map(expert).collect();
        }
        let (quant, first) = self.located(&self.name(slot, layer, 0), &[n, rows, cols])?;
        let bytes = rows * quant.row_bytes(cols).expect("checked when it was located");
        let origin = |expert| Origin {
            path: Arc::clone(&first.path),
            offset: first.offset + (expert * bytes) as u64,
        };
        Ok((0..n).map(|expert| (quant, origin(expert))).collect())
    }

    /// The same of the scales of FP8 matrices (rows, cols).
    pub(crate) fn locate_scales(
        &self,
        slot: Slot,
        layer: usize,
        (n, rows, cols): (usize, usize, usize),
    ) -> Result<Vec<(QuantType, Origin)>, Error> {
        let shape = [rows.div_ceil(FP8_BLOCK), cols.div_ceil(FP8_BLOCK)];
        let scales =
            |expert| self.located(&format!("{}_scale_inv", self.name(slot, layer, expert)), &shape);
        (0..n).map(scales).collect()
    }

    /// Whether each expert has a tensor of its own.
    fn are_apart(&self, slot: Slot, layer: usize) -> bool {
        self.name(slot, layer, 0) != self.name(slot, layer, 1)
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

/// Refuses a tensor that is not of the shape `expected`, or whose rows are not whole blocks.
fn check(name: &str, quant: QuantType, found: &[usize], expected: &[usize]) -> Result<(), Error> {
    if found != expected {
        let (found, expected) = (found.to_vec(), expected.to_vec());
        return Err(Error::Shape { name: name.into(), found, expected });
    }
    let cols = expected[expected.len() - 1];
    if quant.row_bytes(cols).is_none() {
        return Err(Error::Blocks { name: name.into(), cols, quant: quant.name() });
    }
    Ok(())
}

/// Rows and columns that share a scale in DeepSeek's FP8 files.
pub(crate) const FP8_BLOCK: usize = 128;
