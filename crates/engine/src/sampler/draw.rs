//! The draw: a number that belongs to (seed, position), and the token that it points at.

use super::filter::{Kept, keep, mass_of_all, not_finite, scale};
use super::rank::{logit_at, rank, token};
use super::{Error, Mask, Params, Scratch, Turn};

/// A token, and access to the distribution that it was drawn from.
pub struct Drawn<'a> {
    pub token: u32,
    pub(super) kept: Kept,
    /// Where the draw left scaled logits and their ranking.
    pub(super) scratch: &'a mut Scratch,
}

/// Chooses a token by logits (V), as the module's head says.
///
/// Logits that aren't finite are an error, and so is a mask that leaves nothing. Params are taken
/// to be checked.
pub fn draw<'a>(
    scratch: &'a mut Scratch,
    logits: &[f32],
    params: &Params,
    turn: &Turn<'_>,
) -> Result<Drawn<'a>, Error> {
    assert_eq!(logits.len(), scratch.scaled.len(), "one logit for each token of the scratch");
    debug_assert_eq!(params.check(), Ok(()));
    if params.is_greedy() {
        let token = greedy(scratch, logits, params, turn)?;
        return Ok(Drawn { token, kept: Kept::One, scratch });
    }
    scale(scratch, logits, params, turn)?;
    let kept = keep(scratch, params)?;
    let token = pick(scratch, kept, uniform(params.seed, turn.position));
    Ok(Drawn { token, kept, scratch })
}

/// The token of the largest logit (V), the lowest id among equals.
fn greedy(
    scratch: &mut Scratch,
    logits: &[f32],
    params: &Params,
    turn: &Turn<'_>,
) -> Result<u32, Error> {
    if !params.has_penalties() && matches!(turn.mask, Mask::All) {
        return largest(logits);
    }
    scale(scratch, logits, params, turn)?;
    rank(&mut scratch.keys, &scratch.scaled, 1);
    scratch.keys.first().map(|&key| token(key)).ok_or(Error::NothingAllowed)
}

/// The first largest of xs (V), in one pass.
fn largest(xs: &[f32]) -> Result<u32, Error> {
    const CHUNK: usize = 64;
    let mut top = f32::NEG_INFINITY;
    let mut at = None;
    let mut finite = true;
    for (chunk_index, chunk) in xs.chunks(CHUNK).enumerate() {
        // Without an early exit, so that it compiles to vector compares.
        let mut larger = false;
        for &x in chunk {
            larger |= x > top;
            finite &= x.is_finite();
        }
        if larger {
            for (i, &x) in chunk.iter().enumerate() {
                if x > top {
                    (top, at) = (x, Some(chunk_index * CHUNK + i));
                }
            }
        }
    }
    if !finite {
        return Err(not_finite(xs, xs));
    }
    at.map(|at| at as u32).ok_or(Error::NothingAllowed)
}

/// The token at which the masses, summed down the ranking, pass u (in 0..1) of their total.
fn pick(scratch: &mut Scratch, kept: Kept, u: f64) -> u32 {
    let Scratch { best, scaled, keys, .. } = scratch;
    let first = logit_at(keys, scaled, 0, 1).expect("a filter keeps a token");
    let mass = |logit: f32| (f64::from(logit) - f64::from(first)).exp();
    let limit = match kept {
        Kept::One => 1,
        Kept::Head(n) => n,
        Kept::All => scaled.len(),
    };
    let total = match kept {
        Kept::All => mass_of_all(*best, scaled, first),
        _ => (0..limit).map_while(|i| logit_at(keys, scaled, i, limit)).map(mass).sum(),
    };
    let mut sum = 0.0;
    let mut index = 0;
    while let Some(logit) = logit_at(keys, scaled, index, limit) {
        sum += mass(logit);
        if sum > u * total {
            return token(keys[index]);
        }
        index += 1;
    }
    // u lies within the rounding of the total (one draw in ten million at most): the most probable
    // token may have it, the last and least probable one may not.
    token(keys[0])
}

/// A number in 0..1 with 53 random bits, the same for the same seed and position.
pub fn uniform(seed: u64, position: u64) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, 0, 0];
    let [low, high, ..] = philox(counter, [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Philox4x32-10: 128 random bits for a counter and a key (Salmon et al., "Parallel random
/// numbers: as easy as 1, 2, 3", 2011).
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    // The golden ratio and √3 - 1.
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let wide = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let (high_0, low_0) = wide(MULTIPLIERS[0], c[0]);
        let (high_1, low_1) = wide(MULTIPLIERS[1], c[2]);
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0];
        k = [k[0].wrapping_add(KEY_STEPS[0]), k[1].wrapping_add(KEY_STEPS[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From kat_vectors of Random123.
    #[test]
    fn philox_gives_the_published_vectors() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval_evenly() {
        const BINS: usize = 100;
        const DRAWS: u64 = 100_000;
        for seed in [0, 1, u64::MAX] {
            let mut counts = [0.0f64; BINS];
            for position in 0..DRAWS {
                counts[(uniform(seed, position) * BINS as f64) as usize] += 1.0;
            }
            let expected = DRAWS as f64 / BINS as f64;
            let chi_square: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
            // 99 degrees of freedom: 1 in 1000 at each end.
            assert!((60.0..149.0).contains(&chi_square), "seed {seed}: {chi_square}");
        }
    }

    #[test]
    fn both_halves_of_seed_and_position_count() {
        let all = [(0, 0), (1, 0), (1 << 32, 0), (0, 1), (0, 1 << 32)];
        for (i, &(seed, position)) in all.iter().enumerate() {
            for &(other_seed, other_position) in &all[..i] {
                assert_ne!(uniform(seed, position), uniform(other_seed, other_position));
            }
        }
    }

    #[test]
    fn the_largest_is_the_first_of_equals() {
        let mut xs = vec![-3.0; 300];
        for at in [299, 200, 64, 63, 1] {
            xs[at] = 2.0;
            assert_eq!(largest(&xs), Ok(at as u32));
        }
    }
}
