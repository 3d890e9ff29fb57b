//! A backward against finite differences, taken in f64 of a loss that the test writes out.

/// Panics unless each of `gradient` (N) is the slope of `loss` at x (N), within `tolerance` of the
/// largest slope.
pub(crate) fn check(loss: impl Fn(&[f64]) -> f64, x: &[f32], gradient: &[f32], tolerance: f64) {
    assert_eq!(x.len(), gradient.len(), "a gradient for each number");
    let mut at: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let slopes: Vec<f64> = (0..x.len())
        .map(|i| {
            let (here, step) = (at[i], 1e-5);
            at[i] = here + step;
            let above = loss(&at);
            at[i] = here - step;
            let below = loss(&at);
            at[i] = here;
            (above - below) / (2.0 * step)
        })
        .collect();
    let largest = slopes.iter().fold(0.0, |largest: f64, slope| largest.max(slope.abs()));
    assert!(largest > 0.0, "a loss that depends on its input");
    for (i, (slope, &found)) in slopes.iter().zip(gradient).enumerate() {
        let error = (slope - f64::from(found)).abs() / largest;
        assert!(error <= tolerance, "{i}: {found}, by differences {slope}");
    }
}

/// Numbers in -2..2 that a seed sets.
pub(crate) fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 4.0 - 2.0
    };
    (0..n).map(|_| next()).collect()
}
