//! Every family through `quantize`: the same logits in F32, and in every other type those of the
//! weights as they decode.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod session;

use std::path::{Path, PathBuf};

use formats::gguf::{self, Metadata, Value};
use formats::{TensorLayout, TextSource};
use par::Pool;
use quant::QuantType;
use ruminate_convert::{Options, Target, quantize};
use session::{Expected, Made, Session, golden, options, reference_logits, relative_rms, worst};

const FAMILIES: [(&str, f32); 7] = [
    ("llama", 2e-4),
    ("qwen2", 2e-4),
    ("qwen3", 2e-4),
    ("qwen3_moe", 3e-4),
    ("deepseek_v2_lite", 3e-4),
    ("deepseek_v3", 3e-4),
    ("deepseek_v3_fp8", 3e-4),
];

#[test]
fn in_f32_every_family_agrees_with_transformers() {
    for (family, bound) in FAMILIES {
        let expected = Expected::read(family);
        let made = Made::new(&golden(family), "f32");
        let mut session = Session::new(&made.path);
        for (i, (ids, logits)) in expected.prompts.iter().enumerate() {
            let worst = worst(&session.logits(ids), logits);
            assert!(worst <= bound, "{family}, prompt {i}: off by {worst}");
        }
        let prompt = &expected.prompts[2].0;
        assert_eq!(session.greedy(prompt, expected.greedy.len()), expected.greedy, "{family}");
    }
}

/// Activations of eight bits: a kernel's error is small beside what a type leaves of the weights,
/// but a router that stands between two experts may take the other, and then that token is off.
#[test]
fn every_type_computes_what_its_weights_decode_to() {
    for (family, _) in FAMILIES {
        let is_sparse = family.contains("moe") || family.contains("deepseek");
        let ids = &Expected::read(family).prompts[2].0;
        for name in Target::names() {
            let made = Made::new(&golden(family), name);
            let decoded = reference_logits(&made.path, ids);
            let ours = Session::new(&made.path).logits(ids);
            let plain = matches!(name, "f32" | "f16" | "bf16");
            let off = relative_rms(&ours, &decoded);
            let off_of_half = median_of_rows(&ours, &decoded, ids.len());
            let (bound, bound_of_half) = match (plain, is_sparse) {
                (true, _) => (1e-5, 1e-5),
                (false, false) => (0.025, 0.025),
                (false, true) => (0.15, 0.025),
            };
            assert!(off <= bound, "{family} {name}: off by {off}");
            assert!(off_of_half <= bound_of_half, "{family} {name}: half off by {off_of_half}");
        }
    }
}

/// The relative error of the logits of one token, over `n_rows` of them in the middle.
fn median_of_rows(found: &[f32], expected: &[f32], n_rows: usize) -> f64 {
    let vocab = found.len() / n_rows;
    let rows = found.chunks_exact(vocab).zip(expected.chunks_exact(vocab));
    let mut errors: Vec<f64> = rows.map(|(a, b)| relative_rms(a, b)).collect();
    errors.sort_by(f64::total_cmp);
    errors[n_rows / 2]
}

/// Relative error that a type may leave in the logits of a tiny random model, whose every weight
/// matters. Trained models lose far less.
#[test]
fn better_types_come_nearer_to_transformers() {
    for (family, _) in FAMILIES {
        let (ids, logits) = &Expected::read(family).prompts[2];
        for (name, bound) in [("bf16", 0.05), ("q8_0", 0.08), ("q5_k_m", 0.22), ("q4_0", 0.40)] {
            let made = Made::new(&golden(family), name);
            let off = relative_rms(&Session::new(&made.path).logits(ids), logits);
            assert!(off <= bound, "{family} {name}: off by {off}");
        }
    }
}

/// The same tensors as stored, so the same bytes; the keys but for the type of the file.
#[test]
fn a_gguf_file_to_its_own_type_keeps_every_byte() {
    let made = Made::new(&golden("deepseek_v3"), "q4_0");
    let again = Made::new(&made.path, "q4_0");
    assert_eq!(std::fs::read(&made.path).unwrap().len(), again.summary.bytes as usize);
    let [before, after] = [&made.path, &again.path].map(|path| formats::open(path).unwrap());
    assert_eq!(before.weights.names(), after.weights.names());
    for name in before.weights.names() {
        let [a, b] = [&before, &after].map(|of| of.weights.tensor(name).unwrap());
        assert_eq!((a.quant, &a.shape, &*a.bytes), (b.quant, &b.shape, &*b.bytes), "{name}");
    }
    let (TextSource::Gguf(a), TextSource::Gguf(b)) = (before.text, after.text) else { panic!() };
    assert!(a.iter().eq(b.iter()));
}

#[test]
fn a_gguf_file_becomes_another_type_by_its_decoded_weights() {
    let half = Made::new(&golden("qwen3_moe"), "f16");
    let quarter = Made::new(&half.path, "q8_0");
    let direct = Made::new(&golden("qwen3_moe"), "q8_0");
    // What is BF16 there is F16 exactly, so both ways lead to the same blocks.
    let [a, b] = [&quarter, &direct].map(|made| formats::open(&made.path).unwrap());
    for name in a.weights.names() {
        let [a, b] = [&a, &b].map(|of| of.weights.tensor(name).unwrap());
        assert_eq!(&*a.bytes, &*b.bytes, "{name}");
    }
}

