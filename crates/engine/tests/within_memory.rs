//! Models larger than memory, each in a process of its own that has only so much.
//!
//! This file has its own `main`: it starts itself again as the process that is watched.

#![expect(clippy::print_stdout, reason = "a child process answers by what it prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use formats::{Random, TensorLayout, Weights};
use quant::QuantType;
use ruminate_engine::sampler::Params;
use ruminate_engine::{Core, Engine, Event, Finish, Loaded, Options, Request};
use rustix::process::{Resource, Rlimit, setrlimit};
use schedule::{ClientId, Priority};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const LAYERS: usize = 4;
const EXPERTS: usize = 64;
const CHOSEN: usize = 4;
const DIM: usize = 256;
const HIDDEN: usize = 384;
/// A third of what the model's files hold, about.
const MEMORY: u64 = 48 << 20;
const PROMPT: [u32; 12] = [5, 17, 170, 33, 250, 9, 81, 6, 300, 44, 120, 7];

fn main() -> Outcome<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == "child") {
        return child(&arguments[1..]);
    }
    let folder = tempfile::tempdir()?;
    write_model(folder.path())?;
    let free = answer(folder.path(), &["free"])?;
    assert!(free["experts"].is_null(), "a model that fits is in memory: {free}");
    an_address_space_of_a_third_is_enough(folder.path(), &free)?;
    what_is_asked_is_kept_to_and_recorded(folder.path(), &free)?;
    too_little_is_refused_and_what_is_named_is_enough(folder.path(), &free)?;
    println!("within_memory: all is well");
    Ok(())
}

/// Under `RLIMIT_AS`, where a map of the files alone would be refused.
fn an_address_space_of_a_third_is_enough(model: &Path, free: &Value) -> Outcome<()> {
    let limited = answer(model, &["address-space", &MEMORY.to_string()])?;
    assert_eq!(limited["tokens"], free["tokens"]);
    let slots = limited["experts"]["slots"].as_u64().ok_or("a cache of experts")?;
    assert!(slots >= 1 && slots < (LAYERS * EXPERTS) as u64, "{limited}");
    Ok(())
}

fn what_is_asked_is_kept_to_and_recorded(model: &Path, free: &Value) -> Outcome<()> {
    let record = model.join("loads.jsonl");
    let record_text = record.to_string_lossy().into_owned();
    let limited = answer(model, &["memory", &MEMORY.to_string(), &record_text])?;
    assert_eq!(limited["tokens"], free["tokens"]);
    let peak = limited["peak"].as_u64().ok_or("the peak")?;
    assert!(peak <= MEMORY, "{peak} bytes at the peak, {MEMORY} were asked for: {limited}");
    assert!(limited["experts"]["misses"].as_u64() > Some(0), "{limited}");
    let lines = fs::read_to_string(record)?;
    let lines: Vec<Value> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines[0]["format"], "ruminate-expert-loads");
    assert_eq!(lines[0]["version"], 1);
    assert_eq!((lines.len(), &lines[0]["sparse_layers"]), (1 + LAYERS, &json!(LAYERS)));
    for (i, line) in lines[1..].iter().enumerate() {
        let counts = line["counts"].as_array().ok_or("counts")?;
        let total: u64 = counts.iter().filter_map(Value::as_u64).sum();
        assert_eq!((&line["layer"], counts.len()), (&json!(i), EXPERTS));
        // The last token of the answer goes through no layer.
        let tokens = (PROMPT.len() + N_TOKENS - 1) as u64;
        assert_eq!((total, &line["tokens"]), (tokens * CHOSEN as u64, &json!(tokens)));
    }
    Ok(())
}

fn too_little_is_refused_and_what_is_named_is_enough(model: &Path, free: &Value) -> Outcome<()> {
    let refused = answer(model, &["memory", &(2u64 << 20).to_string()])?;
    let text = refused["refused"].as_str().ok_or("a refusal")?;
    assert!(text.starts_with("the model needs at least "), "{text}");
    for what in ["(weights ", "experts ", "cache ", "buffers ", "and 2.0 MiB is available"] {
        assert!(text.contains(what), "{text}");
    }
    let least = refused["least"].as_u64().ok_or("the least")?;
    // Two runs of a program differ by some pages.
    let enough = answer(model, &["memory", &(least + (1 << 20)).to_string()])?;
    assert_eq!(enough["tokens"], free["tokens"], "{enough}");
    Ok(())
}

