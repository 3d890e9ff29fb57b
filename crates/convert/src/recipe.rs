//! How the rows of a tensor come out of the tensors of a checkpoint.

use formats::Tensor;
use quant::QuantType;

/// Rows and columns that share a scale in DeepSeek's FP8 files; those at the edges are fewer.
pub(crate) const FP8_BLOCK: usize = 128;

/// A tensor of a checkpoint.
pub(crate) struct Stored {
    pub(crate) tensor: Tensor,
    /// Scales of FP8 blocks. (⌈rows/128⌉, ⌈columns/128⌉)
    pub(crate) scales: Option<Vec<f32>>,
}

/// Where the rows of an output come from.
pub(crate) enum Recipe {
    /// The same rows.
    Rows(Stored),
    /// Each head's rows from (first halves, second halves) to pairs side by side.
    Pairs { stored: Stored, head_dim: usize },
    /// The rows of each expert, one after the other.
    Stack(Vec<Stored>),
    /// The keys' part of MLA's up-projection, each head transposed: (H·(nope + value), latent) to
    /// (H, latent, nope).
    LatentKey { stored: Stored, head_rows: usize },
    /// The values' part: (H·(nope + value), latent) to (H, value, latent).
    LatentValue { stored: Stored, head_rows: usize, nope_dim: usize },
    /// These numbers, one row.
    Values(Vec<f32>),
}

impl Recipe {
    /// Rows that are read together: a transposed head cannot be read in parts.
    pub(crate) fn unit(&self) -> usize {
        match self {
            Recipe::LatentKey { stored, .. } => stored.columns(),
            _ => 1,
        }
    }

    /// The bytes of all rows, if they are those of the file in this type.
    pub(crate) fn as_stored(&self, quant: QuantType) -> Option<&[u8]> {
        match self {
            Recipe::Rows(stored) if stored.tensor.quant == quant => Some(&stored.tensor.bytes),
            _ => None,
        }
    }

    /// out (rows, columns) = the rows from `first` on.
    ///
    /// Panics if a transposed head would be cut.
    pub(crate) fn read(&self, first: usize, columns: usize, out: &mut [f32]) {
        match self {
            Recipe::Rows(stored) => stored.read(first, out),
            Recipe::Values(values) => out.copy_from_slice(values),
            Recipe::Pairs { stored, head_dim } => {
                let half = head_dim / 2;
                each_row(first, columns, out, |row, out| {
                    let (head, pair, which) = (row / head_dim, row % head_dim / 2, row % 2);
                    stored.read(head * head_dim + which * half + pair, out);
                });
            }
            Recipe::Stack(experts) => {
                let rows = experts[0].tensor.shape[0];
                each_row(first, columns, out, |row, out| experts[row / rows].read(row % rows, out));
            }
            Recipe::LatentValue { stored, head_rows, nope_dim } => {
                let value_dim = head_rows - nope_dim;
                each_row(first, columns, out, |row, out| {
                    let (head, i) = (row / value_dim, row % value_dim);
                    stored.read(head * head_rows + nope_dim + i, out);
                });
            }
            Recipe::LatentKey { stored, head_rows } => {
                let (latent, nope) = (stored.columns(), columns);
                assert!(first.is_multiple_of(latent) && out.len().is_multiple_of(latent * nope));
                let mut keys = vec![0.0; nope * latent];
                for (i, out) in out.chunks_exact_mut(latent * nope).enumerate() {
                    stored.read((first / latent + i) * head_rows, &mut keys);
                    for (r, out) in out.chunks_exact_mut(nope).enumerate() {
                        for (j, out) in out.iter_mut().enumerate() {
                            *out = keys[j * latent + r];
                        }
                    }
                }
            }
        }
    }
}

fn each_row(first: usize, columns: usize, out: &mut [f32], read: impl Fn(usize, &mut [f32])) {
    for (i, out) in out.chunks_exact_mut(columns).enumerate() {
        read(first + i, out);
    }
}

impl Stored {
    fn columns(&self) -> usize {
        self.tensor.shape.last().copied().unwrap_or(1)
    }

    /// out (rows, columns) = the rows from `first` on, decoded.
    fn read(&self, first: usize, out: &mut [f32]) {
        let columns = self.columns();
        let row_bytes = self.tensor.quant.row_bytes(columns).expect("rows of whole blocks");
        let n_rows = out.len() / columns;
        let bytes = &self.tensor.bytes[first * row_bytes..][..n_rows * row_bytes];
        quant::decode(self.tensor.quant, bytes, out);
        let Some(scales) = &self.scales else { return };
        let per_row = columns.div_ceil(FP8_BLOCK);
        for (i, row) in out.chunks_exact_mut(columns).enumerate() {
            let scales = &scales[(first + i) / FP8_BLOCK * per_row..][..per_row];
            for (run, scale) in row.chunks_mut(FP8_BLOCK).zip(scales) {
                run.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
    }
}
