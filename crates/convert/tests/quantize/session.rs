//! Golden checkpoints, files made of them, and what computes their logits.

use std::path::{Path, PathBuf};

use model::{Batch, Decoder, Kv, KvType, Limits, PAGE};
use par::Pool;
use reference::FileSource;
use ruminate_convert::{Options, Summary, Target, quantize};
use safetensors::SafeTensors;
use spec::ModelSpec;

/// The folder of a family's tiny checkpoint.
pub(crate) fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

pub(crate) fn options(target: &str) -> Options {
    Options { target: Target::from_name(target).unwrap(), head: None, replace: false }
}

/// A model in a type of its own, in a folder that goes with it.
pub(crate) struct Made {
    pub(crate) path: PathBuf,
    pub(crate) summary: Summary,
    _folder: tempfile::TempDir,
}

impl Made {
    pub(crate) fn new(source: &Path, target: &str) -> Made {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let pool = Pool::new(2);
        let summary = quantize(source, &path, &options(target), &pool, &|_, _| ()).unwrap();
        Made { path, summary, _folder: folder }
    }
}

/// What transformers computes for a family.
pub(crate) struct Expected {
    /// Tokens (T) and logits (T, V).
    pub(crate) prompts: Vec<(Vec<u32>, Vec<f32>)>,
    /// The continuation of prompt 2.
    pub(crate) greedy: Vec<u32>,
}

impl Expected {
    pub(crate) fn read(family: &str) -> Expected {
        let bytes = std::fs::read(golden(family).join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| -> Vec<[u8; 4]> {
            let data = tensors.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
        };
        let ids = |name: &str| words(name).into_iter().map(u32::from_le_bytes).collect();
        let floats = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect();
        let prompt =
            |i| (ids(&format!("prompt{i}.input_ids")), floats(&format!("prompt{i}.logits")));
        Expected { prompts: (0..4).map(prompt).collect(), greedy: ids("prompt2.greedy") }
    }
}

/// A loaded model, its threads and its cache.
pub(crate) struct Session {
    pool: Pool,
    decoder: Decoder,
    kv: Kv,
    batch: Batch,
}

impl Session {
    pub(crate) fn new(path: &Path) -> Session {
        let checkpoint = formats::open(path).unwrap();
        let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
        let pool = Pool::new(2);
        let limits = Limits { tokens_per_step: 256, logits_per_step: 256 };
        let kv = Kv::new(&spec, KvType::F32, 256 / PAGE);
        let batch = Batch::new(&spec);
        let what = (spec, checkpoint.config.dialect);
        let decoder = Decoder::load(&*checkpoint.weights, what, limits, &pool, &|_| ()).unwrap();
        Session { pool, decoder, kv, batch }
    }

    /// Logits (T, V) of all tokens.
    pub(crate) fn logits(&mut self, ids: &[u32]) -> Vec<f32> {
        self.batch.clear();
        self.batch.push(ids, 0, 0..ids.len().div_ceil(PAGE) as u32, ids.len());
        self.decoder.forward(&self.pool, &self.batch, &mut self.kv).unwrap().to_vec()
    }

    /// The `n` likeliest tokens after `prompt`, one by one.
    pub(crate) fn greedy(&mut self, prompt: &[u32], n: usize) -> Vec<u32> {
        let vocab = self.decoder.spec().vocab;
        let mut ids = prompt.to_vec();
        for _ in 0..n {
            let logits = self.logits(&ids);
            let last = &logits[logits.len() - vocab..];
            let best = (0..vocab).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
            ids.push(best as u32);
        }
        ids.split_off(prompt.len())
    }
}

/// Logits (T, V) of a file by plain loops over its decoded weights.
pub(crate) fn reference_logits(path: &Path, ids: &[u32]) -> Vec<f32> {
    let checkpoint = formats::open(path).unwrap();
    let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
    let source = FileSource::new(&spec, &checkpoint.config, &*checkpoint.weights);
    reference::logits(&spec, &source, ids).unwrap()
}

/// The largest difference of any logit.
pub(crate) fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The root of the mean square of the difference, over that of `expected` about its mean.
pub(crate) fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mean = expected.iter().map(|&x| f64::from(x)).sum::<f64>() / expected.len() as f64;
    let square = |x: f64| x * x;
    let off: f64 =
        found.iter().zip(expected).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let spread: f64 = expected.iter().map(|&x| square(f64::from(x) - mean)).sum();
    (off / spread).sqrt()
}
