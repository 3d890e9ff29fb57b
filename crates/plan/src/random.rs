//! Draws that depend on a seed, an index and a purpose, and on nothing that was drawn before.

/// SplitMix64's finaliser (Steele, Lea, Flood 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 64 bits.
pub(crate) fn bits(seed: u64, index: u64, purpose: u64) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let x = mix(seed.wrapping_add(STEP));
    let x = mix(x ^ index.wrapping_mul(STEP).wrapping_add(STEP));
    mix(x ^ purpose.wrapping_mul(STEP).wrapping_add(STEP))
}

/// Above 0 and below 1.
pub(crate) fn uniform(seed: u64, index: u64, purpose: u64) -> f64 {
    ((bits(seed, index, purpose) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// With mean 0 and variance 1, by Box and Muller; takes two purposes, the second the next odd one.
pub(crate) fn normal(seed: u64, index: u64, purpose: u64) -> f64 {
    let (radius, angle) =
        (uniform(seed, index, 2 * purpose), uniform(seed, index, 2 * purpose + 1));
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_apart() {
        let draws: Vec<f64> = (0..10_000).map(|i| uniform(1, i, 0)).collect();
        let mean = draws.iter().sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let normals: Vec<f64> = (0..10_000).map(|i| normal(1, i, 0)).collect();
        let (sum, squares): (f64, f64) =
            normals.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
        assert!((sum / 1e4).abs() < 0.04 && (squares / 1e4 - 1.0).abs() < 0.05);
        assert_eq!(bits(1, 2, 3), bits(1, 2, 3));
        let others = [bits(2, 2, 3), bits(1, 3, 3), bits(1, 2, 4), bits(3, 2, 1)];
        assert!(others.iter().all(|&other| other != bits(1, 2, 3)));
    }
}
