//! Made-up models: every tensor is there, and what they compute is finite.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::{Path, PathBuf};

use formats::TextSource;
use par::Pool;
use quant::QuantType;
use reference::FileSource;
use ruminate_convert::{Shape, Source, Summary, Synthetic, Target, synthesize};
use spec::ModelSpec;

fn make(source: Source<'_>, folder: &Path) -> (PathBuf, Summary) {
    let path = folder.join("model.gguf");
    let what = Synthetic { source, seed: 5, replace: true };
    let summary = synthesize(&what, &path, &Pool::new(2), &|_, _| ()).unwrap();
    (path, summary)
}

fn shape<'a>(name: &'a str, target: &str) -> Shape<'a> {
    Shape { name, target: Target::from_name(target).unwrap(), layers: None, next_token: false }
}

#[test]
fn tiny_models_of_every_type_compute_logits_of_a_sensible_size() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-qwen2", "tiny-qwen3-moe", "tiny-deepseek"] {
        for target in Target::names() {
            let (path, _) = make(Source::Shape(shape(name, target)), folder.path());
            let checkpoint = formats::open(&path).unwrap();
            let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
            let source = FileSource::new(&spec, &checkpoint.config, &*checkpoint.weights);
            let logits = reference::logits(&spec, &source, &[7, 300, 12, 45]).unwrap();
            let square = logits.iter().map(|x| x * x).sum::<f32>() / logits.len() as f32;
            // Normed activations times weights of variance 1 / fan-in.
            assert!((0.5..2.0).contains(&square.sqrt()), "{name} {target}: {square}");
        }
    }
}

#[test]
fn a_shape_is_the_model_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let few = Shape { layers: Some(1), ..shape("smollm2-135m", "q4_0") };
    let (path, summary) = make(Source::Shape(few), folder.path());
    let spec = ModelSpec::from_config(&formats::open(&path).unwrap().config).unwrap();
    assert_eq!(spec.cost().parameters().total, summary.weights);
    // One of 30 layers, and the embedding.
    assert_eq!(summary.weights, 134_515_008 - 29 * 3_540_096);
    assert_eq!((spec.family, spec.dim, spec.tied_head), ("llama", 576, true));
}

#[test]
fn the_layer_after_the_last_is_made_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let with = Shape { next_token: true, ..shape("tiny-deepseek", "q8_0") };
    let (path, _) = make(Source::Shape(with), folder.path());
    let model = formats::open(&path).unwrap();
    let spec = ModelSpec::from_config(&model.config).unwrap();
    assert_eq!((spec.layers.len(), spec.next_token.unwrap().layer_index), (3, 3));
    model.weights.tensor("blk.3.ffn_up_exps.weight").unwrap();
}

/// A file that ends after its table of tensors.
#[test]
fn a_header_is_filled_with_its_own_types() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, summary) = make(Source::Shape(shape("tiny-deepseek", "q4_k_m")), folder.path());
    let bytes = std::fs::read(&whole).unwrap();
    let data: u64 = summary.types.values().map(|of_type| of_type.1).sum();
    let header = folder.path().join("header.gguf");
    std::fs::write(&header, &bytes[..bytes.len() - data as usize]).unwrap();
    let (path, again) = make(Source::Header(&header), folder.path());
    // By names and shapes, so the same draws.
    assert_eq!(again.types, summary.types);
    assert!(std::fs::read(path).unwrap() == bytes);
}

#[test]
fn another_seed_is_another_model_and_the_vocabulary_stays() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::Shape(shape("tiny-qwen2", "q4_0"));
    let [a, b] = [5, 6].map(|seed| {
        let path = folder.path().join(format!("{seed}.gguf"));
        let what = Synthetic { source, seed, replace: false };
        synthesize(&what, &path, &Pool::new(1), &|_, _| ()).unwrap();
        formats::open(&path).unwrap()
    });
    let tensor = |of: &formats::Checkpoint| of.weights.tensor("blk.0.attn_q.weight").unwrap();
    assert_eq!(tensor(&a).quant, QuantType::Q4_0);
    assert_ne!(&*tensor(&a).bytes, &*tensor(&b).bytes);
    let (TextSource::Gguf(a), TextSource::Gguf(b)) = (a.text, b.text) else { panic!() };
    assert!(a.iter().eq(b.iter()));
}
