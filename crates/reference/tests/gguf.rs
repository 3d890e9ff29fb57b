//! The same weights from a GGUF file: pairs permuted, experts stacked, the latent's image split.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

use formats::gguf::{self, Metadata, Value};
use formats::{Checkpoint, TensorLayout};
use quant::QuantType;
use ruminate_reference::{Error, FileSource, Source, Tensor, logits};
use spec::{AttentionSpec, FfnSpec, ModelSpec, RopeScaling, RopeSpec, Slot};

const TOKENS: [u32; 12] = [7, 300, 12, 12, 250, 0, 99, 301, 45, 45, 46, 8];

fn open(path: &Path) -> (Checkpoint, ModelSpec) {
    let checkpoint = formats::open(path).unwrap();
    let spec = ModelSpec::from_config(&checkpoint.config).unwrap();
    (checkpoint, spec)
}

fn source<'a>(opened: &'a (Checkpoint, ModelSpec)) -> FileSource<'a> {
    FileSource::new(&opened.1, &opened.0.config, &*opened.0.weights)
}

fn golden(family: &str) -> (Checkpoint, ModelSpec) {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family))
}

/// A GGUF file under construction, all of it F32.
struct Draft {
    metadata: Metadata,
    tensors: Vec<(String, Tensor)>,
}

impl Draft {
    fn new(architecture: &str, spec: &ModelSpec) -> Draft {
        let mut metadata = Metadata::new(Path::new("draft"));
        metadata.insert("general.architecture", Value::Text(architecture.into()));
        let mut draft = Draft { metadata, tensors: Vec::new() };
        draft.count("vocab_size", spec.vocab);
        draft.count("embedding_length", spec.dim);
        draft.count("context_length", spec.context_max);
        draft.count("block_count", spec.layers.len());
        draft.float("attention.layer_norm_rms_epsilon", spec.norm_eps);
        draft
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.metadata.text("general.architecture").unwrap().unwrap())
    }

    fn count(&mut self, key: &str, n: usize) {
        self.metadata.insert(&self.key(key), Value::U32(n as u32));
    }

    fn float(&mut self, key: &str, x: f32) {
        self.metadata.insert(&self.key(key), Value::F32(x));
    }

    fn add(&mut self, spec: &ModelSpec, slot: Slot, layer: usize, tensor: Tensor) {
        let name = spec.names.iter().find(|name| name.slot == slot).unwrap().gguf;
        self.tensors.push((name.replace("{i}", &layer.to_string()), tensor));
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("model.gguf");
        let layout = |(name, tensor): &(String, Tensor)| TensorLayout {
            name: name.clone(),
            quant: QuantType::F32,
            shape: tensor.shape.clone(),
        };
        let layouts: Vec<TensorLayout> = self.tensors.iter().map(layout).collect();
        let mut tensors = self.tensors.iter();
        gguf::write(&path, &self.metadata, &layouts, |_, out| {
            let (_, tensor) = tensors.next().expect("a tensor for each layout");
            tensor.values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
        })
        .unwrap();
        path
    }
}

/// Copies the slots that `source` has, over all layers, as they are or as `change` makes them.
fn copy(
    draft: &mut Draft,
    spec: &ModelSpec,
    source: &dyn Source,
    mut change: impl FnMut(Slot, Tensor) -> Tensor,
) {
    for name in spec.names.iter().filter(|name| !name.hugging_face.contains("{e}")) {
        let slot = name.slot;
        let n_layers = if name.gguf.contains("{i}") { spec.layers.len() } else { 1 };
        for layer in 0..n_layers {
            if let Some(tensor) = source.weight(slot, layer, None).unwrap() {
                draft.add(spec, slot, layer, change(slot, tensor));
            }
        }
    }
}

