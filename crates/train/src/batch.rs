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
    /// The same as training computes it, if that was asked before the weights moved.
    trained: Option<Vec<f32>>,
    /// What the routers chose, of tokens that were drawn with just that probability.
    drawn: Vec<Option<u64>>,
    weights: Vec<f32>,
    advantage: f32,
}

/// ln p of the learned tokens of each sample, by the weights as they are; of those whose
/// probability was declared, what was declared.
///
/// # Errors
///
/// Numbers that are not finite.
pub fn recall(
    trainee: &mut Trainee,
    samples: &[&Sample],
    how: &How,
) -> Result<Vec<Vec<f32>>, Error> {
    let items = items(samples, how);
    let lens: Vec<usize> = items.iter().map(|item| item.tokens.len()).collect();
    let mut recalled = Vec::with_capacity(items.len());
    for range in passes(&lens, how.pass_tokens) {
        let items = &items[range];
        let found = trainee.forward(&of(items, how))?;
        let mut found = found.logprobs.as_slice();
        for item in items {
            let (own, rest) = found.split_at(item.old.len());
            recalled.push(item.trained(own));
            found = rest;
        }
    }
    Ok(recalled)
}

/// Adds the gradient of the loss of these samples. `trained` is what [`recall`] said of them, of
/// samples that were written by other weights than those of now.
///
/// # Errors
///
/// Numbers that are not finite.
pub fn learn(
    trainee: &mut Trainee,
    (samples, trained): (&[&Sample], Option<&[Vec<f32>]>),
    reference: Option<&Decoder>,
    how: &How,
) -> Result<Learned, Error> {
    let mut items = items(samples, how);
    for (item, trained) in items.iter_mut().zip(trained.into_iter().flatten()) {
        item.trained = Some(trained.clone());
    }
    let lens: Vec<usize> = items.iter().map(|item| item.tokens.len()).collect();
    let mut learned = Learned::default();
    for range in passes(&lens, how.pass_tokens) {
        let items = &items[range];
        let sequences = of(items, how);
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
        let trained = how.loss.correction.is_on().then(|| trained_of(items, &found.logprobs));
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
            trained: trained.as_deref(),
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

impl Item {
    /// What training says of its tokens; of those whose probability was declared, just that.
    fn trained(&self, found: &[f32]) -> Vec<f32> {
        let all = found.iter().zip(&self.old).zip(&self.drawn);
        all.map(|((found, old), drawn)| if drawn.is_some() { *found } else { *old }).collect()
    }
}

/// What training says of the tokens of a pass, which is what it says now if nobody asked before.
fn trained_of(items: &[Item], mut found: &[f32]) -> Vec<f32> {
    let mut all = Vec::with_capacity(found.len());
    for item in items {
        let (own, rest) = found.split_at(item.old.len());
        match &item.trained {
            Some(trained) => all.extend_from_slice(trained),
            None => all.extend(item.trained(own)),
        }
        found = rest;
    }
    all
}

/// What goes through together.
fn of(items: &[Item], how: &How) -> Sequences {
    let mut sequences = Sequences::new(how.temperature);
    items.iter().for_each(|item| sequences.push(&item.tokens, &item.is_target));
    sequences
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
            Item { tokens, is_target, old, trained: None, drawn, weights: Vec::new(), advantage }
        })
        .collect();
    let counts: Vec<usize> = items.iter().map(|item| item.old.len()).collect();
    let weights = aggregate::weights(&counts, how.aggregate, how.constants);
    for (item, weights) in items.iter_mut().zip(weights) {
        item.weights = weights;
    }
    items
}
