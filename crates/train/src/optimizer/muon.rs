//! Muon: momentum of a matrix, brought near an orthogonal one by five Newton-Schulz steps.
//!
//! ```text
//! X ← X / |X|        X ← a X + (b A + c A²) X        A = X Xᵀ
//! a, b, c = 3.4445, -4.7750, 2.0315                                       (Jordan 2024)
//! w ← w - rate · 0.2 √max(rows, columns) · X                        (arXiv 2502.16982)
//! ```
//!
//! With that factor a step is as large as AdamW's, so rates can be compared.

use par::Pool;

use super::{Moments, Settings, Weight};

const A: f32 = 3.4445;
const B: f32 = -4.7750;
const C: f32 = 2.0315;
const N_STEPS: usize = 5;
const SIZE: f64 = 0.2;

/// Whether Muon moves this tensor: a matrix of a layer, but not one that is looked up by row.
pub(super) fn moves(weight: &Weight<'_>) -> bool {
    let by_row = ["embed_tokens", "lm_head"].iter().any(|part| weight.name.contains(part));
    weight.shape.len() == 2 && weight.shape.iter().all(|&n| n > 1) && !by_row
}

/// Moves one matrix: settings, rate, and what gradients are multiplied by.
pub(super) fn update(
    pool: &Pool,
    weight: &mut Weight<'_>,
    moments: &mut Moments,
    (settings, rate, scale): (&Settings, f64, f64),
) {
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    moments.first.resize(rows * columns, 0.0);
    let (momentum, scale) = (settings.muon_momentum as f32, scale as f32);
    // Nesterov: the momentum as it will be after the next step of the same gradient.
    let mut x = vec![0.0; rows * columns];
    for ((x, first), g) in x.iter_mut().zip(&mut moments.first).zip(weight.gradient) {
        *first = momentum * *first + g * scale;
        *x = momentum * *first + g * scale;
    }
    let x = orthogonal(pool, x, rows, columns);
    let step = (rate * SIZE * (rows.max(columns) as f64).sqrt()) as f32;
    let keep = (1.0 - rate * settings.weight_decay) as f32;
    for (value, x) in weight.value.iter_mut().zip(&x) {
        *value = *value * keep - step * x;
    }
}

/// A matrix near the closest one whose rows, or columns if there are fewer, are orthonormal.
/// x (rows, columns).
fn orthogonal(pool: &Pool, x: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    if rows > columns {
        let wide = orthogonal(pool, transposed(&x, rows, columns), columns, rows);
        return transposed(&wide, columns, rows);
    }
    let mut x = x;
    let norm = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt() + 1e-7;
    x.iter_mut().for_each(|x| *x /= norm as f32);
    for _ in 0..N_STEPS {
        let across = transposed(&x, rows, columns);
        let a = product(pool, &x, &across, rows);
        let square = product(pool, &a, &a, rows);
        let mix: Vec<f32> = a.iter().zip(&square).map(|(a, square)| B * a + C * square).collect();
        let mixed = product(pool, &mix, &x, rows);
        x.iter_mut().zip(&mixed).for_each(|(x, mixed)| *x = A * *x + mixed);
    }
    x
}

/// xᵀ of x (rows, columns).
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for (i, row) in x.chunks_exact(columns).enumerate() {
        for (j, value) in row.iter().enumerate() {
            y[j * rows + i] = *value;
        }
    }
    y
}

/// x y, x with so many rows; each output is a sum over ascending k.
fn product(pool: &Pool, x: &[f32], y: &[f32], rows: usize) -> Vec<f32> {
    let inner = x.len() / rows;
    let columns = y.len() / inner;
    let mut out = vec![0.0; rows * columns];
    pool.for_chunks(&mut out, columns, |i, out| {
        for (k, factor) in x[i * inner..][..inner].iter().enumerate() {
            for (out, y) in out.iter_mut().zip(&y[k * columns..][..columns]) {
                *out += factor * y;
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_orthonormal_or_nearly() {
        let pool = Pool::new(1);
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for (rows, columns) in [(6, 20), (20, 6)] {
            let x: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
            let y = orthogonal(&pool, x, rows, columns);
            let (wide, n) =
                if rows > columns { (transposed(&y, rows, columns), columns) } else { (y, rows) };
            let across = transposed(&wide, n, wide.len() / n);
            let gram = product(&pool, &wide, &across, n);
            for i in 0..n {
                for j in 0..n {
                    let found = gram[i * n + j];
                    // Five steps bring singular values into [0.7, 1.2].
                    let range = if i == j { 0.4..1.6 } else { -0.5..0.5 };
                    assert!(range.contains(&found), "({i}, {j}): {found}");
                }
            }
        }
    }

    #[test]
    fn embeddings_and_vectors_are_left_to_adamw() {
        let named = |name, shape: &'static [usize]| {
            moves(&Weight { name, shape, value: &mut [], gradient: &[] })
        };
        assert!(named("model.layers.0.mlp.up_proj.weight", &[4, 8]));
        assert!(!named("model.embed_tokens.weight", &[4, 8]));
        assert!(!named("lm_head.weight", &[4, 8]));
        assert!(!named("model.norm.weight", &[8]));
    }
}
