//! A golden checkpoint with its learner and its decoder.

use std::path::{Path, PathBuf};

use formats::Checkpoint;
use par::Pool;
use ruminate_model::learn::{AdapterOptions, LearnOptions, Learner, Parameter, Sequences};
use ruminate_model::{Decoder, KvType, Limits};
use safetensors::SafeTensors;
use spec::ModelSpec;

pub(crate) const FAMILIES: [&str; 6] =
    ["llama", "qwen2", "qwen3", "qwen3_moe", "deepseek_v2_lite", "deepseek_v3"];

pub(crate) struct School {
    pub(crate) pool: Pool,
    pub(crate) learner: Learner,
    pub(crate) decoder: Decoder,
}

pub(crate) fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

pub(crate) const PLAIN: LearnOptions =
    LearnOptions { adapters: None, checkpointing: false, kv_type: KvType::F32 };

const LIMITS: Limits = Limits { tokens_per_step: 256, logits_per_step: 256 };

pub(crate) const ADAPTERS: AdapterOptions = AdapterOptions { rank: 4, alpha: 8.0, seed: 7 };

impl School {
    pub(crate) fn new(family: &str, threads: usize, options: LearnOptions) -> School {
        School::open(&golden(family), threads, options)
    }

    /// A decoder as it was loaded.
    pub(crate) fn bare(family: &str, threads: usize) -> Decoder {
        let checkpoint: Checkpoint = formats::open(&golden(family)).unwrap();
        let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
        let what = (spec, checkpoint.config.dialect);
        let pool = Pool::new(threads);
        Decoder::load(&*checkpoint.weights, what, LIMITS, &pool, &|_| ()).unwrap()
    }

    pub(crate) fn open(path: &Path, threads: usize, options: LearnOptions) -> School {
        let pool = Pool::new(threads);
        let checkpoint: Checkpoint = formats::open(path).unwrap();
        let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
        let what = (spec, checkpoint.config.dialect);
        let weights = &*checkpoint.weights;
        let mut decoder = Decoder::load(weights, what.clone(), LIMITS, &pool, &|_| ()).unwrap();
        let learner = Learner::load(&pool, weights, what, options).unwrap();
        learner.publish(&pool, &mut decoder);
        School { pool, learner, decoder }
    }

    /// The mean of −ln p over all targets.
    pub(crate) fn loss(&mut self, sequences: &Sequences) -> f64 {
        let found = self.learner.forward(&self.pool, &self.decoder, sequences).unwrap();
        let sum: f64 = found.logprobs.iter().map(|&x| f64::from(x)).sum();
        -sum / found.logprobs.len() as f64
    }

    /// Adds the gradient of the same loss, of `n` targets over all passes.
    pub(crate) fn learn(&mut self, sequences: &Sequences, n: usize) -> Vec<f32> {
        let found = self.learner.forward(&self.pool, &self.decoder, sequences).unwrap();
        let slopes = vec![-1.0 / n as f32; found.logprobs.len()];
        let flat = vec![0.0; slopes.len()];
        self.learner.backward(&self.pool, &self.decoder, &slopes, &flat).unwrap();
        found.logprobs
    }

    /// All gradients, one after another.
    pub(crate) fn gradients(&mut self) -> Vec<f32> {
        let parameters = self.learner.params_mut().iter();
        parameters.flat_map(|p: &Parameter| p.gradient.iter().copied()).collect()
    }
}

/// The tensors of expected.safetensors.
pub(crate) struct Expected(Vec<u8>);

impl Expected {
    pub(crate) fn read(family: &str) -> Expected {
        Expected(std::fs::read(golden(family).join("expected.safetensors")).unwrap())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.names().into_iter().map(String::from).collect()
    }

    pub(crate) fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name).into_iter().map(u32::from_le_bytes).collect()
    }
}

/// Sequences of which every token but the first is a target.
pub(crate) fn all_targets<'a>(
    sequences: impl IntoIterator<Item = &'a [u32]>,
    temperature: f32,
) -> Sequences {
    let mut all = Sequences::new(temperature);
    for tokens in sequences {
        let marks: Vec<bool> = (0..tokens.len()).map(|i| i > 0).collect();
        all.push(tokens, &marks);
    }
    all
}

pub(crate) fn assert_same_bits(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    let differ = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differ, None, "{what}: a bit differs");
}
