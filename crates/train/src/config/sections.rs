//! The sections of a run's file, their defaults and their ranges.

use std::path::PathBuf;

use serde::Deserialize;

use super::Config;
use crate::advantage::Advantage;
use crate::loss::{Aggregate, Correction, Kl, Objective, Ratio};
use crate::optimizer::{Kind, Shape};
use crate::reward::{Length, Mode};
use crate::scorer::Outside;

/// Where training starts: a model, or the shape of one with made-up weights.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// A Hugging Face folder or a GGUF file.
    #[serde(default)]
    pub start: Option<PathBuf>,
    #[serde(default)]
    pub scratch: Option<ScratchSection>,
    /// A folder with `tokenizer.json`, in the place of the model's own.
    #[serde(default)]
    pub tokenizer: Option<PathBuf>,
    /// Train low-rank adapters beside a frozen model.
    #[serde(default)]
    pub adapters: Option<AdaptersSection>,
}

/// A model that begins with random weights.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScratchSection {
    /// What `config.json` would say.
    pub config: toml::Table,
    #[serde(default)]
    pub seed: u64,
}

/// Low-rank adapters.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptersSection {
    #[serde(default = "AdaptersSection::rank")]
    pub rank: usize,
    #[serde(default = "AdaptersSection::alpha")]
    pub alpha: f32,
}

impl AdaptersSection {
    fn rank() -> usize {
        16
    }

    fn alpha() -> f32 {
        32.0
    }
}

/// What is trained on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// JSON lines or parquet, by their extensions.
    pub files: Vec<PathBuf>,
    /// The column of the question; the first of the usual ones that is there if none.
    #[serde(default)]
    pub prompt: Option<String>,
    /// The column of the right answer, or of the answer to learn.
    #[serde(default)]
    pub answer: Option<String>,
    /// The column of a row's difficulty.
    #[serde(default)]
    pub difficulty: Option<String>,
    /// The column that names a row's verifier, in the place of `reward.verifier`.
    #[serde(default)]
    pub verifier: Option<String>,
    /// What the model is told before the question.
    #[serde(default)]
    pub system: Option<String>,
    /// Added after the question, such as how to write the answer.
    #[serde(default)]
    pub suffix: String,
    /// Rows come in a new order each time through.
    #[serde(default = "yes")]
    pub shuffle: bool,
    /// Go on without rows that are broken.
    #[serde(default)]
    pub skip_broken: bool,
    /// The question is tokens as it stands, without the chat template.
    #[serde(default)]
    pub plain: bool,
}

fn yes() -> bool {
    true
}

/// How long, and how much at once.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Steps in all: of `rl` rollouts, of `sft` updates.
    pub steps: u64,
    /// Updates for each rollout.
    pub minibatches: usize,
    /// Rows of an update of `sft`.
    pub rows: usize,
    /// Tokens of the longest sequence; longer rows of `sft` are left out and counted.
    pub tokens_max: usize,
    /// Tokens that go through the model together.
    pub pass_tokens: usize,
    /// Compute layers again in the backward pass rather than keeping what they left.
    pub recompute: bool,
}

impl Default for TrainSection {
    fn default() -> TrainSection {
        TrainSection {
            steps: 100,
            minibatches: 1,
            rows: 32,
            tokens_max: 1024,
            pass_tokens: 2048,
            recompute: false,
        }
    }
}

/// How the groups of a rollout begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Modes {
    /// As the template has it.
    Default,
    On,
    Off,
    /// Half of a group is made to think and half not to (AdaptThink).
    HalfEach,
}

/// What the model writes in a step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutSection {
    /// Groups of a step.
    pub prompts: usize,
    /// Answers of a group.
    pub samples: usize,
    /// Tokens of an answer at most.
    pub tokens_max: usize,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: usize,
    pub modes: Modes,
    /// Answers that are written together.
    pub together: usize,
    /// Batches of prompts that are tried to fill a step with groups that teach; 1 takes what comes.
    pub dynamic_batches_max: usize,
    /// A type of weights, such as `q8_0`, that answers are written with: a difference from training
    /// made on purpose, to see what it does.
    pub rounded: Option<String>,
}

impl Default for RolloutSection {
    fn default() -> RolloutSection {
        RolloutSection {
            prompts: 16,
            samples: 8,
            tokens_max: 512,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            modes: Modes::Default,
            together: 64,
            dynamic_batches_max: 10,
            rounded: None,
        }
    }
}

