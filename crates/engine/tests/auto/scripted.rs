//! Tiny models that say what a test wants: their layers add nothing, so that the next token follows
//! from the last one by probabilities that are written down.

use std::path::{Path, PathBuf};

use formats::TensorLayout;
use quant::QuantType;
use ruminate_engine::Vocabulary;

/// The norm before the head of the layer that guesses.
pub(crate) const SHARED_NORM: &str = "model.layers.3.shared_head.norm.weight";

pub(crate) fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// What follows what: a token, and the tokens after it with their probabilities. Whatever is not
/// listed ends the answer.
pub(crate) type Script<'a> = &'a [(&'a str, &'a [(&'a str, f32)])];

/// Thinking that wanders and does not end, after `<think>`.
pub(crate) const WANDERS: [(&str, &[(&str, f32)]); 5] = [
    ("a", &[("b", 0.4), ("c", 0.4), ("\n", 0.2)]),
    ("b", &[("a", 0.4), ("c", 0.4), ("\n", 0.2)]),
    ("c", &[("a", 0.3), ("b", 0.3), ("d", 0.3), ("\n", 0.1)]),
    ("d", &[("a", 0.5), ("d", 0.4), ("\n", 0.1)]),
    ("\n", &[("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25)]),
];
pub(crate) const END: &str = "<|im_end|>";
/// The last token of a prompt that asks for a trial.
pub(crate) const CUE: &str = "*";

/// A script in a variable.
pub(crate) type Owned = Vec<(&'static str, &'static [(&'static str, f32)])>;

/// `WANDERS`, and the rest of a model.
pub(crate) fn script<'a>(
    rest: &[(&'a str, &'a [(&'a str, f32)])],
) -> Vec<(&'a str, &'a [(&'a str, f32)])> {
    WANDERS.iter().chain(rest).copied().collect()
}

/// A folder with a model that follows `script`.
pub(crate) fn model(script: Script<'_>) -> tempfile::TempDir {
    write("llama", |vocabulary, tensors| follow(script, vocabulary, tensors))
}

/// The same with a layer of its own that guesses the token after the next, and is right.
pub(crate) fn guessing_model(script: Script<'_>) -> tempfile::TempDir {
    write("deepseek_v3", |vocabulary, tensors| {
        add_layer(tensors, |row, col| f32::from(row == col));
        follow(script, vocabulary, tensors);
    })
}

/// A tiny random model with a layer that guesses, and mostly wrong.
pub(crate) fn misguessing_model() -> tempfile::TempDir {
    write("deepseek_v3", |_, tensors| {
        add_layer(tensors, |row, col| ((row * 31 + col * 17) % 23) as f32 / 60.0 - 0.18);
    })
}

/// A name, a shape and values.
pub(crate) type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A folder with the model of a family as `change` leaves it.
pub(crate) fn write(
    family: &'static str,
    change: impl FnOnce(&Vocabulary, &mut Tensors),
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = golden(family);
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let config = std::fs::read(from.join("tokenizer_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    // A thinking prompt opens thinking, another closes it; enable_thinking is the switch.
    config["chat_template"] = "{% for m in messages %}{{ '<|im_start|>' + m.content }}{% endfor %}\
        {% if enable_thinking is defined and enable_thinking is false %}</think>\
        {% else %}<think>{% endif %}"
        .into();
    let config = serde_json::to_vec(&config).unwrap();
    std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();

    let checkpoint = formats::open(&from).unwrap();
    let vocabulary = Vocabulary::read(&from, &checkpoint.text, family).unwrap();
    let names = checkpoint.weights.names();
    let mut tensors: Tensors = names
        .iter()
        .map(|&name| {
            let tensor = checkpoint.weights.tensor(name).unwrap();
            (name.to_string(), tensor.shape.clone(), tensor.to_f32())
        })
        .collect();
    change(&vocabulary, &mut tensors);
    let layouts: Vec<TensorLayout> = tensors
        .iter()
        .map(|(name, shape, _)| {
            let (name, shape) = (name.clone(), shape.clone());
            TensorLayout { name, quant: QuantType::F32, shape }
        })
        .collect();
    let path = folder.path().join("model.safetensors");
    formats::safetensors::write(&path, &layouts, |layout, out| {
        let tensor = tensors.iter().find(|tensor| tensor.0 == layout.name).unwrap();
        let bytes: Vec<u8> = tensor.2.iter().flat_map(|x| x.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
    .unwrap();
    folder
}

/// Adds a layer like the last one. `joined` fills the projection (D, 2D).
pub(crate) fn add_layer(tensors: &mut Tensors, joined: impl Fn(usize, usize) -> f32) {
    let copies: Vec<_> = tensors
        .iter()
        .filter_map(|(name, shape, values)| {
            let rest = name.strip_prefix("model.layers.2.")?;
            Some((format!("model.layers.3.{rest}"), shape.clone(), values.clone()))
        })
        .collect();
    tensors.extend(copies);
    let norm = tensors.iter().find(|tensor| tensor.0 == "model.norm.weight").unwrap().2.clone();
    let dim = norm.len();
    let projection = (0..dim * 2 * dim).map(|i| joined(i / (2 * dim), i % (2 * dim))).collect();
    let extra = [
        ("model.layers.3.enorm.weight", vec![dim], vec![1.0; dim]),
        ("model.layers.3.hnorm.weight", vec![dim], vec![1.0; dim]),
        (SHARED_NORM, vec![dim], norm),
        ("model.layers.3.eh_proj.weight", vec![dim, 2 * dim], projection),
    ];
    tensors.extend(extra.map(|(name, shape, values)| (name.to_string(), shape, values)));
}

/// Makes every layer add nothing, and the next token follow from the last one as it is written.
pub(crate) fn follow(script: Script<'_>, vocabulary: &Vocabulary, tensors: &mut Tensors) {
    let id = |text: &str| -> usize {
        let tokenizer = &vocabulary.tokenizer;
        let added = tokenizer.added(text).map(|id| id as usize);
        added.unwrap_or_else(|| {
            let ids = tokenizer.encode_text(text).unwrap();
            assert_eq!(ids.len(), 1, "{text:?} is not a token");
            ids[0] as usize
        })
    };
    for (name, shape, values) in tensors {
        let dim = *shape.last().unwrap();
        let scale = (dim as f32).sqrt();
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            values.fill(0.0);
        } else if matches!(name.as_str(), "model.norm.weight" | SHARED_NORM) {
            values.fill(1.0);
        } else if name == "model.embed_tokens.weight" {
            // Token t is the unit of its class; the norm makes it √D long.
            values.fill(0.0);
            for token in 0..shape[0] {
                let class = script.iter().position(|(from, _)| id(from) == token);
                values[token * dim + class.map_or(0, |class| class + 1)] = 1.0;
            }
        } else if name == "lm_head.weight" {
            // The likelihood of whatever is not named: e^-30.
            values.fill(-30.0 / scale);
            values[id(END) * dim] = 0.0;
            for (class, (_, follows)) in script.iter().enumerate() {
                for (to, p) in *follows {
                    values[id(to) * dim + class + 1] = p.ln() / scale;
                }
            }
        }
    }
}

/// Short answers guess, trials know.
pub(crate) fn unsure() -> Owned {
    script(&[
        ("<think>", &[("a", 0.999), ("</think>", 0.001)]),
        ("</think>", &[("H", 0.4), ("I", 0.3), ("4", 0.3)]),
        ("H", &[(END, 0.6), ("I", 0.4)]),
        ("I", &[(END, 0.6), ("H", 0.4)]),
        ("4", &[(END, 0.999), ("H", 0.001)]),
        (CUE, &[("4", 0.99), ("H", 0.01)]),
    ])
}

/// Each course is taken by some seed.
pub(crate) fn mixed() -> Owned {
    script(&[
        ("<think>", &[("a", 0.9), ("</think>", 0.1)]),
        ("</think>", &[("H", 0.95), ("I", 0.05)]),
        ("H", &[("I", 0.93), (END, 0.07)]),
        ("I", &[(END, 0.95), ("H", 0.05)]),
        (CUE, &[("4", 0.97), ("H", 0.03)]),
        ("4", &[(END, 0.97), ("\n", 0.03)]),
    ])
}
