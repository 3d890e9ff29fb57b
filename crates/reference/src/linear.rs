//! Matrix products and the norm.

/// x · y, both (N).
pub(crate) fn dot(x: &[f32], y: &[f32]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

/// y (T, N) = x (T, M) · wᵀ of w (N, M).
pub(crate) fn linear(w: &[f32], x: &[f32], m: usize) -> Vec<f32> {
    assert!(x.len().is_multiple_of(m) && w.len().is_multiple_of(m), "{m} in {}", x.len());
    let mut y = Vec::with_capacity(x.len() / m * (w.len() / m));
    for x in x.chunks_exact(m) {
        y.extend(w.chunks_exact(m).map(|row| dot(row, x) as f32));
    }
    y
}

/// y (T, N) = each row of x (T, N) over its root mean square, times w (N):
/// x · w / √(mean(x²) + eps).
pub(crate) fn rmsnorm(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let n = w.len();
    assert!(x.len().is_multiple_of(n), "{n} in {}", x.len());
    let mut y = Vec::with_capacity(x.len());
    for x in x.chunks_exact(n) {
        let scale = 1.0 / (dot(x, x) / n as f64 + f64::from(eps)).sqrt();
        y.extend(x.iter().zip(w).map(|(&x, &w)| (f64::from(x) * scale * f64::from(w)) as f32));
    }
    y
}

/// Scores (N) to probabilities that sum to 1.
pub(crate) fn softmax(scores: &mut [f64]) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_takes_rows_with_rows() {
        let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(linear(&w, &[1.0, 10.0, 0.0, -1.0], 2), [21.0, 43.0, 65.0, -2.0, -4.0, -6.0]);
    }

    #[test]
    fn a_normed_row_has_unit_mean_square_before_its_weights() {
        // The mean square of (3, 4) is 12.5: eps makes it 16.
        assert_eq!(rmsnorm(&[3.0, 4.0], &[1.0, 2.0], 3.5), [0.75, 2.0]);
    }

    #[test]
    fn softmax_survives_scores_beyond_exp() {
        let mut scores = [1000.0, 1000.0 + 3f64.ln()];
        softmax(&mut scores);
        assert!((scores[0] - 0.25).abs() < 1e-12 && (scores[1] - 0.75).abs() < 1e-12);
    }
}
