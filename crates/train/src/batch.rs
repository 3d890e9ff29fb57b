//! What an update learns from: sequences, and for every learned token what the loss needs.

use model::Decoder;
use model::learn::Sequences;

use crate::Error;
use crate::groups::Sample;
use crate::loss::aggregate::{self, Constants};
use crate::loss::{self, Aggregate, Figures, Settings, Tokens};
use crate::pack::passes;
use crate::trainee::Trainee;

/// How a batch is learned from.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub loss: Settings,
    pub aggregate: Aggregate,
    pub constants: Constants,
    pub temperature: f32,
    /// Tokens that go through together.
    pub pass_tokens: usize,
    /// What is compared with the rollout, if the weights are still those that wrote it.
    pub is_first: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Learned {
    pub loss: f64,
    pub figures: Figures,
    /// The largest difference of a log-probability from that at the rollout; 0 if the weights
    /// have moved since.
    pub difference: f64,
    /// Learned tokens for which a router chose otherwise than at the rollout.
    pub n_flips: usize,
    /// Tokens that went through, prompts included.
    pub n_tokens: usize,
}

/// A sample's sequence, and what is known of its learned tokens.
struct Item {
    tokens: Vec<u32>,
    is_target: Vec<bool>,
    old: Vec<f32>,
    /// What the routers chose, of tokens that were drawn with just that probability.
    drawn: Vec<Option<u64>>,
    weights: Vec<f32>,
    advantage: f32,
}

/// Adds the gradient of the loss of these samples.
///
/// # Errors
///
/// Numbers that are not finite.
pub fn learn(
    trainee: &mut Trainee,
    samples: &[&Sample],
    reference: Option<&Decoder>,
    how: &How,
) -> Result<Learned, Error> {
    let items = items(samples, how);
    let lens: Vec<usize> = items.iter().map(|item| item.tokens.len()).collect();
    let mut learned = Learned::default();
    for range in passes(&lens, how.pass_tokens) {
        let items = &items[range];
        let mut sequences = Sequences::new(how.temperature);
        items.iter().for_each(|item| sequences.push(&item.tokens, &item.is_target));
        let by_reference = match reference {
            Some(reference) => Some(trainee.forward_by(reference, &sequences)?),
            None => None,
        };
        let found = trainee.forward(&sequences)?;
        let flat = |of: &dyn Fn(&Item) -> Vec<f32>| items.iter().flat_map(of).collect::<Vec<_>>();
        let (old, weights) = (flat(&|item| item.old.clone()), flat(&|item| item.weights.clone()));
        let advantages = flat(&|item| vec![item.advantage; item.old.len()]);
        if how.is_first {
            let drawn = items.iter().flat_map(|item| &item.drawn);
            let pairs = found.logprobs.iter().zip(&old).zip(drawn);
            for (((now, then), drawn), route) in pairs.zip(&found.routes) {
                if let Some(drawn) = drawn {
                    learned.difference = larger(learned.difference, f64::from((now - then).abs()));
                    learned.n_flips += usize::from(drawn != route);
                }
            }
        }
        let mut end = 0;
        let ends: Vec<usize> = items
            .iter()
            .map(|item| {
                end += item.old.len();
                end
            })
            .collect();
        let tokens = Tokens {
            logprobs: &found.logprobs,
            old: &old,
            reference: by_reference.as_deref(),
            entropies: &found.entropies,
            weights: &weights,
            advantages: &advantages,
            ends: &ends,
        };
        let loss = loss::loss(&tokens, &how.loss);
        learned.loss += loss.value;
        learned.figures.add(&loss.figures);
        learned.n_tokens += sequences.n_tokens();
        if !loss.value.is_finite() {
            return Ok(learned);
        }
        trainee.backward(&loss.d_logprobs, &loss.d_entropies)?;
    }
    Ok(learned)
}

/// The larger of two, a NaN being larger than all.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn items(samples: &[&Sample], how: &How) -> Vec<Item> {
    let mut items: Vec<Item> = samples
        .iter()
        .map(|sample| {
            let (tokens, is_target) = sample.sequence();
            let (old, drawn) = sample.old();
            let advantage = sample.advantage;
            Item { tokens, is_target, old, drawn, weights: Vec::new(), advantage }
        })
        .collect();
    let counts: Vec<usize> = items.iter().map(|item| item.old.len()).collect();
    let weights = aggregate::weights(&counts, how.aggregate, how.constants);
    for (item, weights) in items.iter_mut().zip(weights) {
        item.weights = weights;
    }
    items
}
