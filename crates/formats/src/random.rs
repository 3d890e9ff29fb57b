//! Made-up weights of any shape: a model without a file, for tests and benches.

use std::collections::BTreeMap;

use quant::QuantType;

use crate::error::Shown;
use crate::{Bytes, Error, Tensor, TensorLayout, Weights};

/// Tensors whose numbers follow from a seed and their names: the same on every machine, whatever
/// is asked for first. Nothing is kept; each call makes its tensor anew.
///
/// Matrices are uniform with variance 1 / columns, so that activations keep their size. Vectors
/// are norms, near one; those called `.bias` are near zero.
#[derive(Debug)]
pub struct Random {
    seed: u64,
    layouts: BTreeMap<String, TensorLayout>,
}

impl Random {
    /// Panics if two tensors have one name.
    pub fn new(seed: u64, tensors: impl IntoIterator<Item = TensorLayout>) -> Self {
        let mut layouts = BTreeMap::new();
        for layout in tensors {
            let old = layouts.insert(layout.name.clone(), layout);
            assert!(old.is_none(), "every tensor has a name of its own");
        }
        Random { seed, layouts }
    }

    fn make(&self, layout: &TensorLayout) -> Tensor {
        let columns = layout.shape.last().copied().unwrap_or(1);
        let is_vector = layout.shape.len() < 2;
        let (mean, width) = match (is_vector, layout.name.ends_with(".bias")) {
            (false, _) => (0.0, (3.0 / columns as f32).sqrt()),
            (true, false) => (1.0, 0.1),
            (true, true) => (0.0, 0.1),
        };
        let mut state =
            layout.name.bytes().fold(self.seed, |state, byte| scramble(state ^ u64::from(byte)));
        let mut bytes = vec![0; layout.bytes()];
        // One row at a time: a whole tensor in f32 may be eight times its encoded size.
        let mut row = vec![0.0; columns];
        for out in bytes.chunks_exact_mut(row_bytes(layout.quant, columns)) {
            for weight in &mut row {
                state = state.wrapping_add(GOLDEN);
                // The upper 24 bits, as a number in [-1, 1).
                let unit = (scramble(state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
                *weight = mean + width * unit;
            }
            quant::encode(layout.quant, &row, out);
        }
        Tensor {
            name: layout.name.clone(),
            quant: layout.quant,
            shape: layout.shape.clone(),
            bytes: Bytes::from(bytes),
            origin: None,
        }
    }
}

impl Weights for Random {
    fn names(&self) -> Vec<&str> {
        self.layouts.keys().map(String::as_str).collect()
    }

    fn contains(&self, name: &str) -> bool {
        self.layouts.contains_key(name)
    }

    fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let layout = self.layouts.get(name).ok_or_else(|| Error::MissingTensor {
            path: "random weights".into(),
            tensor: Shown::new(name),
        })?;
        Ok(self.make(layout))
    }

    fn bytes(&self) -> u64 {
        self.layouts.values().map(|layout| layout.bytes() as u64).sum()
    }
}

fn row_bytes(quant: QuantType, columns: usize) -> usize {
    quant.row_bytes(columns).expect("rows of whole blocks")
}

/// 2^64 over the golden ratio, odd: the step of SplitMix64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 (Steele, Lea and Flood 2014).
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(seed: u64) -> Random {
        let layout = |name: &str, quant, shape: &[usize]| TensorLayout {
            name: name.into(),
            quant,
            shape: shape.into(),
        };
        Random::new(
            seed,
            [
                layout("up.weight", QuantType::Q8_0, &[64, 256]),
                layout("up.bias", QuantType::F32, &[64]),
                layout("norm.weight", QuantType::F32, &[256]),
            ],
        )
    }

    #[test]
    fn a_seed_and_a_name_give_the_same_numbers_whatever_was_asked_before() {
        let (first, second) = (weights(7), weights(7));
        let norm = first.tensor("norm.weight").unwrap().to_f32();
        second.tensor("up.weight").unwrap();
        assert_eq!(norm, second.tensor("norm.weight").unwrap().to_f32());
        assert_ne!(norm, weights(8).tensor("norm.weight").unwrap().to_f32());
    }

    #[test]
    fn activations_keep_their_size() {
        let up = weights(7).tensor("up.weight").unwrap();
        let values = up.to_f32();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / 16384.0;
        // Of 16384 draws: six standard errors of the mean, and of the variance.
        assert!(mean.abs() < 6.0 * (1.0f32 / 256.0 / 16384.0).sqrt(), "{mean}");
        assert!((variance * 256.0 - 1.0).abs() < 6.0 * (0.8f32 / 16384.0).sqrt(), "{variance}");
        let norm = weights(7).tensor("norm.weight").unwrap().to_f32();
        assert!(norm.iter().all(|x| (0.9..=1.1).contains(x)));
        let bias = weights(7).tensor("up.bias").unwrap().to_f32();
        assert!(bias.iter().all(|x| x.abs() <= 0.1));
    }

    #[test]
    fn a_tensor_that_is_not_there_is_named() {
        let weights = weights(7);
        assert!(!weights.contains("down.weight"));
        assert_eq!(
            weights.tensor("down.weight").unwrap_err().to_string(),
            r#"random weights: no tensor "down.weight""#
        );
        assert_eq!(weights.bytes(), 64 * 272 + 64 * 4 + 256 * 4);
    }
}