/// Each head's rows from (first halves, second halves) to pairs side by side.
fn pairs_side_by_side(tensor: Tensor, n_heads: usize) -> Tensor {
    let (rows, columns) = (tensor.shape[0], tensor.shape[1]);
    let half = rows / n_heads / 2;
    let row = |i: usize| {
        let (head, pair, which) = (i / (2 * half), i % (2 * half) / 2, i % 2);
        &tensor.values[(head * 2 * half + which * half + pair) * columns..][..columns]
    };
    let values = (0..rows).flat_map(row).copied().collect();
    Tensor { shape: tensor.shape, values }
}

/// The largest difference of two lists of logits.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn llama_with_permuted_pairs_and_a_rope_table_is_the_same_model() {
    let original = golden("llama");
    let spec = &original.1;
    let AttentionSpec::Gqa(gqa) = &spec.layers[0].attention else { panic!("{spec:?}") };
    let FfnSpec::Dense { hidden } = spec.layers[0].ffn else { panic!("{spec:?}") };
    let mut draft = Draft::new("llama", spec);
    draft.count("feed_forward_length", hidden);
    draft.count("attention.head_count", gqa.n_heads);
    draft.count("attention.head_count_kv", gqa.n_kv_heads);
    draft.count("attention.key_length", gqa.head_dim);
    draft.float("rope.freq_base", gqa.rope.theta as f32);
    copy(&mut draft, spec, &source(&original), |slot, tensor| match slot {
        Slot::Query => pairs_side_by_side(tensor, gqa.n_heads),
        Slot::Key => pairs_side_by_side(tensor, gqa.n_kv_heads),
        _ => tensor,
    });
    let plain = RopeSpec { scaling: RopeScaling::None, ..gqa.rope.clone() }.frequencies(None);
    let scaled = gqa.rope.frequencies(None);
    let values = plain.iter().zip(scaled).map(|(plain, scaled)| (plain / scaled) as f32).collect();
    draft.add(spec, Slot::RopeTable, 0, Tensor { shape: vec![plain.len()], values });

    let folder = tempfile::tempdir().unwrap();
    let copied = open(&draft.write(folder.path()));
    assert_eq!(copied.1.rope().scaling, RopeScaling::Table);
    let ours = logits(&copied.1, &source(&copied), &TOKENS).unwrap();
    let theirs = logits(spec, &source(&original), &TOKENS).unwrap();
    // The table is rounded to f32.
    assert!(difference(&ours, &theirs) < 1e-5, "{}", difference(&ours, &theirs));
}

/// DeepSeek-V3 as GGUF has it: experts stacked, and the latent's image in two tensors.
fn deepseek_draft(original: &(Checkpoint, ModelSpec)) -> Draft {
    let (spec, source) = (&original.1, source(original));
    let last = spec.layers.last().unwrap();
    let AttentionSpec::Mla(mla) = &last.attention else { panic!("{last:?}") };
    let (FfnSpec::Moe(moe), FfnSpec::Dense { hidden }) = (&last.ffn, &spec.layers[0].ffn) else {
        panic!("{spec:?}")
    };
    let mut draft = Draft::new("deepseek2", spec);
    let groups = moe.router.groups.unwrap();
    for (key, n) in [
        ("feed_forward_length", *hidden),
        ("leading_dense_block_count", 1),
        ("attention.head_count", mla.n_heads),
        ("attention.q_lora_rank", mla.query_rank.unwrap()),
        ("attention.kv_lora_rank", mla.latent_rank),
        ("attention.key_length_mla", mla.nope_dim + mla.rope_dim),
        ("attention.value_length_mla", mla.value_dim),
        ("rope.dimension_count", mla.rope_dim),
        ("expert_count", moe.n_experts),
        ("expert_used_count", moe.n_chosen),
        ("expert_shared_count", 1),
        ("expert_feed_forward_length", moe.hidden),
        ("expert_group_count", groups.n_groups),
        ("expert_group_used_count", groups.n_chosen),
        ("expert_gating_func", 2),
        ("rope.scaling.original_context_length", 64),
    ] {
        draft.count(key, n);
    }
    draft.metadata.insert(&draft.key("expert_weights_norm"), Value::Bool(true));
    draft.metadata.insert(&draft.key("rope.scaling.type"), Value::Text("yarn".into()));
    for (key, x) in [
        ("expert_weights_scale", moe.router.scale),
        ("rope.freq_base", mla.rope.theta as f32),
        ("rope.scaling.factor", 4.0),
        ("rope.scaling.yarn_log_multiplier", 0.1),
    ] {
        draft.float(key, x);
    }
    copy(&mut draft, spec, &source, |_, tensor| tensor);
    draft.tensors.retain(|(name, _)| !name.contains("attn_kv_b"));
    for layer in 0..spec.layers.len() {
        let up = source.weight(Slot::LatentUp, layer, None).unwrap().unwrap();
        let (key, value) = split_up(&up, mla.nope_dim, mla.value_dim);
        draft.add(spec, Slot::LatentUpKey, layer, key);
        draft.add(spec, Slot::LatentUpValue, layer, value);
        if layer > 0 {
            for slot in [Slot::ExpertGate, Slot::ExpertUp, Slot::ExpertDown] {
                draft.add(spec, slot, layer, stack(&source, slot, layer, moe.n_experts));
            }
        }
    }
    draft
}

