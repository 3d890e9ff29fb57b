//! Golden folders, and a decoder with a cache for one of them.

use std::path::{Path, PathBuf};

use formats::Access;
use par::Pool;
use ruminate_model::{Batch, Decoder, ExpertMemory, Footprint, Guess, Kv, KvType, Limits, PAGE};
use safetensors::SafeTensors;
use spec::ModelSpec;

/// The folder of a family's tiny checkpoint.
pub(crate) fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// What transformers computes for a family.
pub(crate) struct Expected {
    pub(crate) prompts: Vec<Prompt>,
    /// The continuation of prompt 2.
    pub(crate) greedy: Vec<u32>,
}

pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// (T, V)
    pub(crate) logits: Vec<f32>,
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
        let prompt = |i| Prompt {
            ids: ids(&format!("prompt{i}.input_ids")),
            logits: floats(&format!("prompt{i}.logits")),
        };
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

const N_PAGES: usize = 32;

impl Session {
    pub(crate) fn new(path: &Path, threads: usize, kv_type: KvType) -> Session {
        Session::with_experts(path, threads, kv_type, ExpertMemory::Resident)
    }

    /// A model with room for `n_slots` experts or a few more, and its files opened without a map.
    pub(crate) fn with_slots(path: &Path, threads: usize, n_slots: u64, guess: Guess) -> Session {
        let footprint = Session::footprint(path);
        let least = footprint.experts_min.expect("a sparse model in files");
        let bytes = least * n_slots;
        let experts = ExpertMemory::Within { bytes, guess };
        Session::with_experts(path, threads, KvType::F16, experts)
    }

    pub(crate) fn footprint(path: &Path) -> Footprint {
        let checkpoint = formats::open(path).unwrap();
        let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
        Footprint::of(&*checkpoint.weights, &spec, checkpoint.config.dialect).unwrap()
    }

    fn with_experts(
        path: &Path,
        threads: usize,
        kv_type: KvType,
        experts: ExpertMemory,
    ) -> Session {
        let access = match experts {
            ExpertMemory::Resident => Access::Map,
            ExpertMemory::Within { .. } => Access::OnDemand,
        };
        let checkpoint = formats::open_with(path, access).unwrap();
        let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
        let pool = Pool::new(threads);
        let limits = Limits { tokens_per_step: 256, logits_per_step: 256 };
        let kv = Kv::new(&spec, kv_type, N_PAGES);
        let batch = Batch::new(&spec);
        let what = (spec, checkpoint.config.dialect);
        let how: (&Pool, &dyn Fn(u64)) = (&pool, &|_| ());
        let decoder =
            Decoder::load_within(&*checkpoint.weights, what, limits, how, experts).unwrap();
        Session { pool, decoder, kv, batch }
    }

    /// Lets long prompts take the plain form.
    pub(crate) fn allow_plain_prompts(&mut self, path: &Path) {
        let checkpoint = formats::open(path).unwrap();
        let dialect = checkpoint.config.dialect;
        self.decoder.allow_plain_prompts(&*checkpoint.weights, dialect, &self.pool).unwrap();
    }

    /// Logits (T, V) of all tokens, computed in steps that end at each of `cuts`.
    pub(crate) fn logits(&mut self, ids: &[u32], cuts: &[usize]) -> Vec<f32> {
        // Pages in no order, so that a page table that is not looked at shows.
        let pages: Vec<u32> = (0..ids.len().div_ceil(PAGE) as u32).map(|i| i * 5 % 31).collect();
        let mut logits = Vec::new();
        let mut from = 0;
        for &to in cuts {
            self.batch.clear();
            self.batch.push(&ids[from..to], from, pages.iter().copied(), to - from);
            logits.extend(self.decoder.forward(&self.pool, &self.batch, &mut self.kv).unwrap());
            from = to;
        }
        logits
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The `n` likeliest tokens after `prompt`, one by one.
    pub(crate) fn greedy(&mut self, prompt: &[u32], n: usize) -> Vec<u32> {
        let vocab = self.decoder.spec().vocab;
        let mut ids = prompt.to_vec();
        for _ in 0..n {
            let logits = self.logits(&ids, &[ids.len()]);
            let last = &logits[logits.len() - vocab..];
            let best = (0..vocab).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
            ids.push(best as u32);
        }
        ids.split_off(prompt.len())
    }

    /// The last logits (V) of each prompt, all in one step.
    pub(crate) fn last_logits_together(&mut self, prompts: &[&[u32]]) -> Vec<Vec<f32>> {
        self.batch.clear();
        let vocab = self.decoder.spec().vocab;
        let mut next_page = 0;
        for prompt in prompts {
            let n_pages = prompt.len().div_ceil(PAGE) as u32;
            self.batch.push(prompt, 0, next_page..next_page + n_pages, 1);
            next_page += n_pages;
        }
        let logits = self.decoder.forward(&self.pool, &self.batch, &mut self.kv).unwrap();
        logits.chunks_exact(vocab).map(<[f32]>::to_vec).collect()
    }
}
