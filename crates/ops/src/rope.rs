//! Rotary position embedding (arXiv 2104.09864): pairs of a head turned by an angle that grows with
//! the position.
//!
//! ```text
//! (a, b) → (a·cos − b·sin, a·sin + b·cos)
//! ```

use par::Pool;
use simd::{Best, Isa, Kernel, dispatch};
use spec::Pairing;

/// Where the rotated part of each head lies in a row of heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Elements from one row to the next.
    pub stride: usize,
    pub n_heads: usize,
    /// Elements from one head to the next.
    pub head_dim: usize,
    /// The first rotated element of a head.
    pub from: usize,
    pub pairing: Pairing,
}

/// cos and sin (T, n/2) of the tokens at `positions` (T), for `frequencies` (n/2) in radians a
/// position; both times `amplitude`. Angles are taken in f64: at position 100,000 an f32 angle is
/// off by hundredths of a radian.
pub fn angles(
    cos: &mut [f32],
    sin: &mut [f32],
    positions: &[u32],
    frequencies: &[f64],
    amplitude: f64,
) {
    let half = frequencies.len();
    assert_eq!(cos.len(), positions.len() * half);
    assert_eq!(sin.len(), cos.len());
    let rows = cos.chunks_exact_mut(half).zip(sin.chunks_exact_mut(half)).zip(positions);
    for ((cos, sin), &position) in rows {
        for i in 0..half {
            let (s, c) = (f64::from(position) * frequencies[i]).sin_cos();
            cos[i] = (c * amplitude) as f32;
            sin[i] = (s * amplitude) as f32;
        }
    }
}

/// Turns the heads of x (T, stride) in place by cos and sin (T, n/2).
pub fn forward(pool: &Pool, x: &mut [f32], cos: &[f32], sin: &[f32], half: usize, heads: Heads) {
    turn(pool, x, (cos, sin, half), heads, false);
}

/// dx (T, stride) in place: the gradient of what was turned becomes that of what it was before.
pub fn backward(pool: &Pool, dx: &mut [f32], cos: &[f32], sin: &[f32], half: usize, heads: Heads) {
    turn(pool, dx, (cos, sin, half), heads, true);
}

fn turn(
    pool: &Pool,
    x: &mut [f32],
    (cos, sin, half): (&[f32], &[f32], usize),
    heads: Heads,
    is_back: bool,
) {
    assert!(heads.from + 2 * half <= heads.head_dim, "the rotated part fits its head");
    assert!(heads.n_heads * heads.head_dim <= heads.stride, "the heads fit their row");
    assert_eq!(x.len() / heads.stride * half, cos.len(), "a row of angles for each row of heads");
    let best = Best::detect();
    pool.for_chunks(x, heads.stride, |t, row| {
        let (cos, sin) = (&cos[t * half..][..half], &sin[t * half..][..half]);
        dispatch(best, Rotate { row, cos, sin, heads, is_back });
    });
}

struct Rotate<'a> {
    row: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    heads: Heads,
    /// By the transposed matrix.
    is_back: bool,
}

impl Kernel for Rotate<'_> {
    type Output = ();

    // Plain loops: products are rounded before they are added on every ISA, so all agree.
    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        // Two loops rather than a sign: what serving computes stays as it is.
        if self.is_back {
            self.turn_back();
        } else {
            self.turn();
        }
    }
}

