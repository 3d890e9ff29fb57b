//! Where weights come from, and what can be wrong with them.

use spec::Slot;

/// A weight, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Slowest dim first, as the doc comments of [`Slot`] have it.
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// The weights of a model by their place.
pub trait Source {
    /// The weight of a slot of a layer, or of one of its experts: (F, D) or (D, F), though the
    /// file may stack them. A slot of the whole model is the same for every layer. `None` if there
    /// is no such weight.
    fn weight(
        &self,
        slot: Slot,
        layer: usize,
        expert: Option<usize>,
    ) -> Result<Option<Tensor>, Error>;
}

/// Weights that are not what the spec says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("layer {layer}: no weight for {slot:?}")]
    Missing { slot: Slot, layer: usize },
    #[error("layer {layer}: {slot:?} has shape {found:?}, the spec says {expected:?}")]
    Misshapen { slot: Slot, layer: usize, found: Vec<usize>, expected: Vec<usize> },
    #[error("layer {layer}: {slot:?} could not be read")]
    Unreadable {
        slot: Slot,
        layer: usize,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The weights of one layer, their shapes checked.
pub(crate) struct Reader<'a> {
    pub(crate) source: &'a dyn Source,
    /// D.
    pub(crate) dim: usize,
    pub(crate) layer: usize,
}

impl Reader<'_> {
    pub(crate) fn read(&self, slot: Slot, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let weight = self.find(slot, None, shape)?;
        weight.ok_or(Error::Missing { slot, layer: self.layer })
    }

    pub(crate) fn read_expert(
        &self,
        slot: Slot,
        expert: usize,
        shape: &[usize],
    ) -> Result<Vec<f32>, Error> {
        let weight = self.find(slot, Some(expert), shape)?;
        weight.ok_or(Error::Missing { slot, layer: self.layer })
    }

    pub(crate) fn find(
        &self,
        slot: Slot,
        expert: Option<usize>,
        shape: &[usize],
    ) -> Result<Option<Vec<f32>>, Error> {
        let layer = self.layer;
        let Some(tensor) = self.source.weight(slot, layer, expert)? else {
            return Ok(None);
        };
        if tensor.shape != shape {
            let (found, expected) = (tensor.shape, shape.to_vec());
            return Err(Error::Misshapen { slot, layer, found, expected });
        }
        assert_eq!(tensor.values.len(), shape.iter().product::<usize>(), "{slot:?} {shape:?}");
        Ok(Some(tensor.values))
    }
}
