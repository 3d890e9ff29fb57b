//! Penalties, mask, temperature, top-k, top-p and min-p.

use simd::{Best, Isa, Kernel, dispatch, math};

use super::rank::{logit_at, rank};
use super::{Error, Params, Scratch, Turn};

/// The tokens that may be drawn.
#[derive(Debug, Clone, Copy)]
pub enum Mask<'a> {
    All,
    /// All but these ids.
    Except(&'a [u32]),
    /// Those whose bit is set: bit i % 64 of word i / 64. (⌈V / 64⌉)
    Only(&'a [u64]),
}

/// What the filters left.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// The token drawn and no other: temperature 0.
    One,
    /// The first n tokens of the ranking, which `Scratch::keys` holds.
    Head(usize),
    /// Every token above -∞.
    All,
}

/// `scratch.scaled` becomes logits (V) after penalties, temperature and mask.
pub(super) fn scale(
    scratch: &mut Scratch,
    logits: &[f32],
    params: &Params,
    turn: &Turn<'_>,
) -> Result<(), Error> {
    let scaled = &mut scratch.scaled[..];
    scaled.copy_from_slice(logits);
    if params.has_penalties() {
        penalise(scaled, &mut scratch.counts, params, turn);
    }
    let temperature = if params.is_greedy() { 1.0 } else { params.temperature };
    if !divide(scaled, temperature) {
        return Err(not_finite(logits, scaled));
    }
    mask(scaled, turn.mask);
    Ok(())
}

/// xs (V) with the penalties applied. counts (V) is 0 before and after.
///
/// Ids beyond V, which a prompt may hold, can't be drawn and are passed over.
fn penalise(xs: &mut [f32], counts: &mut [u32], params: &Params, turn: &Turn<'_>) {
    let vocab = xs.len();
    let known = |id: &&u32| (**id as usize) < vocab;
    if params.repetition_penalty != 1.0 {
        let penalty = params.repetition_penalty;
        let seen = turn.prompt.iter().chain(turn.generated).filter(known);
        for &id in seen.clone() {
            counts[id as usize] = 1;
        }
        for &id in seen {
            // The first visit takes the mark away, so that a token is penalised once.
            if std::mem::take(&mut counts[id as usize]) == 1 {
                let x = &mut xs[id as usize];
                *x = if *x < 0.0 { *x * penalty } else { *x / penalty };
            }
        }
    }
    if params.presence_penalty != 0.0 || params.frequency_penalty != 0.0 {
        let generated = turn.generated.iter().filter(known);
        for &id in generated.clone() {
            counts[id as usize] += 1;
        }
        for &id in generated {
            let count = std::mem::take(&mut counts[id as usize]);
            if count > 0 {
                let frequency = params.frequency_penalty * count as f32;
                xs[id as usize] -= frequency + params.presence_penalty;
            }
        }
    }
}

/// xs (V) divided by the temperature; false if any of it is then not finite.
fn divide(xs: &mut [f32], temperature: f32) -> bool {
    let mut finite = true;
    for x in xs {
        *x /= temperature;
        finite &= x.is_finite();
    }
    finite
}

/// Names the first fault of logits (V), or where they are fine, of what became of them.
pub(super) fn not_finite(logits: &[f32], scaled: &[f32]) -> Error {
    if let Some(i) = logits.iter().position(|x| !x.is_finite()) {
        return Error::NotFinite { token: i as u32, logit: logits[i] };
    }
    let i = scaled.iter().position(|x| !x.is_finite()).expect("the caller found one");
    Error::Overflow { token: i as u32, logit: logits[i] }
}

/// xs (V) with -∞ where the mask forbids.
fn mask(xs: &mut [f32], mask: Mask<'_>) {
    match mask {
        Mask::All => {}
        Mask::Except(ids) => {
            for &id in ids {
                if let Some(x) = xs.get_mut(id as usize) {
                    *x = f32::NEG_INFINITY;
                }
            }
        }
        Mask::Only(words) => {
            assert_eq!(words.len(), xs.len().div_ceil(64), "a mask has a bit for each token");
            for (xs, word) in xs.chunks_mut(64).zip(words) {
                for (i, x) in xs.iter_mut().enumerate() {
                    if word >> i & 1 == 0 {
                        *x = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

/// What top-k, top-p and min-p leave of `scratch.scaled`, at least one token.
pub(super) fn keep(scratch: &mut Scratch, params: &Params) -> Result<Kept, Error> {
    let Scratch { best, scaled, keys, .. } = scratch;
    keys.clear();
    let vocab = scaled.len();
    let top_k = if params.top_k == 0 { vocab } else { params.top_k.min(vocab) };
    if top_k < vocab {
        rank(keys, scaled, top_k);
    }
    let largest = logit_at(keys, scaled, 0, top_k).ok_or(Error::NothingAllowed)?;
    // All masses are relative to the most probable token's, which is 1.
    let mass = |logit: f32| (f64::from(logit) - f64::from(largest)).exp();
    let mut kept = if top_k < vocab { Kept::Head(keys.len()) } else { Kept::All };

    if params.top_p < 1.0 {
        let total = match kept {
            Kept::Head(n) => (0..n).map_while(|i| logit_at(keys, scaled, i, n)).map(mass).sum(),
            _ => mass_of_all(*best, scaled, largest),
        };
        let enough = f64::from(params.top_p) * total;
        let mut sum = 0.0;
        let mut n = 0;
        while let Some(logit) = logit_at(keys, scaled, n, top_k) {
            n += 1;
            sum += mass(logit);
            if sum >= enough {
                break;
            }
        }
        kept = Kept::Head(n);
    }

    if params.min_p > 0.0 {
        let limit = if let Kept::Head(n) = kept { n } else { vocab };
        let mut n = 1;
        while logit_at(keys, scaled, n, limit).is_some_and(|x| mass(x) >= params.min_p.into()) {
            n += 1;
        }
        kept = Kept::Head(n);
    }
    Ok(kept)
}

/// Σ e^(x - largest) over xs (V).
pub(super) fn mass_of_all(best: Best, xs: &[f32], largest: f32) -> f64 {
    dispatch(best, Mass { xs, largest })
}

struct Mass<'a> {
    /// (V)
    xs: &'a [f32],
    largest: f32,
}

impl Kernel for Mass<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> f64 {
        // exp_sum overwrites what it sums; a run of this length is summed in one piece.
        let mut run = [0.0; 512];
        let mut total = 0.0;
        for xs in self.xs.chunks(run.len()) {
            let run = &mut run[..xs.len()];
            run.copy_from_slice(xs);
            total += f64::from(math::exp_sum(isa, run, self.largest));
        }
        total
    }
}
