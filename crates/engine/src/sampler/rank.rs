//! Tokens ranked by logit, largest first, ties by the lower id.
//!
//! A token's key is one integer, and ascending keys are the ranking:
//!
//! ```text
//! key = (bits of the logit, turned so that larger logits have smaller ones) · 2³² + id
//! ```

/// Logits looked at together: most chunks hold none that is large enough.
const CHUNK: usize = 64;
/// Room beyond twice n, so that a small n isn't cut after every chunk.
const SLACK: usize = 256;
/// The first tokens to rank when it isn't known how many are needed, and how much more each time.
const FIRST: usize = 256;
const GROWTH: usize = 8;

fn key(logit: f32, token: usize) -> u64 {
    // Adding 0 turns -0 into the 0 that it ties with.
    let bits = (logit + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 { bits | (1 << 31) } else { !bits };
    (u64::from(!ascending) << 32) | token as u64
}

/// The token of a key.
pub(super) fn token(key: u64) -> u32 {
    key as u32
}

/// keys become the n first tokens of the ranking of xs (V); fewer if fewer are above -∞.
///
/// keys has room for V. Nothing in xs is NaN.
pub(super) fn rank(keys: &mut Vec<u64>, xs: &[f32], n: usize) {
    keys.clear();
    let room = 2 * n + SLACK;
    let mut floor = f32::NEG_INFINITY;
    for (chunk_index, chunk) in xs.chunks(CHUNK).enumerate() {
        // Without an early exit, so that it compiles to vector compares.
        if !chunk.iter().fold(false, |any, &x| any | (x > floor)) {
            continue;
        }
        for (i, &x) in chunk.iter().enumerate() {
            // Strictly: an equal logit of a higher id doesn't displace a lower one.
            if x > floor {
                keys.push(key(x, chunk_index * CHUNK + i));
            }
        }
        if keys.len() > room {
            cut(keys, n);
            floor = keys.last().map_or(floor, |&last| xs[token(last) as usize]);
        }
    }
    cut(keys, n);
    keys.sort_unstable();
}

/// Leaves the n smallest keys, the largest of them last.
fn cut(keys: &mut Vec<u64>, n: usize) {
    if n > 0 && n < keys.len() {
        keys.select_nth_unstable(n - 1);
    }
    keys.truncate(n);
}

/// The logit that is index-th in the ranking of xs (V), None at limit or where only -∞ is left.
///
/// Ranks further than `keys` does if it must: callers go down one by one and mostly stop early.
pub(super) fn logit_at(keys: &mut Vec<u64>, xs: &[f32], index: usize, limit: usize) -> Option<f32> {
    if index >= limit {
        return None;
    }
    if index >= keys.len() {
        rank(keys, xs, (GROWTH * index).max(FIRST).min(limit));
    }
    keys.get(index).map(|&key| xs[token(key) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The ranking by a stable sort of everything.
    fn by_sorting(xs: &[f32], n: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..xs.len() as u32).collect();
        ids.retain(|&id| xs[id as usize] > f32::NEG_INFINITY);
        ids.sort_by(|&a, &b| xs[b as usize].partial_cmp(&xs[a as usize]).unwrap());
        ids.truncate(n);
        ids
    }

    fn ranked(xs: &[f32], n: usize) -> Vec<u32> {
        let mut keys = Vec::new();
        rank(&mut keys, xs, n);
        keys.into_iter().map(token).collect()
    }

    #[test]
    fn ties_go_to_the_lower_id_and_zeros_tie() {
        assert_eq!(ranked(&[1.0, 0.0, -0.0, 1.0, 0.0, -1.0], 5), [0, 3, 1, 2, 4]);
    }

    #[test]
    fn what_is_masked_has_no_rank() {
        assert_eq!(ranked(&[f32::NEG_INFINITY, -5.0, f32::NEG_INFINITY], 3), [1]);
        assert!(ranked(&[f32::NEG_INFINITY; 3], 3).is_empty());
    }

    #[test]
    fn rising_and_falling_logits_are_ranked_as_well() {
        let rising: Vec<f32> = (0..5_000).map(|i| i as f32 * 0.01).collect();
        let falling: Vec<f32> = rising.iter().rev().copied().collect();
        for xs in [rising, falling] {
            for n in [1, 40, 700, 4_999, 5_000] {
                assert_eq!(ranked(&xs, n), by_sorting(&xs, n), "n = {n}");
            }
        }
    }

    #[test]
    fn a_ranking_grows_to_where_it_is_read() {
        let xs: Vec<f32> = (0..3_000).map(|i| ((i * 7_919) % 3_000) as f32).collect();
        let mut keys = Vec::new();
        for index in 0..2_900 {
            let found = logit_at(&mut keys, &xs, index, 2_900);
            assert_eq!(found, Some(2_999.0 - index as f32));
        }
        assert_eq!(logit_at(&mut keys, &xs, 2_900, 2_900), None);
    }

    proptest! {
        // Few distinct values, so most tokens tie.
        #[test]
        fn ranking_agrees_with_sorting(
            xs in prop::collection::vec((-3i8..4).prop_map(f32::from), 1..2_000),
            n in 0usize..600,
        ) {
            prop_assert_eq!(ranked(&xs, n), by_sorting(&xs, n));
        }
    }
}
