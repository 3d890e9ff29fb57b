//! Draws that stay the same for ever, and the cut between what is learned and what is held out.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of draws.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed, of which there are many.
    pub(crate) fn new(seed: u64, stream: u64) -> Draw {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Draw(rng)
    }

    /// A number below `n`, which is above 0.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        // Biased by less than n in 2^32.
        ((u64::from(self.0.next_u32()) * u64::from(n)) >> 32) as u32
    }

    /// A number from `least` to `greatest`.
    pub(crate) fn within(&mut self, least: i64, greatest: i64) -> i64 {
        least + i64::from(self.below((greatest - least + 1) as u32))
    }

    /// One of `xs`, of which there is at least one.
    pub(crate) fn one_of<'a, T: ?Sized>(&mut self, xs: &[&'a T]) -> &'a T {
        xs[self.below(xs.len() as u32) as usize]
    }

    /// Puts `xs` in a random order.
    pub(crate) fn shuffle<T>(&mut self, xs: &mut [T]) {
        for last in (1..xs.len()).rev() {
            xs.swap(last, self.below(last as u32 + 1) as usize);
        }
    }
}

/// One question in so many is held out.
const PARTS: u64 = 8;

/// Whether the question with this content is held out.
pub(crate) fn is_held_out(key: &str) -> bool {
    // FNV-1a, whose low bits alone would follow those of the last letter.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)) % PARTS == 0
}
