//! One loss, of which the published objectives are settings.
//!
//! With ρ = e^(log π - log π_old) of a token, or, by sequence, of the mean over its answer:
//!
//! ```text
//! clip      l = -min(ρ A, clip(ρ, 1 - low, 1 + high) A)       and for A < 0 at most -dual · A
//! weigh     l = -stop(clip(ρ, 1 - low, 1 + high)) A log π      (CISPO)
//! loss      Σ weight · (k · l + kl · KL(log π - log π_ref) - bonus · entropy)
//! ```
//!
//! k is 1, or what [`Correction`] makes of a rollout that isn't exact. Weights come from
//! [`aggregate`], and are those of the whole batch before it is cut into passes: so the loss is a
//! sum over tokens, and how they are packed changes nothing.

pub mod aggregate;
mod correction;
mod kl;

pub use aggregate::Aggregate;
pub use correction::Correction;
pub use kl::Kl;
use serde::Deserialize;

/// What is held against the clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ratio {
    Token,
    /// Of a whole answer, its length taken out (GSPO, arXiv 2507.18071).
    Sequence,
}

/// What clipping does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// A clipped token has no gradient (PPO, arXiv 1707.06347).
    Clip,
    /// A clipped token keeps its gradient, with a bounded weight (CISPO, arXiv 2506.13585).
    Weigh,
}

/// The switches of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub ratio: Ratio,
    pub objective: Objective,
    /// None: nothing is clipped.
    pub clip_low: Option<f64>,
    pub clip_high: Option<f64>,
    /// For negative advantages, the ratio beyond which nothing more is gained.
    pub dual_clip: Option<f64>,
    pub correction: Correction,
    pub kl: Kl,
    pub kl_weight: f64,
    pub entropy_bonus: f64,
}

/// Tokens of answers, one answer after another.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// ln p under the weights in training. (T)
    pub logprobs: &'a [f32],
    /// Under the weights that wrote them, as they were drawn. (T)
    pub old: &'a [f32],
    /// The same as training computes it, where that is told apart. (T)
    pub trained: Option<&'a [f32]>,
    /// Under the reference, if there is one. (T)
    pub reference: Option<&'a [f32]>,
    /// Of the distribution that the token was drawn from. (T)
    pub entropies: &'a [f32],
    /// 0 for what doesn't count. (T)
    pub weights: &'a [f32],
    /// Of the token's answer. (T)
    pub advantages: &'a [f32],
    /// The token after the last of each answer. (answers)
    pub ends: &'a [usize],
}

impl Tokens<'_> {
    /// What the policy's ratio is against.
    fn behind(&self, at: usize) -> f64 {
        f64::from(self.trained.unwrap_or(self.old)[at])
    }
}

/// A loss and its derivatives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loss {
    pub value: f64,
    /// (T)
    pub d_logprobs: Vec<f32>,
    /// (T)
    pub d_entropies: Vec<f32>,
    pub figures: Figures,
}

/// What is told of a loss: sums over the tokens that count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub n_tokens: usize,
    pub n_clipped: usize,
    pub entropy: f64,
    pub kl: f64,
    /// What the policy's parts were multiplied by, and how often that was a bound.
    pub correction: f64,
    pub n_bounded: usize,
    /// The largest |log π - log π_old|.
    pub log_ratio_max: f64,
}

impl Figures {
    /// Adds those of another pass.
    pub fn add(&mut self, other: &Figures) {
        self.n_tokens += other.n_tokens;
        self.n_clipped += other.n_clipped;
        self.entropy += other.entropy;
        self.kl += other.kl;
        self.correction += other.correction;
        self.n_bounded += other.n_bounded;
        self.log_ratio_max = self.log_ratio_max.max(other.log_ratio_max);
    }

    /// A sum as a mean; 0 of nothing.
    pub fn mean(&self, sum: f64) -> f64 {
        if self.n_tokens == 0 { 0.0 } else { sum / self.n_tokens as f64 }
    }
}

/// Log-ratios beyond are taken for it: e^20 is far outside of every clip.
const LOG_RATIO_MAX: f64 = 20.0;

