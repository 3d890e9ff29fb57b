//! SmolLM2-135M-Instruct in Q4_1, against what llama.cpp makes of the same file
//! (fixtures/smollm2, made by fixtures/make_smollm2.py).

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::{Path, PathBuf};

use model::Limits;
use ruminate_engine::{Error, Options, Plan, Vocabulary, score};
use simd::Best;

/// The model that `cargo xtask fetch smollm2` brings.
fn smollm2() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/smollm2");
    let files = std::fs::read_dir(&folder).ok().into_iter().flatten().flatten();
    let model =
        files.map(|file| file.path()).find(|path| path.extension().is_some_and(|e| e == "gguf"));
    model.unwrap_or_else(|| panic!("no model in {}: cargo xtask fetch smollm2", folder.display()))
}

fn expected() -> serde_json::Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/smollm2/top5.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Mean and largest difference of log-probabilities.
#[derive(Default)]
struct Difference {
    sum: f32,
    largest: f32,
    n: usize,
}

impl Difference {
    fn add(&mut self, a: f32, b: f32) {
        self.sum += (a - b).abs();
        self.largest = self.largest.max((a - b).abs());
        self.n += 1;
    }

    fn mean(&self) -> f32 {
        self.sum / self.n as f32
    }
}

/// Both engines round activations to 8 bits before each product, each in its own way. On this text
/// llama.cpp's log-probabilities are 0.065 from the exact ones on average, ours 0.068, and the two
/// 0.075 from each other, 0.41 at the most: what two independent roundings of one size give.
#[test]
fn the_likeliest_tokens_agree_with_llama_cpp_as_far_as_8_bit_activations_allow() {
    let expected = expected();
    let checkpoint = formats::open(&smollm2()).unwrap();
    let spec = spec::ModelSpec::from_config(&checkpoint.config).unwrap();
    let vocabulary = Vocabulary::read(&checkpoint.path, &checkpoint.text, spec.family).unwrap();
    let text = expected["text"].as_str().unwrap();
    let ids = vocabulary.tokenizer.encode_text(text).unwrap();
    let their_ids = expected["ids"].as_array().unwrap().iter();
    assert_eq!(ids, their_ids.map(|id| id.as_u64().unwrap() as u32).collect::<Vec<_>>());

    let source = reference::FileSource::new(&spec, &checkpoint.config, &*checkpoint.weights);
    let exact = reference::logits(&spec, &source, &ids).unwrap();

    let options = Options { context: Some(512), ..Options::default() };
    let limits = Limits { tokens_per_step: 8, logits_per_step: 8 };
    let bytes = checkpoint.weights.bytes();
    let plan = Plan::new(&checkpoint.path, &spec, bytes, &options, limits).unwrap();
    let mut model = plan.load(&checkpoint, spec, &options, &|_, _| ()).unwrap();

    let [mut ours_exact, mut theirs_exact, mut ours_theirs] =
        [(); 3].map(|()| Difference::default());
    let mut n_same_first = 0;
    score(&mut model, &ids, |position, logits| {
        let exact = &exact[position * logits.len()..][..logits.len()];
        let total = simd::math::log_sum_exp(Best::detect(), logits);
        let exact_total = simd::math::log_sum_exp(Best::detect(), exact);
        let top = expected["top5"][position].as_array().unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        n_same_first += usize::from(top[0][0].as_u64() == best.map(|best| best as u64));
        for entry in top {
            let id = entry[0].as_u64().unwrap() as usize;
            let theirs = entry[1].as_f64().unwrap() as f32;
            let (ours, exact) = (logits[id] - total, exact[id] - exact_total);
            ours_exact.add(ours, exact);
            theirs_exact.add(theirs, exact);
            ours_theirs.add(ours, theirs);
        }
        Ok::<(), Error>(())
    })
    .unwrap();
    assert!(ours_exact.mean() <= 1.15 * theirs_exact.mean(), "we are {} off", ours_exact.mean());
    assert!(ours_theirs.mean() <= 0.1, "{} apart on average", ours_theirs.mean());
    assert!(ours_theirs.largest <= 0.6, "up to {} apart", ours_theirs.largest);
    assert!(n_same_first * 100 >= ids.len() * 93, "{n_same_first} of {} agree", ids.len());
}
