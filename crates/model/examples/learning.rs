//! Speed of a training pass, forward and backward, beside the f32 roof of this machine.
//!
//! `cargo run --release -p ruminate-model --example learning -- [THREADS] [RUNS] [checkpointing]`
//!
//! With `small` only the small case; with `paced` it says `ready NAME` and runs when it gets an
//! empty line, which it answers with `took FORWARD ALL ROOF`: seconds, and GFLOP/s of f32 that the
//! machine reached right after. `next` goes on to the next case.

#![expect(clippy::print_stdout, reason = "a bench prints its rows")]

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::time::Instant;

use formats::{Random, TensorLayout};
use panels::peak::Peak;
use par::Pool;
use quant::QuantType;
use ruminate_model::learn::{LearnOptions, Learner, Sequences};
use ruminate_model::{Decoder, KvType, Limits};
use simd::Best;
use spec::{Config, Dialect, ModelSpec, Value};

/// A model of Llama's kind, and a batch for it.
struct Case {
    name: &'static str,
    vocab: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: usize,
    hidden: usize,
    tied_head: bool,
    n_sequences: usize,
    len: usize,
}

const CASES: [Case; 2] = [
    Case {
        name: "135M Llama, 4 x 256",
        vocab: 49_152,
        dim: 576,
        n_layers: 30,
        n_heads: 9,
        n_kv_heads: 3,
        hidden: 1_536,
        tied_head: true,
        n_sequences: 4,
        len: 256,
    },
    Case {
        name: "6 layers x 256, 8 x 256",
        vocab: 4_096,
        dim: 256,
        n_layers: 6,
        n_heads: 4,
        n_kv_heads: 4,
        hidden: 1_024,
        tied_head: false,
        n_sequences: 8,
        len: 256,
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, or| args.get(i).and_then(|n| n.parse().ok()).unwrap_or(or);
    let (pool, runs) = (Pool::new(number(0, Pool::threads_available())), number(1, 3));
    let checkpointing = args.iter().any(|arg| arg == "checkpointing");
    let (small, paced) = (args.iter().any(|arg| arg == "small"), args.iter().any(|a| a == "paced"));
    for case in CASES.iter().filter(|case| !small || case.n_layers < 10) {
        let mut school = School::new(&pool, case, checkpointing);
        if paced { school.run_when_told(&pool) } else { school.run(&pool, case, runs) }
    }
}

fn spec(case: &Case) -> ModelSpec {
    let int = |n: usize| Value::Int(n as i64);
    let values = [
        ("architectures", Value::List(vec![Value::Text("LlamaForCausalLM".into())])),
        ("model_type", Value::Text("llama".into())),
        ("vocab_size", int(case.vocab)),
        ("hidden_size", int(case.dim)),
        ("intermediate_size", int(case.hidden)),
        ("num_hidden_layers", int(case.n_layers)),
        ("num_attention_heads", int(case.n_heads)),
        ("num_key_value_heads", int(case.n_kv_heads)),
        ("max_position_embeddings", int(case.len)),
        ("rms_norm_eps", Value::Float(1e-5)),
        ("rope_theta", Value::Float(1e4)),
        ("tie_word_embeddings", Value::Bool(case.tied_head)),
    ];
    let config = Config {
        dialect: Dialect::HuggingFace,
        values: values.into_iter().map(|(key, value)| (key.into(), value)).collect(),
        tensors: BTreeSet::new(),
    };
    ModelSpec::from_config(&config).expect("a config of Llama's kind")
}

fn layouts(case: &Case) -> Vec<TensorLayout> {
    let keys = case.dim / case.n_heads * case.n_kv_heads;
    let tensor = |name: String, shape: &[usize]| TensorLayout {
        name,
        quant: QuantType::F32,
        shape: shape.to_vec(),
    };
    let mut all = vec![
        tensor("model.embed_tokens.weight".into(), &[case.vocab, case.dim]),
        tensor("model.norm.weight".into(), &[case.dim]),
        tensor("lm_head.weight".into(), &[case.vocab, case.dim]),
    ];
    for i in 0..case.n_layers {
        let (dim, hidden) = (case.dim, case.hidden);
        for (part, shape) in [
            ("input_layernorm", &[dim][..]),
            ("self_attn.q_proj", &[dim, dim]),
            ("self_attn.k_proj", &[keys, dim]),
            ("self_attn.v_proj", &[keys, dim]),
            ("self_attn.o_proj", &[dim, dim]),
            ("post_attention_layernorm", &[dim]),
            ("mlp.gate_proj", &[hidden, dim]),
            ("mlp.up_proj", &[hidden, dim]),
            ("mlp.down_proj", &[dim, hidden]),
        ] {
            all.push(tensor(format!("model.layers.{i}.{part}.weight"), shape));
        }
    }
    all
}

/// A model in training, and what it learns.
struct School {
    name: &'static str,
    decoder: Decoder,
    learner: Learner,
    sequences: Sequences,
}

impl School {
    fn new(pool: &Pool, case: &Case, checkpointing: bool) -> School {
        let weights = Random::new(1, layouts(case));
        let what = (spec(case), Dialect::HuggingFace);
        let limits = Limits { tokens_per_step: 64, logits_per_step: 64 };
        let decoder = Decoder::load(&weights, what.clone(), limits, pool, &|_| ());
        let mut decoder = decoder.expect("all weights are made up");
        let options = LearnOptions { adapters: None, checkpointing, kv_type: KvType::F32 };
        let learner = Learner::load(pool, &weights, what, options).expect("the same weights");
        learner.publish(pool, &mut decoder);
        let mut sequences = Sequences::new(1.0);
        for s in 0..case.n_sequences {
            // One token more: the last one is predicted and not read.
            let token = |i: usize| ((i * 7_919 + s * 104_729) % case.vocab) as u32;
            let tokens: Vec<u32> = (0..=case.len).map(token).collect();
            let is_target: Vec<bool> = (0..=case.len).map(|i| i > 0).collect();
            sequences.push(&tokens, &is_target);
        }
        School { name: case.name, decoder, learner, sequences }
    }

    /// The seconds of a forward pass, and of it with its backward pass.
    fn pass(&mut self, pool: &Pool) -> (f64, f64) {
        let School { decoder, learner, sequences, .. } = self;
        let n = sequences.n_targets();
        let (slopes, flat) = (vec![-1.0 / n as f32; n], vec![0.0; n]);
        learner.zero_gradients();
        let start = Instant::now();
        learner.forward(pool, decoder, sequences).expect("finite numbers");
        let forward = start.elapsed().as_secs_f64();
        learner.backward(pool, decoder, &slopes, &flat).expect("finite numbers");
        (forward, start.elapsed().as_secs_f64())
    }

    fn run_when_told(&mut self, pool: &Pool) {
        println!("ready {}", self.name);
        for line in io::stdin().lock().lines() {
            if line.expect("lines of text") == "next" {
                return;
            }
            let (forward, all) = self.pass(pool);
            let roof = Peak::Float.measure(Best::detect(), pool) / 1e9;
            println!("took {forward} {all} {roof}");
        }
    }

    fn run(&mut self, pool: &Pool, case: &Case, runs: usize) {
        let passes = (0..=runs).map(|_| self.pass(pool));
        let best = passes.min_by(|a, b| a.1.total_cmp(&b.1)).expect("one run at least");
        let n = self.sequences.n_targets();
        let parameters = case.n_layers
            * (2 * case.dim * case.dim
                + 2 * case.dim * case.dim / case.n_heads * case.n_kv_heads
                + 3 * case.dim * case.hidden)
            + case.vocab * case.dim;
        let gflops = 6.0 * (parameters * n) as f64 / best.1 / 1e9;
        println!(
            "{:24} t={}  {:7.0} tok/s  forward {:5.2} s  backward {:5.2} s  {gflops:5.0} GFLOP/s",
            self.name,
            pool.threads(),
            n as f64 / best.1,
            best.0,
            best.1 - best.0,
        );
    }
}