/// The loss of some answers of a batch, and its derivatives.
pub fn loss(tokens: &Tokens<'_>, settings: &Settings) -> Loss {
    let n = tokens.logprobs.len();
    for len in [tokens.old, tokens.entropies, tokens.weights, tokens.advantages].map(<[f32]>::len) {
        assert_eq!(len, n, "one number a token");
    }
    for more in [tokens.reference, tokens.trained].into_iter().flatten() {
        assert_eq!(more.len(), n, "one number a token");
    }
    assert_eq!(tokens.ends.last().copied().unwrap_or(0), n, "answers hold all tokens");
    let mut loss = Loss { d_logprobs: vec![0.0; n], d_entropies: vec![0.0; n], ..Loss::default() };
    let mut from = 0;
    for &to in tokens.ends {
        let ratio = match settings.ratio {
            Ratio::Token => None,
            Ratio::Sequence => Some(sequence_log_ratio(tokens, from..to)),
        };
        for at in from..to {
            if tokens.weights[at] != 0.0 {
                add_token(&mut loss, tokens, at, (ratio, settings));
            }
        }
        from = to;
    }
    loss
}

/// The mean log-ratio of the tokens of an answer that count.
fn sequence_log_ratio(tokens: &Tokens<'_>, range: std::ops::Range<usize>) -> f64 {
    let counted = range.filter(|&at| tokens.weights[at] != 0.0);
    let (mut sum, mut n) = (0.0, 0_usize);
    for at in counted {
        sum += f64::from(tokens.logprobs[at]) - tokens.behind(at);
        n += 1;
    }
    sum / n.max(1) as f64
}

fn add_token(
    loss: &mut Loss,
    tokens: &Tokens<'_>,
    at: usize,
    (sequence, settings): (Option<f64>, &Settings),
) {
    let weight = f64::from(tokens.weights[at]);
    let logprob = f64::from(tokens.logprobs[at]);
    let own = logprob - tokens.behind(at);
    let (value, slope, is_clipped) =
        policy(sequence.unwrap_or(own), logprob, f64::from(tokens.advantages[at]), settings);
    let apart = tokens.behind(at) - f64::from(tokens.old[at]);
    let (correction, is_bounded) = settings.correction.weight(apart);
    let (mut value, mut slope) = (correction * value, correction * slope);
    let figures = &mut loss.figures;
    figures.correction += correction;
    figures.n_bounded += usize::from(is_bounded);
    if let Some(reference) = tokens.reference {
        let (kl, kl_slope) = settings.kl.value_and_slope(logprob - f64::from(reference[at]));
        value += settings.kl_weight * kl;
        slope += settings.kl_weight * kl_slope;
        figures.kl += kl;
    }
    let entropy = f64::from(tokens.entropies[at]);
    value -= settings.entropy_bonus * entropy;
    loss.value += weight * value;
    loss.d_logprobs[at] = (weight * slope) as f32;
    loss.d_entropies[at] = (-weight * settings.entropy_bonus) as f32;
    figures.n_tokens += 1;
    figures.n_clipped += usize::from(is_clipped);
    figures.entropy += entropy;
    figures.log_ratio_max = figures.log_ratio_max.max(own.abs());
}

/// The policy's part of a token's loss, its derivative by log π, and whether the clip binds.
fn policy(log_ratio: f64, logprob: f64, advantage: f64, settings: &Settings) -> (f64, f64, bool) {
    let bounded = log_ratio.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX);
    let ratio = bounded.exp();
    let low = settings.clip_low.map_or(0.0, |low| 1.0 - low);
    let high = settings.clip_high.map_or(f64::INFINITY, |high| 1.0 + high);
    let clipped = ratio.clamp(low, high);
    if settings.objective == Objective::Weigh {
        return (-clipped * advantage * logprob, -clipped * advantage, clipped != ratio);
    }
    let (free, bound) = (-ratio * advantage, -clipped * advantage);
    // The larger loss of the two: where they are equal, the free one has the gradient.
    let (mut value, mut binds) = if free >= bound { (free, false) } else { (bound, true) };
    if let Some(most) = settings.dual_clip.filter(|_| advantage < 0.0)
        && value > -most * advantage
    {
        (value, binds) = (-most * advantage, true);
    }
    // Beyond the largest log-ratio the ratio no longer moves.
    let slope = if binds || bounded != log_ratio { 0.0 } else { -ratio * advantage };
    (value, slope, binds)
}

#[cfg(test)]
mod tests;
