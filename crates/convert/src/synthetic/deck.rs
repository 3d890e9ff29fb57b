//! Random rows at the speed of copying.
//!
//! A *deck* is a few thousand *cards*: runs of up to 256 Gaussian weights, encoded once. A row is
//! dealt from it with replacement, so its weights have the right distribution in any type without
//! being encoded again, and rows differ in all but a few cards.

use std::f64::consts::TAU;

use formats::TensorLayout;
use par::Pool;
use quant::QuantType;

/// Enough that two rows have a card of theirs in common once in so many places.
const CARDS: usize = 2048;
/// The largest block of any type.
const CARD_LEN_MAX: usize = 256;
/// Biases are small beside what they are added to.
const BIAS: f64 = 0.02;

/// What the weights of a tensor are like; tensors of one spread share a deck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spread {
    quant: QuantType,
    /// Weights of a card: divides a row, and is whole blocks.
    card_len: usize,
    values: Values,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Values {
    Ones,
    Bias,
    /// Gaussian with variance 1 over this.
    FanIn(usize),
}

impl Spread {
    /// By the name and shape of a tensor in a GGUF file.
    pub(crate) fn of(layout: &TensorLayout) -> Self {
        let columns = layout.shape.last().copied().unwrap_or(1);
        let values = match layout.shape[..] {
            [_, latent, _] if layout.name.contains("attn_k_b") => Values::FanIn(latent),
            [_, _, ..] => Values::FanIn(columns),
            _ if layout.name.ends_with(".bias") => Values::Bias,
            _ => Values::Ones,
        };
        // Blocks have a power of two of weights, and a row is whole blocks.
        let card_len = 1 << columns.trailing_zeros().min(CARD_LEN_MAX.trailing_zeros());
        Spread { quant: layout.quant, card_len, values }
    }
}

/// Encoded cards, one after the other.
pub(crate) struct Deck {
    card_bytes: usize,
    cards: Vec<u8>,
}

impl Deck {
    pub(crate) fn new(spread: Spread, seed: u64, pool: &Pool) -> Self {
        let Spread { quant, card_len, values } = spread;
        let (mean, deviation) = match values {
            Values::Ones => (1.0, 0.0),
            Values::Bias => (0.0, BIAS),
            Values::FanIn(n) => (0.0, (n as f64).sqrt().recip()),
        };
        let card_bytes = quant.row_bytes(card_len).expect("a card is whole blocks");
        let mut cards = vec![0; CARDS * card_bytes];
        pool.for_chunks(&mut cards, card_bytes, |i, card| {
            let mut random = Random(scramble(seed ^ scramble(i as u64)));
            let weights: Vec<f32> =
                (0..card_len).map(|_| (mean + deviation * random.gaussian()) as f32).collect();
            quant::encode(quant, &weights, card);
        });
        Deck { card_bytes, cards }
    }

    /// row = cards drawn by (seed, index), whole cards of it.
    pub(crate) fn deal(&self, seed: u64, index: u64, row: &mut [u8]) {
        let mut random = Random(scramble(seed ^ scramble(index)));
        let n_cards = (self.cards.len() / self.card_bytes) as u64;
        for out in row.chunks_exact_mut(self.card_bytes) {
            // The upper bits, as a number below n_cards.
            let card = (((random.next() >> 32) * n_cards) >> 32) as usize;
            out.copy_from_slice(&self.cards[card * self.card_bytes..][..self.card_bytes]);
        }
    }
}

/// The seed of one tensor of a model.
pub(crate) fn seed_of(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed, |state, byte| scramble(state ^ u64::from(byte)))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scramble(self.0)
    }

    /// Uniform in (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Of mean 0 and variance 1, by Box and Muller's transform.
    fn gaussian(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str, quant: QuantType, shape: &[usize]) -> TensorLayout {
        TensorLayout { name: name.into(), quant, shape: shape.into() }
    }

    fn rows(layout: &TensorLayout, seed: u64) -> Vec<f32> {
        let columns = *layout.shape.last().unwrap();
        let n_rows = layout.shape.iter().product::<usize>() / columns;
        let deck = Deck::new(Spread::of(layout), seed, &Pool::new(2));
        let mut bytes = vec![0; layout.quant.row_bytes(columns).unwrap()];
        let mut weights = vec![0.0; n_rows * columns];
        for (i, out) in weights.chunks_exact_mut(columns).enumerate() {
            deck.deal(seed_of(seed, &layout.name), i as u64, &mut bytes);
            quant::decode(layout.quant, &bytes, out);
        }
        weights
    }

    #[test]
    fn weights_of_every_type_have_the_variance_of_their_fan_in() {
        let types = QuantType::ALL.iter().filter(|ty| ty.ggml_id().is_some());
        for &ty in types {
            for (columns, len_min) in [(768, 256), (96, 32)] {
                if ty.block_len() > len_min {
                    continue;
                }
                let weights = rows(&layout("blk.0.ffn_up.weight", ty, &[128, columns]), 3);
                let n = weights.len() as f32;
                let variance = weights.iter().map(|w| w * w).sum::<f32>() / n * columns as f32;
                // Two bits a weight keep less of it.
                let bound = if ty == QuantType::Q2K { 0.15 } else { 0.05 };
                assert!((variance - 1.0).abs() < bound, "{} {columns}: {variance}", ty.name());
            }
        }
    }

    #[test]
    fn keys_of_the_latent_are_scaled_by_the_latent() {
        let split = layout("blk.0.attn_k_b.weight", QuantType::F32, &[8, 512, 128]);
        let variance =
            rows(&split, 3).iter().map(|w| w * w).sum::<f32>() / (8.0 * 512.0 * 128.0) * 512.0;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn norms_are_one_and_biases_are_small() {
        let norm = rows(&layout("blk.0.attn_norm.weight", QuantType::F32, &[320]), 3);
        assert!(norm.iter().all(|&x| x == 1.0));
        let bias = rows(&layout("blk.0.attn_q.bias", QuantType::F32, &[320]), 3);
        assert!(bias.iter().all(|x| x.abs() < 0.2) && bias.iter().any(|&x| x != 0.0));
    }

    #[test]
    fn a_seed_a_name_and_a_row_say_what_is_dealt() {
        let up = layout("blk.0.ffn_up.weight", QuantType::Q4_0, &[4, 256]);
        let down = TensorLayout { name: "blk.0.ffn_down.weight".into(), ..up.clone() };
        assert_eq!(rows(&up, 3), rows(&up, 3));
        assert_ne!(rows(&up, 3), rows(&up, 4));
        assert_ne!(rows(&up, 3), rows(&down, 3));
        let weights = rows(&up, 3);
        assert_ne!(weights[..256], weights[256..512]);
    }
}