/// What is rewarded.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardSection {
    pub verifier: String,
    pub outside: Outside,
    /// The reward of a wrong answer; a right one has 1.
    pub wrong: f32,
    /// What well-formed think tags add.
    pub format: f32,
    /// Of the longest answer allowed, the last share in which length is punished; 0 for none.
    pub overlong_share: f32,
    pub length: Length,
    /// Thinking lengths that are asked for, from and to.
    pub asked_tokens: [usize; 2],
    pub mode: Mode,
    /// Answers that did not end are not learned from.
    pub mask_truncated: bool,
    /// A known answer, as the model is to write it: {} is where the right answer goes.
    pub known_good: String,
}

impl Default for RewardSection {
    fn default() -> RewardSection {
        RewardSection {
            verifier: "math".into(),
            outside: Outside::default(),
            wrong: 0.0,
            format: 0.0,
            overlong_share: 0.0,
            length: Length::Off,
            asked_tokens: [100, 4000],
            mode: Mode::Off,
            mask_truncated: true,
            known_good: "{}".into(),
        }
    }
}

/// The switches of the loss.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossSection {
    pub advantage: Advantage,
    pub aggregate: Aggregate,
    pub ratio: Ratio,
    pub objective: Objective,
    pub clipped: bool,
    pub clip_low: Option<f64>,
    pub clip_high: Option<f64>,
    pub dual_clip: Option<f64>,
    /// For rollouts that are not exact.
    pub correction: Correction,
    pub kl: Kl,
    pub kl_weight: f64,
    /// Steps after which the reference becomes the model as it is; 0 for never.
    pub reference_every: u64,
    pub entropy_bonus: f64,
    /// What the token that chooses to think weighs, for `mode-token`.
    pub mode_share: f64,
}

impl Default for LossSection {
    fn default() -> LossSection {
        LossSection {
            advantage: Advantage::GroupMean,
            aggregate: Aggregate::TokenMean,
            ratio: Ratio::Token,
            objective: Objective::Clip,
            clipped: true,
            clip_low: Some(0.2),
            clip_high: Some(0.28),
            dual_clip: None,
            correction: Correction::Off,
            kl: Kl::K3,
            kl_weight: 0.0,
            reference_every: 0,
            entropy_bonus: 0.0,
            mode_share: 1e-3,
        }
    }
}

/// Which rows come when, by difficulty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurriculumSection {
    pub enabled: bool,
    /// The next difficulty is added once so many of the hardest answers so far are right.
    pub unlock_at: f32,
    /// Difficulties with fewer wrong answers than this come as seldom as those with so many.
    pub least: f32,
}

impl Default for CurriculumSection {
    fn default() -> CurriculumSection {
        CurriculumSection { enabled: false, unlock_at: 0.7, least: 0.1 }
    }
}

/// How weights move.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    pub kind: Kind,
    pub rate: f64,
    pub schedule: Shape,
    /// The rate at the end, as a share of the peak.
    pub last: f64,
    pub warmup: u64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    /// The largest norm of the gradients; 0 for any.
    pub clip: f64,
    pub muon_rate: f64,
    pub muon_momentum: f64,
}

impl Default for OptimizerSection {
    fn default() -> OptimizerSection {
        OptimizerSection {
            kind: Kind::Adamw,
            rate: 1e-6,
            schedule: Shape::Constant,
            last: 0.1,
            warmup: 0,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
            muon_rate: 1.0,
            muon_momentum: 0.95,
        }
    }
}

/// When the state is saved.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointSection {
    /// Steps from one to the next; 0 for none but the last.
    pub every: u64,
    /// The newest that stay.
    pub keep: usize,
}

impl Default for CheckpointSection {
    fn default() -> CheckpointSection {
        CheckpointSection { every: 10, keep: 2 }
    }
}