#[test]
fn a_split_file_becomes_one() {
    let made = Made::new(&golden("qwen2"), "f16");
    let folder = tempfile::tempdir().unwrap();
    let first = split(&made.path, folder.path());
    let joined = Made::new(&first, "f16");
    let ids = [7, 300, 12, 45];
    assert_eq!(Session::new(&joined.path).logits(&ids), Session::new(&made.path).logits(&ids));
}

/// Cuts a file into two, its tensors by turns.
fn split(path: &Path, folder: &Path) -> PathBuf {
    let whole = formats::open(path).unwrap();
    let TextSource::Gguf(metadata) = &whole.text else { panic!() };
    let part_path = |no: usize| folder.join(format!("model-{:05}-of-00002.gguf", no + 1));
    for no in 0..2 {
        let path = part_path(no);
        let mut metadata = if no == 0 { metadata.clone() } else { Metadata::new(&path) };
        let names = whole.weights.names().into_iter().skip(no).step_by(2);
        let tensors: Vec<_> = names.map(|name| whole.weights.tensor(name).unwrap()).collect();
        let layout = |t: &formats::Tensor| TensorLayout {
            name: t.name.clone(),
            quant: t.quant,
            shape: t.shape.clone(),
        };
        let layouts: Vec<TensorLayout> = tensors.iter().map(layout).collect();
        metadata.insert("general.alignment", Value::U32(64));
        let mut rest = tensors.iter();
        gguf::write(&path, &metadata, &layouts, |_, out| {
            out.write_all(&rest.next().expect("a tensor for each layout").bytes)
        })
        .unwrap();
        set_split(&path, no);
    }
    part_path(0)
}

/// Adds the keys of a part, which a writer of whole files leaves out: two more keys at the front,
/// in place of as many bytes as a part of that alignment has to spare.
fn set_split(path: &Path, no: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let n_keys = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    let mut keys = Vec::new();
    for (key, n) in [("split.no", no as u16), ("split.count", 2)] {
        keys.extend((key.len() as u64).to_le_bytes());
        keys.extend(key.as_bytes());
        keys.extend(2u32.to_le_bytes());
        keys.extend(n.to_le_bytes());
    }
    // A key of filling makes the addition a multiple of the alignment.
    let filling = (keys.len() + 8 + 1 + 4 + 8).next_multiple_of(64) - (keys.len() + 8 + 1 + 4 + 8);
    keys.extend(1u64.to_le_bytes());
    keys.extend(b"x");
    keys.extend(8u32.to_le_bytes());
    keys.extend((filling as u64).to_le_bytes());
    keys.extend(vec![b' '; filling]);
    bytes[16..24].copy_from_slice(&(n_keys + 3).to_le_bytes());
    bytes.splice(24..24, keys);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn threads_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let files = [1, 3].map(|threads| {
        let path = folder.path().join(format!("{threads}.gguf"));
        let pool = Pool::new(threads);
        quantize(&golden("deepseek_v2_lite"), &path, &options("q4_k_m"), &pool, &|_, _| ())
            .unwrap();
        std::fs::read(path).unwrap()
    });
    assert!(files[0] == files[1]);
}

#[test]
fn progress_ends_at_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let seen = std::cell::RefCell::new(Vec::new());
    let tell = |done, total| seen.borrow_mut().push((done, total));
    quantize(&golden("llama"), &path, &options("q4_0"), &Pool::new(1), &tell).unwrap();
    let seen = seen.into_inner();
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0 && a.1 == b.1));
    assert_eq!(seen.last().unwrap().0, seen[0].1);
}

#[test]
fn a_file_that_is_there_is_replaced_only_when_asked() {
    let made = Made::new(&golden("llama"), "q8_0");
    let pool = Pool::new(1);
    let again = |options| quantize(&golden("llama"), &made.path, &options, &pool, &|_, _| ());
    let error = again(options("q4_0")).unwrap_err();
    assert!(error.to_string().ends_with("choose another name, or replace it with --force"));
    assert_eq!(std::fs::metadata(&made.path).unwrap().len(), made.summary.bytes);
    let smaller = again(Options { replace: true, ..options("q4_0") }).unwrap();
    assert_eq!(std::fs::metadata(&made.path).unwrap().len(), smaller.bytes);
    assert!(smaller.bytes < made.summary.bytes);
}

#[test]
fn the_head_is_kept_in_the_type_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (family, head) in [("llama", "output.weight"), ("qwen3", "token_embd.weight")] {
        let path = folder.path().join(family);
        let options = Options { head: Some(QuantType::F16), ..options("q4_0") };
        quantize(&golden(family), &path, &options, &Pool::new(1), &|_, _| ()).unwrap();
        let model = formats::open(&path).unwrap();
        assert_eq!(model.weights.tensor(head).unwrap().quant, QuantType::F16);
        assert_eq!(model.weights.tensor("blk.0.attn_q.weight").unwrap().quant, QuantType::Q4_0);
    }
}

#[test]
fn a_file_has_the_vocabulary_and_the_template_of_its_folder() {
    let made = Made::new(&golden("qwen3"), "q8_0");
    let TextSource::Gguf(keys) = formats::open(&made.path).unwrap().text else { panic!() };
    assert_eq!(keys.text("tokenizer.ggml.pre").unwrap(), Some("gpt-2"));
    assert_eq!(keys.texts("tokenizer.ggml.tokens").unwrap().unwrap().len(), 320);
    assert_eq!(keys.int("tokenizer.ggml.eos_token_id").unwrap(), Some(2));
    let template = keys.text("tokenizer.chat_template").unwrap().unwrap();
    assert!(template.contains("enable_thinking"));
    assert_eq!(keys.text("general.name").unwrap(), Some("qwen3"));
}
