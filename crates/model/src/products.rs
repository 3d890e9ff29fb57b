//! What a step's matrix products take, for whoever measures how near to the roofs it came.

use panels::Panels;
use quant::QuantType;

/// Bytes read and operations done by the matrix products of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Products {
    /// Packed weights, each matrix read once; of the experts, those that a token chose.
    pub weights_bytes: u64,
    /// Multiplications and additions by the type of the weights.
    pub ops: Vec<(QuantType, u64)>,
}

impl Products {
    /// A product of `rows` rows with a whole matrix.
    pub(crate) fn add(&mut self, w: &Panels, rows: usize) {
        self.weights_bytes += w.bytes() as u64;
        self.add_ops(w.quant_type(), w.ops(rows));
    }

    /// The operations alone.
    pub(crate) fn add_ops(&mut self, ty: QuantType, ops: u64) {
        match self.ops.iter_mut().find(|(known, _)| *known == ty) {
            Some((_, sum)) => *sum += ops,
            None => self.ops.push((ty, ops)),
        }
    }
}