/// What a child process found.
fn answer(model: &Path, how: &[&str]) -> Outcome<Value> {
    let output =
        Command::new(std::env::current_exe()?).arg("child").arg(model).args(how).output()?;
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{how:?}: {}\n{err}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

const N_TOKENS: usize = 24;

/// Answers a prompt within the memory that the arguments allow, and prints what came of it.
fn child(arguments: &[OsString]) -> Outcome<()> {
    let text = |i: usize| arguments.get(i).and_then(|argument| argument.to_str());
    let model = PathBuf::from(&arguments[0]);
    let mut options = Options { threads: Some(2), context: Some(64), ..Options::default() };
    let bytes =
        || text(2).ok_or("a number of bytes")?.parse::<u64>().map_err(Box::<dyn Error>::from);
    match text(1) {
        Some("address-space") => {
            let limit = Some(status("VmSize:")? + bytes()?);
            setrlimit(Resource::As, Rlimit { current: limit, maximum: limit })?;
        }
        Some("memory") => options.memory = Some(bytes()?),
        _ => {}
    }
    options.record_experts = text(3).map(PathBuf::from);
    let loaded = match Loaded::open(&model, &options, &|done, all| assert!(done <= all)) {
        Ok(loaded) => loaded,
        Err(ruminate_engine::Error::Memory(shortage)) => {
            let refused = shortage.to_string();
            println!("{}", json!({ "refused": refused, "least": shortage.need.total() }));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let engine = Engine::start(Core::new(loaded)?);
    let tokens = generate(&engine)?;
    let experts = engine.expert_statistics().map(|statistics| {
        json!({
            "slots": statistics.slots,
            "misses": statistics.misses,
            "hits": statistics.hits,
            "guesses": statistics.guesses,
            "right": statistics.guesses_right,
            "disk_share": statistics.disk_share(),
        })
    });
    drop(engine);
    println!("{}", json!({ "tokens": tokens, "experts": experts, "peak": status("VmHWM:")? }));
    Ok(())
}

/// The likeliest tokens after the prompt.
fn generate(engine: &Engine) -> Outcome<Vec<u32>> {
    let params = Params {
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed: 1,
    };
    let (sender, events) = mpsc::channel();
    let request = Request {
        prompt: PROMPT.to_vec(),
        max_tokens: N_TOKENS,
        params,
        think: None,
        stops: Vec::new(),
        ignore_stops: true,
        ends_loops: false,
        grammar: None,
        shown_controls: Vec::new(),
        logprobs: None,
        prompt_logprobs: None,
        min_tokens: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    };
    engine.submit(request, Box::new(move |event| sender.send(event).is_ok()));
    let mut tokens = Vec::new();
    for event in events {
        match event {
            Event::Token(token) => tokens.push(token.id),
            Event::Finished { finish: Finish::Length, .. } => return Ok(tokens),
            Event::Finished { finish, .. } => return Err(format!("{finish:?}").into()),
            Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => {}
        }
    }
    Err("an answer without an end".into())
}

/// A number of /proc/self/status, in bytes.
fn status(name: &str) -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("a line of status")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// A sparse model with random weights, of some 150 MB in bf16.
fn write_model(folder: &Path) -> Outcome<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/qwen3_moe");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(golden.join(name), folder.join(name))?;
    }
    let mut config: Value = serde_json::from_slice(&fs::read(golden.join("config.json"))?)?;
    config["hidden_size"] = json!(DIM);
    config["moe_intermediate_size"] = json!(HIDDEN);
    config["num_hidden_layers"] = json!(LAYERS);
    config["num_local_experts"] = json!(EXPERTS);
    config["num_experts"] = json!(EXPERTS);
    config["num_experts_per_tok"] = json!(CHOSEN);
    fs::write(folder.join("config.json"), config.to_string())?;
    let mut shapes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let heads = 8 * 32;
    for name in ["model.embed_tokens", "lm_head"] {
        shapes.insert(format!("{name}.weight"), vec![320, DIM]);
    }
    shapes.insert("model.norm.weight".into(), vec![DIM]);
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.insert(format!("model.layers.{layer}.{name}.weight"), shape.to_vec());
        };
        add("input_layernorm", &[DIM]);
        add("post_attention_layernorm", &[DIM]);
        add("self_attn.q_proj", &[heads, DIM]);
        add("self_attn.k_proj", &[2 * 32, DIM]);
        add("self_attn.v_proj", &[2 * 32, DIM]);
        add("self_attn.o_proj", &[DIM, heads]);
        add("self_attn.q_norm", &[32]);
        add("self_attn.k_norm", &[32]);
        add("mlp.gate", &[EXPERTS, DIM]);
        for expert in 0..EXPERTS {
            add(&format!("mlp.experts.{expert}.gate_proj"), &[HIDDEN, DIM]);
            add(&format!("mlp.experts.{expert}.up_proj"), &[HIDDEN, DIM]);
            add(&format!("mlp.experts.{expert}.down_proj"), &[DIM, HIDDEN]);
        }
    }
    let quant = QuantType::Bf16;
    let layout = |(name, shape)| TensorLayout { name, quant, shape };
    let layouts: Vec<TensorLayout> = shapes.into_iter().map(layout).collect();
    let random = Random::new(1, layouts.clone());
    assert!(random.bytes() >= 3 * MEMORY, "{} bytes", random.bytes());
    let path = folder.join("model.safetensors");
    formats::safetensors::write(&path, &layouts, |layout, out| {
        let tensor = random.tensor(&layout.name).map_err(std::io::Error::other)?;
        out.write_all(&tensor.bytes)
    })?;
    Ok(())
}
