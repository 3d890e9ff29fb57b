//! Speculation by the model's own extra layer, on a checkpoint whose layer is known to be right.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;

use formats::{Checkpoint, TensorLayout};
use quant::QuantType;
use ruminate_engine::grammar::{GrammarSource, Grammars};
use ruminate_engine::sampler::PartialParams;
use ruminate_engine::{
    Core, Event, Loaded, Options, Progress, Request, RequestId, Speculate, Usage,
};
use schedule::{ClientId, Micros, Priority};

/// Tensors by name: shape and values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/deepseek_v3")
}

fn read(checkpoint: &Checkpoint) -> Tensors {
    let names = checkpoint.weights.names();
    let tensor = |name: &str| checkpoint.weights.tensor(name).unwrap();
    names.iter().map(|&n| (n.to_string(), (tensor(n).shape.clone(), tensor(n).to_f32()))).collect()
}

/// Adds an extra layer like layer 2. `joined` fills the projection (D, 2D).
fn add_layer(tensors: &mut Tensors, joined: impl Fn(usize, usize) -> f32) {
    let copies: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let rest = name.strip_prefix("model.layers.2.")?;
            Some((format!("model.layers.3.{rest}"), tensor.clone()))
        })
        .collect();
    tensors.extend(copies);
    let norm = tensors["model.norm.weight"].clone();
    let dim = norm.1.len();
    let projection = (0..dim * 2 * dim).map(|i| joined(i / (2 * dim), i % (2 * dim))).collect();
    let ones = (vec![dim], vec![1.0; dim]);
    let extra = [
        ("enorm.weight", ones.clone()),
        ("hnorm.weight", ones),
        ("shared_head.norm.weight", norm),
        ("eh_proj.weight", (vec![dim, 2 * dim], projection)),
    ];
    tensors.extend(extra.map(|(name, tensor)| (format!("model.layers.3.{name}"), tensor)));
}

/// Makes every layer add nothing: the model is then a function of the last token.
fn silence(tensors: &mut Tensors) {
    for (name, (_, values)) in tensors {
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            values.fill(0.0);
        }
    }
}

fn write(folder: &Path, tensors: &Tensors) {
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(golden().join(file), folder.join(file)).unwrap();
    }
    let layouts: Vec<TensorLayout> = tensors
        .iter()
        .map(|(name, (shape, _))| TensorLayout {
            name: name.clone(),
            quant: QuantType::F32,
            shape: shape.clone(),
        })
        .collect();
    formats::safetensors::write(&folder.join("model.safetensors"), &layouts, |layout, out| {
        let bytes: Vec<u8> = tensors[&layout.name].1.iter().flat_map(|x| x.to_le_bytes()).collect();
        out.write_all(&bytes)
    })
    .unwrap();
}

/// Tokens with the bits of their log-probabilities, and what was used, of three prompts at once.
fn answers(folder: &Path, speculate: Speculate, temperature: f32) -> Vec<(Vec<(u32, u32)>, Usage)> {
    matching(folder, speculate, temperature, None)
}