/// (H · (nope + value), latent) to (H, latent, nope) and (H, value, latent).
fn split_up(up: &Tensor, nope_dim: usize, value_dim: usize) -> (Tensor, Tensor) {
    let (n_heads, latent) = (up.shape[0] / (nope_dim + value_dim), up.shape[1]);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    for head in up.values.chunks((nope_dim + value_dim) * latent) {
        let (nope, rest) = head.split_at(nope_dim * latent);
        for r in 0..latent {
            key.extend((0..nope_dim).map(|i| nope[i * latent + r]));
        }
        value.extend_from_slice(rest);
    }
    let key = Tensor { shape: vec![n_heads, latent, nope_dim], values: key };
    (key, Tensor { shape: vec![n_heads, value_dim, latent], values: value })
}

fn stack(source: &dyn Source, slot: Slot, layer: usize, n_experts: usize) -> Tensor {
    let expert = |e| source.weight(slot, layer, Some(e)).unwrap().unwrap();
    let shape = [&[n_experts], expert(0).shape.as_slice()].concat();
    Tensor { shape, values: (0..n_experts).flat_map(|e| expert(e).values).collect() }
}

#[test]
fn deepseek_v3_with_stacked_experts_and_a_split_latent_is_the_same_model() {
    let original = golden("deepseek_v3");
    let folder = tempfile::tempdir().unwrap();
    let copied = open(&deepseek_draft(&original).write(folder.path()));
    assert_eq!(copied.1.layers, original.1.layers);
    let ours = logits(&copied.1, &source(&copied), &TOKENS).unwrap();
    let theirs = logits(&original.1, &source(&original), &TOKENS).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn a_missing_and_a_misshapen_weight_are_named() {
    let original = golden("deepseek_v3");
    let folder = tempfile::tempdir().unwrap();
    let mut draft = deepseek_draft(&original);
    let at = draft.tensors.iter().position(|(name, _)| name == "blk.2.ffn_up_exps.weight").unwrap();
    let (name, whole) = draft.tensors.remove(at);

    let copied = open(&draft.write(folder.path()));
    let error = logits(&copied.1, &source(&copied), &TOKENS).unwrap_err();
    assert!(matches!(error, Error::Missing { slot: Slot::ExpertUp, layer: 2 }), "{error}");

    // The experts of half the model.
    let shape = vec![whole.shape[0], whole.shape[1] / 2, whole.shape[2]];
    let values = whole.values[..whole.values.len() / 2].to_vec();
    draft.tensors.push((name, Tensor { shape, values }));
    let copied = open(&draft.write(folder.path()));
    let error = logits(&copied.1, &source(&copied), &TOKENS).unwrap_err();
    assert!(matches!(error, Error::Misshapen { slot: Slot::ExpertUp, layer: 2, .. }), "{error}");
}
