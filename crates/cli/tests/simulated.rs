//! The simulator's schedule is the engine's: the same steps, the same rows.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use engine::sampler::PartialParams;
use engine::{Core, Event, Loaded, Options, Progress, RequestId, Speculate, Statistics};
use plan::Request;
use schedule::{Admission, ClientId, Limits, Micros, Priority, Row, SequenceId, Step};

/// One step, and where scheduler and cache stand after it.
#[derive(Debug, PartialEq)]
struct Seen {
    rows: Vec<Row>,
    admitted: Vec<SequenceId>,
    preempted: Vec<SequenceId>,
    after: Statistics,
}

impl Seen {
    fn of(step: &Step, after: Statistics) -> Seen {
        let Step { rows, admitted, preempted, .. } = step.clone();
        Seen { rows, admitted, preempted, after }
    }
}

const TOKENS_PER_STEP: usize = 24;
const SEQUENCES: usize = 4;
const CONTEXT: usize = 256;
/// A clock that only counts steps.
const STEP_US: u64 = 1_000_000;

/// Prompts that are long, short, alike in their beginning, more than run at once, and come while
/// others are computed.
fn requests() -> Vec<Request> {
    let request =
        |at_s, prompt, answer, prefix| Request { at_s, prompt, answer, thinking: 0, prefix };
    vec![
        request(0.0, 100, 12, Some((7, 80))),
        request(0.0, 5, 30, None),
        request(0.0, 60, 3, None),
        request(3.0, 90, 20, Some((7, 80))),
        request(3.0, 40, 1, None),
        request(4.0, 200, 40, Some((9, 128))),
        request(9.0, 150, 8, Some((9, 128))),
        request(60.0, 130, 5, Some((7, 80))),
        request(61.0, 1, 17, None),
    ]
}

/// A prompt of the engine: alike where the simulator's are, and different elsewhere.
fn prompt(index: usize, request: &Request, vocab: usize) -> Vec<u32> {
    let token = |at: u64| {
        let text = match request.prefix {
            Some((id, len)) if at < len => 1000 + id,
            _ => index as u64,
        };
        // The first token of a page tells the texts apart.
        ((text * 17 + at * 5 + text * at) % vocab as u64) as u32
    };
    (0..request.prompt).map(token).collect()
}

/// The engine's steps, whose request each token belongs to, and its limits.
fn engine_steps(requests: &[Request], options: &Options) -> (Vec<Seen>, Vec<usize>, Limits) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/llama");
    let loaded = Loaded::open(&model, options, &|_, _| {}).unwrap();
    let limits = Limits {
        tokens_per_step: options.tokens_per_step,
        logits_per_step: usize::MAX,
        sequences_max: options.sequences_max,
        pages_max: loaded.kv.n_pages(),
        page_len: model::PAGE,
        context_max: loaded.context,
        queue_max: 1024,
        queue_tokens_max: 16 * CONTEXT,
        warm_max: 16,
        overdue_after: Micros(2_000_000),
        admission: Admission::Optimistic,
    };
    let vocab = loaded.decoder.spec().vocab;
    let mut core = Core::new(loaded).unwrap();
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let (mut seen, mut next, mut now) = (Vec::new(), 0, 0);
    loop {
        while let Some(request) = requests.get(next).filter(|r| r.at_s * 1e6 <= now as f64) {
            let heard = tokens.clone();
            let index = next;
            let sink = Box::new(move |event| {
                if let Event::Token(_) = event {
                    heard.lock().unwrap().push(index);
                }
                true
            });
            let asked = engine::Request {
                prompt: prompt(index, request, vocab),
                max_tokens: request.output() as usize,
                params: PartialParams::default().fill(1).unwrap(),
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
                client: ClientId(index as u64),
                salt: 0,
                expires: None,
            };
            core.submit(RequestId(index as u64), asked, vec![sink], Micros(now));
            next += 1;
        }
        if core.step(|| Micros(now)) == Progress::Idle {
            let Some(request) = requests.get(next) else { break };
            now = (request.at_s * 1e6) as u64;
            continue;
        }
        now += STEP_US;
        seen.push(Seen::of(core.last_step(), core.statistics()));
    }
    let tokens = std::mem::take(&mut *tokens.lock().unwrap());
    (seen, tokens, limits)
}

fn simulated_steps(requests: &[Request], limits: Limits) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut observe = |_: Micros, step: &Step, after: Statistics| seen.push(Seen::of(step, after));
    plan::simulate(requests, limits, &|_| 1.0, &mut observe).unwrap();
    seen
}

#[test]
fn the_simulated_schedule_is_the_engines() {
    let requests = requests();
    for (sequences_max, tokens_per_step) in [(SEQUENCES, TOKENS_PER_STEP), (2, 64), (8, 9)] {
        let options = Options {
            threads: Some(1),
            context: Some(CONTEXT),
            sequences_max,
            tokens_per_step,
            speculate: Speculate::Off,
            ..Options::default()
        };
        let (engine, heard, limits) = engine_steps(&requests, &options);
        let simulated = simulated_steps(&requests, limits);
        for (i, (ours, theirs)) in simulated.iter().zip(&engine).enumerate() {
            assert_eq!(ours, theirs, "step {i} of {sequences_max} sequences");
        }
        assert_eq!(simulated.len(), engine.len());
        let mut tokens: BTreeMap<usize, u64> = BTreeMap::new();
        heard.iter().for_each(|&index| *tokens.entry(index).or_default() += 1);
        let expected: Vec<u64> = requests.iter().map(Request::output).collect();
        assert_eq!(tokens.into_values().collect::<Vec<_>>(), expected);
        assert!(engine.last().unwrap().after.n_hit_tokens > 0, "nothing was shared");
    }
}