impl Config {
    /// Names the first value that can't be.
    pub(super) fn check(&self) -> Result<(), String> {
        let Config { model, data, train, rollout, reward, optimizer, .. } = self;
        if model.start.is_some() == model.scratch.is_some() {
            return Err("model needs either start or scratch".into());
        }
        if model.scratch.is_some() && model.tokenizer.is_none() {
            return Err("model.scratch needs model.tokenizer, a folder with tokenizer.json".into());
        }
        if data.files.is_empty() {
            return Err("data.files names no file".into());
        }
        let counts = [
            ("train.minibatches", train.minibatches),
            ("train.rows", train.rows),
            ("train.tokens_max", train.tokens_max),
            ("train.pass_tokens", train.pass_tokens),
            ("rollout.prompts", rollout.prompts),
            ("rollout.tokens_max", rollout.tokens_max),
            ("rollout.together", rollout.together),
            ("rollout.dynamic_batches_max", rollout.dynamic_batches_max),
            ("checkpoint.keep", self.checkpoint.keep),
        ];
        for (name, count) in counts {
            if count == 0 || count > 1 << 30 {
                return Err(format!("{name} is {count}: it must be 1 to {}", 1 << 30));
            }
        }
        if self.threads.is_some_and(|threads| threads == 0 || threads > 1024) {
            return Err("threads must be 1 to 1024".into());
        }
        if model.adapters.is_some_and(|adapters| adapters.rank == 0 || adapters.rank > 4096) {
            return Err("model.adapters.rank must be 1 to 4096".into());
        }
        if rollout.samples < 2 {
            let n = rollout.samples;
            return Err(format!("rollout.samples is {n}: a group needs at least 2 to compare"));
        }
        if rollout.modes == Modes::HalfEach && rollout.samples % 2 == 1 {
            return Err(format!("rollout.samples is {}, which has no half", rollout.samples));
        }
        if !(rollout.temperature > 0.0 && rollout.temperature <= 100.0) {
            let temperature = rollout.temperature;
            return Err(format!(
                "rollout.temperature is {temperature}: an answer must be drawn (above 0 to 100)"
            ));
        }
        let biased = "training would not know which tokens were left out, and be biased";
        if rollout.top_p != 1.0 {
            return Err(format!("rollout.top_p is {}: {biased}", rollout.top_p));
        }
        if rollout.top_k != 0 {
            return Err(format!("rollout.top_k is {}: {biased}", rollout.top_k));
        }
        rollout.check_rounded(model.adapters.is_some())?;
        let [from, to] = reward.asked_tokens;
        if reward.length.asks() && (from == 0 || from > to) {
            return Err(format!("reward.asked_tokens is {from} to {to}"));
        }
        if !(0.0..=1.0).contains(&reward.overlong_share) {
            return Err("reward.overlong_share must be 0 to 1".into());
        }
        positive("optimizer.rate", optimizer.rate)?;
        for (name, beta) in [("beta1", optimizer.beta1), ("beta2", optimizer.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(format!("optimizer.{name} is {beta}: it must be 0 to below 1"));
            }
        }
        self.loss.check()
    }
}

impl LossSection {
    fn check(&self) -> Result<(), String> {
        for (name, clip) in [("clip_low", self.clip_low), ("clip_high", self.clip_high)] {
            if clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
                return Err(format!("loss.{name} is below 0"));
            }
        }
        if self.dual_clip.is_some_and(|clip| clip.is_nan() || clip <= 1.0) {
            return Err("loss.dual_clip must be above 1".into());
        }
        self.correction.check()?;
        for (name, value) in [
            ("kl_weight", self.kl_weight),
            ("entropy_bonus", self.entropy_bonus),
            ("mode_share", self.mode_share),
        ] {
            if !value.is_finite() || value < 0.0 {
                return Err(format!("loss.{name} is {value}: it must be 0 or more"));
            }
        }
        Ok(())
    }

    /// What the loss is computed by.
    pub fn settings(&self) -> crate::loss::Settings {
        let clip = |clip: Option<f64>| clip.filter(|_| self.clipped);
        crate::loss::Settings {
            ratio: self.ratio,
            objective: self.objective,
            clip_low: clip(self.clip_low),
            clip_high: clip(self.clip_high),
            dual_clip: clip(self.dual_clip),
            correction: self.correction,
            kl: self.kl,
            kl_weight: self.kl_weight,
            entropy_bonus: self.entropy_bonus,
        }
    }
}

impl OptimizerSection {
    pub fn settings(&self) -> crate::optimizer::Settings {
        crate::optimizer::Settings {
            kind: self.kind,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            clip: (self.clip > 0.0).then_some(self.clip),
            muon_rate: self.muon_rate,
            muon_momentum: self.muon_momentum,
        }
    }

    pub fn rate(&self, n_updates: u64) -> crate::optimizer::Rate {
        let (peak, last) = (self.rate, self.last);
        crate::optimizer::Rate { peak, last, warmup: self.warmup, shape: self.schedule, n_updates }
    }
}

fn positive(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(format!("{name} is {value}: it must be above 0"))
}