impl Rotate<'_> {
    #[inline(always)]
    fn turn(self) {
        let half = self.cos.len();
        for head in self.row.chunks_exact_mut(self.heads.head_dim).take(self.heads.n_heads) {
            let part = &mut head[self.heads.from..][..2 * half];
            match self.heads.pairing {
                Pairing::Half => {
                    let (a, b) = part.split_at_mut(half);
                    for i in 0..half {
                        let (x, y) = (a[i], b[i]);
                        a[i] = x * self.cos[i] - y * self.sin[i];
                        b[i] = x * self.sin[i] + y * self.cos[i];
                    }
                }
                Pairing::Adjacent => {
                    for (i, pair) in part.chunks_exact_mut(2).enumerate() {
                        let (x, y) = (pair[0], pair[1]);
                        pair[0] = x * self.cos[i] - y * self.sin[i];
                        pair[1] = x * self.sin[i] + y * self.cos[i];
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn turn_back(self) {
        let half = self.cos.len();
        for head in self.row.chunks_exact_mut(self.heads.head_dim).take(self.heads.n_heads) {
            let part = &mut head[self.heads.from..][..2 * half];
            for i in 0..half {
                let (a, b) = match self.heads.pairing {
                    Pairing::Half => (i, half + i),
                    Pairing::Adjacent => (2 * i, 2 * i + 1),
                };
                let (x, y) = (part[a], part[b]);
                part[a] = x * self.cos[i] + y * self.sin[i];
                part[b] = y * self.cos[i] - x * self.sin[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{check, noise};

    #[test]
    fn gradient_matches_finite_difference() {
        // Two tokens of two heads of six, of which four elements from the second on are turned.
        let (x, dy) = (noise(1, 24), noise(2, 24));
        let (mut cos, mut sin) = ([0.0; 4], [0.0; 4]);
        angles(&mut cos, &mut sin, &[3, 8], &[1.0, 0.25], 1.3);
        for pairing in [Pairing::Half, Pairing::Adjacent] {
            let heads = Heads { stride: 12, n_heads: 2, head_dim: 6, from: 1, pairing };
            let mut dx = dy.clone();
            backward(&Pool::new(2), &mut dx, &cos, &sin, 2, heads);
            let loss = |x: &[f64]| {
                let mut sum = 0.0;
                for (head, x) in x.chunks_exact(6).enumerate() {
                    let dy = &dy[head * 6..][..6];
                    sum += x[0] * f64::from(dy[0]) + x[5] * f64::from(dy[5]);
                    for i in 0..2 {
                        let at = head / 2 * 2 + i;
                        let (c, s) = (f64::from(cos[at]), f64::from(sin[at]));
                        let (a, b) = match pairing {
                            Pairing::Half => (1 + i, 3 + i),
                            Pairing::Adjacent => (1 + 2 * i, 2 + 2 * i),
                        };
                        sum += (x[a] * c - x[b] * s) * f64::from(dy[a]);
                        sum += (x[a] * s + x[b] * c) * f64::from(dy[b]);
                    }
                }
                sum
            };
            check(loss, &x, &dx, 1e-5);
        }
    }

    fn turned(x: &[f32], position: u32, pairing: Pairing) -> Vec<f32> {
        let frequencies = [1.0, 0.25];
        let (mut cos, mut sin) = ([0.0; 2], [0.0; 2]);
        angles(&mut cos, &mut sin, &[position], &frequencies, 1.0);
        let heads = Heads { stride: x.len(), n_heads: 1, head_dim: x.len(), from: 1, pairing };
        let mut x = x.to_vec();
        forward(&Pool::new(1), &mut x, &cos, &sin, 2, heads);
        x
    }

    #[test]
    fn position_zero_changes_nothing() {
        let x = [9.0, 1.0, 2.0, 3.0, 4.0];
        assert_eq!(turned(&x, 0, Pairing::Half), x);
        assert_eq!(turned(&x, 0, Pairing::Adjacent), x);
    }

    #[test]
    fn pairs_are_turned_by_their_angle() {
        let (s, c) = 3f32.sin_cos();
        let x = turned(&[9.0, 1.0, 0.0, 0.0, 1.0], 3, Pairing::Half);
        assert_eq!(x[0], 9.0, "what lies before the rotated part stays");
        assert!((x[1] - c).abs() < 1e-6 && (x[3] - s).abs() < 1e-6, "{x:?}");
        let x = turned(&[9.0, 1.0, 0.0, 0.0, 1.0], 3, Pairing::Adjacent);
        assert!((x[1] - c).abs() < 1e-6 && (x[2] - s).abs() < 1e-6, "{x:?}");
        let (s, c) = 0.75f32.sin_cos();
        assert!((x[3] + s).abs() < 1e-6 && (x[4] - c).abs() < 1e-6, "{x:?}");
    }

    #[test]
    fn scores_depend_on_the_distance_only() {
        let (q, k) = ([0.0, 0.3, -1.2, 0.8, 2.0], [0.0, 1.1, 0.4, -0.7, 0.9]);
        let score = |i, j| -> f32 {
            let (q, k) = (turned(&q, i, Pairing::Half), turned(&k, j, Pairing::Half));
            q.iter().zip(&k).map(|(q, k)| q * k).sum()
        };
        assert!((score(7, 3) - score(104, 100)).abs() < 1e-5);
    }
}