/// The same, with answers that match a regular expression.
fn matching(
    folder: &Path,
    speculate: Speculate,
    temperature: f32,
    regex: Option<&str>,
) -> Vec<(Vec<(u32, u32)>, Usage)> {
    let options = Options {
        sequences_max: 4,
        context: Some(256),
        threads: Some(2),
        speculate,
        ..Options::default()
    };
    let loaded = Loaded::open(folder, &options, &|_, _| ()).unwrap();
    let grammars = Grammars::new(&loaded.vocabulary.tokenizer).unwrap();
    let source = regex.map(|regex| GrammarSource::Regex(regex.into()));
    let mut core = Core::new(loaded).unwrap();
    let prompts = [vec![5, 17, 230, 41], (0..70).map(|i| i * 3 % 310).collect(), vec![9; 33]];
    let mut all_events = Vec::new();
    for (i, prompt) in prompts.into_iter().enumerate() {
        let temperature = Some(temperature);
        let params = PartialParams { temperature, ..PartialParams::default() };
        let request = Request {
            prompt,
            max_tokens: 60,
            params: params.fill(i as u64).unwrap(),
            think: None,
            stops: Vec::new(),
            ignore_stops: true,
            ends_loops: false,
            grammar: source.as_ref().map(|source| grammars.compile(source).unwrap()),
            shown_controls: Vec::new(),
            logprobs: Some(0),
            prompt_logprobs: None,
            min_tokens: 0,
            priority: Priority::Normal,
            client: ClientId(0),
            salt: 0,
            expires: None,
        };
        let (sender, events) = channel();
        let sink = Box::new(move |event| sender.send(event).is_ok());
        core.submit(RequestId(i as u64), request, vec![sink], Micros(0));
        all_events.push(events);
    }
    while core.step(|| Micros(0)) == Progress::Stepped {}
    let collect = |events: &std::sync::mpsc::Receiver<Event>| {
        let (mut tokens, mut used) = (Vec::new(), Usage::default());
        for event in events.try_iter() {
            match event {
                Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => {}
                Event::Token(token) => tokens.push((token.id, token.logprob.unwrap().to_bits())),
                Event::Finished { usage, .. } => used = usage,
            }
        }
        (tokens, used)
    };
    all_events.iter().map(collect).collect()
}

#[test]
fn a_layer_that_knows_the_next_token_is_always_right() {
    let mut tensors = read(&formats::open(&golden()).unwrap());
    // The projection passes the embedding of the last token on, and the silent layers change
    // nothing: the guess is what the model itself will say.
    add_layer(&mut tensors, |row, col| f32::from(row == col));
    silence(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &tensors);
    let plain = answers(folder.path(), Speculate::Off, 0.0);
    let guessed = answers(folder.path(), Speculate::Mtp, 0.0);
    for ((plain, _), (tokens, usage)) in plain.iter().zip(&guessed) {
        assert_eq!(plain, tokens);
        assert_eq!(usage.accepted_tokens, usage.drafted_tokens);
        assert!(usage.accepted_tokens >= 25, "{usage:?}");
    }
}

#[test]
fn a_layer_that_knows_nothing_changes_no_bit() {
    let mut tensors = read(&formats::open(&golden()).unwrap());
    add_layer(&mut tensors, |row, col| ((row * 31 + col * 17) % 23) as f32 / 60.0 - 0.18);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &tensors);
    for temperature in [0.0, 1.0] {
        let plain = answers(folder.path(), Speculate::Off, temperature);
        let guessed = answers(folder.path(), Speculate::Mtp, temperature);
        for ((plain, _), (tokens, usage)) in plain.iter().zip(&guessed) {
            assert_eq!(plain, tokens, "at {temperature}");
            // It stops asking when nothing comes of it.
            assert!((1..40).contains(&usage.drafted_tokens), "{usage:?}");
        }
    }
}

#[test]
fn guesses_that_a_grammar_forbids_change_no_bit_of_what_matches_it() {
    let mut tensors = read(&formats::open(&golden()).unwrap());
    add_layer(&mut tensors, |row, col| f32::from(row == col));
    silence(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &tensors);
    let regex = Some("([a-f]{3}[0-9 ]){12}");
    for temperature in [0.0, 1.0] {
        let plain = matching(folder.path(), Speculate::Off, temperature, regex);
        let guessed = matching(folder.path(), Speculate::Mtp, temperature, regex);
        for ((plain, _), (tokens, usage)) in plain.iter().zip(&guessed) {
            assert_eq!(plain, tokens, "at {temperature}");
            assert!(usage.drafted_tokens > usage.accepted_tokens, "{usage:?}");
        }
    }
}

#[test]
fn a_model_without_the_layer_says_so() {
    let options = Options { speculate: Speculate::Mtp, ..Options::default() };
    let error = Loaded::open(&golden(), &options, &|_, _| ()).err().unwrap().to_string();
    assert!(error.ends_with("speculate by n-grams, or not at all"), "{error}");
}
