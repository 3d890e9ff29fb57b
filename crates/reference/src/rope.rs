//! Rotary embedding: pairs of a head's elements turn by position · frequency.
//!
//! ```text
//! (a, b) → amplitude · (a cos φ − b sin φ, b cos φ + a sin φ)
//! ```

use spec::{Pairing, RopeScaling, RopeSpec, Slot};

use crate::source::{Error, Reader};

/// Cosines and sines by position and pair.
pub(crate) struct Rope {
    dim: usize,
    pairing: Pairing,
    amplitude: f64,
    /// Radians a position. (dim / 2)
    frequencies: Vec<f64>,
}

impl Rope {
    pub(crate) fn new(spec: &RopeSpec, weights: &Reader<'_>) -> Result<Rope, Error> {
        let table = match spec.scaling {
            RopeScaling::Table => Some(weights.read(Slot::RopeTable, &[spec.dim / 2])?),
            _ => None,
        };
        let frequencies = spec.frequencies(table.as_deref());
        Ok(Rope { dim: spec.dim, pairing: spec.pairing, amplitude: spec.amplitude(), frequencies })
    }

    /// Turns the first `dim` elements of each head of x (T, heads · stride), whose row t is at
    /// position t.
    pub(crate) fn turn(&self, x: &mut [f32], n_heads: usize, stride: usize) {
        assert!(self.dim <= stride && x.len().is_multiple_of(n_heads * stride));
        for (position, row) in x.chunks_exact_mut(n_heads * stride).enumerate() {
            for head in row.chunks_exact_mut(stride) {
                self.turn_head(head, position);
            }
        }
    }

    /// Turns the first `dim` elements of one head.
    pub(crate) fn turn_head(&self, head: &mut [f32], position: usize) {
        for (i, frequency) in self.frequencies.iter().enumerate() {
            let (first, second) = match self.pairing {
                Pairing::Half => (i, i + self.dim / 2),
                Pairing::Adjacent => (2 * i, 2 * i + 1),
            };
            let (sin, cos) = (position as f64 * frequency).sin_cos();
            let (a, b) = (f64::from(head[first]), f64::from(head[second]));
            head[first] = (self.amplitude * (a * cos - b * sin)) as f32;
            head[second] = (self.amplitude * (b * cos + a * sin)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::FRAC_PI_2;

    use super::*;

    #[test]
    fn pairs_lie_half_a_head_apart_or_side_by_side() {
        // A quarter turn a position for the first pair, none for the second; the fifth element of
        // a head is beyond dim.
        let turned = |pairing| {
            let rope = Rope { dim: 4, pairing, amplitude: 2.0, frequencies: vec![FRAC_PI_2, 0.0] };
            let mut x = [[1.0, 2.0, 3.0, 4.0, 5.0]; 2].concat();
            rope.turn(&mut x, 1, 5);
            assert_eq!(x[..5], [2.0, 4.0, 6.0, 8.0, 5.0]);
            x[5..].iter().map(|x| x.round()).collect::<Vec<f32>>()
        };
        assert_eq!(turned(Pairing::Half), [-6.0, 4.0, 2.0, 8.0, 5.0]);
        assert_eq!(turned(Pairing::Adjacent), [-4.0, 2.0, 6.0, 8.0, 5.0]);
    }
}
