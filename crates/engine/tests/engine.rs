//! The engine on tiny models: the same tokens alone or in a crowd, cold or warm, guessed or not.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use model::{Kv, PAGE};
use ruminate_engine::sampler::Params;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Sink, Speculate, Think,
    ThinkStart, Token, Usage, choice_seed,
};
use schedule::{ClientId, Micros, Priority};
use text::{Conversation, Message, Piece, Place, Role, ThinkLimits};

const FAMILIES: [&str; 4] = ["llama", "qwen3", "qwen3_moe", "deepseek_v3"];

fn load(family: &str, options: &Options) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family);
    Loaded::open(&folder, options, &|_, _| ()).unwrap()
}

fn options(sequences_max: usize) -> Options {
    Options { sequences_max, context: Some(256), threads: Some(2), ..Options::default() }
}

fn params(temperature: f32, seed: u64) -> Params {
    Params {
        temperature,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        seed,
    }
}

fn request(prompt: &[u32], max_tokens: usize, params: Params) -> Request {
    Request {
        prompt: prompt.to_vec(),
        max_tokens,
        params,
        think: None,
        stops: Vec::new(),
        ignore_stops: true,
        ends_loops: false,
        grammar: None,
        shown_controls: Vec::new(),
        logprobs: Some(0),
        prompt_logprobs: None,
        min_tokens: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

/// What became of one request.
#[derive(Debug)]
struct Outcome {
    tokens: Vec<Token>,
    finish: Finish,
    usage: Usage,
    thinking: String,
    answer: String,
}

impl Outcome {
    fn collect(events: &Receiver<Event>) -> Outcome {
        let (mut tokens, mut thinking, mut answer) = (Vec::new(), String::new(), String::new());
        loop {
            let (pieces, end) = match events.recv().unwrap() {
                Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => continue,
                Event::Token(token) => {
                    tokens.push(token.clone());
                    (token.pieces, None)
                }
                Event::Finished { finish, usage, pieces } => (pieces, Some((finish, usage))),
            };
            for piece in pieces {
                match piece {
                    Piece::Thinking(text) => thinking += &text,
                    Piece::Answer(text) => answer += &text,
                }
            }
            if let Some((finish, usage)) = end {
                return Outcome { tokens, finish, usage, thinking, answer };
            }
        }
    }

    /// Ids and the bits of their log-probabilities: equal only if the logits are.
    fn bits(&self) -> Vec<(u32, u32)> {
        self.tokens.iter().map(|t| (t.id, t.logprob.unwrap_or(0.0).to_bits())).collect()
    }
}

fn step(core: &mut Core) -> Progress {
    core.step(|| Micros(0))
}

/// Runs requests to their ends; each joins the crowd so many steps after the one before.
fn run(core: &mut Core, requests: Vec<Request>, apart: usize) -> Vec<Outcome> {
    let mut events = Vec::new();
    for (i, request) in requests.into_iter().enumerate() {
        let (sender, receiver) = channel();
        let sink = Box::new(move |event| sender.send(event).is_ok());
        core.submit(RequestId(1000 + i as u64), request, vec![sink], Micros(0));
        events.push(receiver);
        for _ in 0..apart {
            step(core);
        }
    }
    while step(core) == Progress::Stepped {}
    events.iter().map(Outcome::collect).collect()
}

fn prompts() -> Vec<Vec<u32>> {
    let base: Vec<u32> = (0..90).map(|i| (i * 37 + 11) % 300).collect();
    let shared = [&base[..70], &[5, 6, 7]].concat();
    vec![base[..5].to_vec(), base.clone(), shared, base[40..48].to_vec(), vec![9; 33]]
}

fn requests(temperature: f32) -> Vec<Request> {
    let with = |(i, prompt): (usize, Vec<u32>)| request(&prompt, 40, params(temperature, i as u64));
    prompts().into_iter().enumerate().map(with).collect()
}

#[test]
fn a_request_gets_the_same_bits_alone_in_a_crowd_and_from_a_warm_cache() {
    for family in FAMILIES {
        for temperature in [0.0, 1.0] {
            let alone: Vec<_> = requests(temperature)
                .into_iter()
                .map(|request| {
                    let mut core = Core::new(load(family, &options(1))).unwrap();
                    run(&mut core, vec![request], 0).remove(0).bits()
                })
                .collect();
            let mut core = Core::new(load(family, &options(8))).unwrap();
            for (apart, warm) in [(3, false), (0, true)] {
                let crowd = run(&mut core, requests(temperature), apart);
                for (i, (alone, crowd)) in alone.iter().zip(&crowd).enumerate() {
                    assert_eq!(*alone, crowd.bits(), "{family}, request {i}, warm {warm}");
                }
                assert_eq!(crowd[1].usage.cached_tokens > 0, warm, "{family}");
            }
        }
    }
}

#[test]
fn a_crowd_too_large_for_the_cache_is_preempted_and_gets_the_same_bits() {
    let loaded = load("llama", &options(5));
    let mut roomy = Core::new(load("llama", &options(8))).unwrap();
    let expected: Vec<_> = run(&mut roomy, requests(1.0), 0).iter().map(Outcome::bits).collect();
    // Eight pages for five requests of up to 130 tokens, all of them running.
    let kv = Kv::new(loaded.decoder.spec(), loaded.kv.kv_type(), 8);
    let mut tight = Core::new(Loaded { kv, ..loaded }).unwrap();
    let outcomes = run(&mut tight, requests(1.0), 0);
    assert!(tight.statistics().n_preemptions > 0, "{:?}", tight.statistics());
    for (expected, outcome) in expected.iter().zip(&outcomes) {
        assert_eq!(*expected, outcome.bits());
    }
    assert_eq!(tight.statistics().n_pages_used, 0);
}

#[test]
fn guessing_ahead_changes_no_bit_and_saves_steps() {
    for family in FAMILIES {
        for temperature in [0.0, 0.4, 1.0] {
            let plain =
                run(&mut Core::new(load(family, &options(8))).unwrap(), requests(temperature), 2);
            let guessing = Options { speculate: Speculate::Ngram, ..options(8) };
            let mut core = Core::new(load(family, &guessing)).unwrap();
            let guessed = run(&mut core, requests(temperature), 2);
            for (i, (plain, guessed)) in plain.iter().zip(&guessed).enumerate() {
                assert_eq!(plain.bits(), guessed.bits(), "{family}, request {i} at {temperature}");
                assert_eq!(plain.answer, guessed.answer);
            }
            let drafted: usize = guessed.iter().map(|o| o.usage.drafted_tokens).sum();
            let accepted: usize = guessed.iter().map(|o| o.usage.accepted_tokens).sum();
            assert!(accepted <= drafted);
            if temperature == 0.0 {
                // Greedy tiny models soon go in circles.
                assert!(accepted > 20, "{family}: {accepted} of {drafted}");
            }
        }
    }
}

#[test]
fn a_budget_ends_thinking_and_the_answer_follows() {
    for speculate in [Speculate::Off, Speculate::Ngram] {
        let loaded = load("qwen3", &Options { speculate, ..options(2) });
        let conversation =
            Conversation { messages: vec![Message::new(Role::User, "2 + 2?")], tools: Vec::new() };
        let vocabulary = loaded.vocabulary.clone();
        let (prompt, start) = vocabulary.prompt(&conversation, Think::Budget(20), 0).unwrap();
        assert_eq!(start.as_ref().unwrap().limits.budget, Some(20));
        // As if the model had opened its thinking at once.
        let start = ThinkStart { inside: true, ..start.unwrap() };
        let mut core = Core::new(loaded).unwrap();
        let ask = Request { think: Some(start), ..request(&prompt, 220, params(1.0, 3)) };
        let outcome = run(&mut core, vec![ask], 0).remove(0);
        let first_answer =
            outcome.tokens.iter().position(|token| token.place == Place::Answer).unwrap();
        let thought = outcome.tokens.iter().filter(|token| token.place == Place::Thinking).count();
        assert_eq!(outcome.usage.thinking_tokens, thought);
        // Twenty, two more for a line end, and the stop text.
        let stop = "Considering the limited time by the user, I have to give the solution based \
                    on the thinking directly now.";
        let stop = vocabulary.tokenizer.encode_text(stop).unwrap().len();
        assert!((20..=23 + stop + 2).contains(&thought), "{thought} tokens of thinking");
        assert!(outcome.tokens[first_answer..].iter().all(|t| t.place == Place::Answer));
        assert!(outcome.thinking.contains("Considering the limited time"), "{}", outcome.thinking);
    }
}

#[test]
fn thinking_cannot_end_before_its_minimum() {
    let mut core = Core::new(load("qwen3", &options(1))).unwrap();
    let limits = ThinkLimits { budget: Some(40), min: 30 };
    let think = Some(ThinkStart { limits, inside: true, auto: None, returns: false });
    let ask = Request { think, ..request(&[5, 6, 7], 220, params(1.0, 1)) };
    let outcome = run(&mut core, vec![ask], 0).remove(0);
    let end = outcome.tokens.iter().position(|token| token.place == Place::Tag).unwrap();
    assert!(end >= 30, "thinking ended after {end}");
}

#[test]
fn a_cancelled_or_refused_request_is_told_and_leaves_nothing_behind() {
    let mut core = Core::new(load("llama", &options(2))).unwrap();
    let (sender, events) = channel();
    let sink = Box::new(move |event| sender.send(event).is_ok());
    core.submit(RequestId(1), request(&[1, 2, 3], 200, params(0.0, 0)), vec![sink], Micros(0));
    for _ in 0..5 {
        step(&mut core);
    }
    core.cancel(RequestId(1));
    assert!(matches!(Outcome::collect(&events).finish, Finish::Cancelled));

    // A sink that is gone cancels too, within a step.
    let (sender, events) = channel();
    drop(events);
    let sink = Box::new(move |event| sender.send(event).is_ok());
    core.submit(RequestId(2), request(&[1, 2, 3], 200, params(0.0, 0)), vec![sink], Micros(0));
    for _ in 0..3 {
        step(&mut core);
    }
    assert_eq!(step(&mut core), Progress::Idle);
    let statistics = core.statistics();
    assert_eq!((statistics.n_running, statistics.n_pages_used), (0, 0));

    for bad in [request(&[], 5, params(0.0, 0)), request(&[9999], 5, params(0.0, 0))] {
        let outcome = run(&mut core, vec![bad], 0).remove(0);
        assert!(matches!(outcome.finish, Finish::Refused(_)), "{:?}", outcome.finish);
    }
    let outcome = run(&mut core, vec![request(&[1; 400], 5, params(0.0, 0))], 0).remove(0);
    let Finish::Refused(refusal) = outcome.finish else { panic!("{:?}", outcome.finish) };
    assert!(refusal.to_string().contains("400"), "{refusal}");
}

#[test]
fn several_answers_share_a_prompt_and_each_is_what_its_seed_gives_alone() {
    for family in ["llama", "deepseek_v3"] {
        let prompt = &prompts()[1];
        let mut core = Core::new(load(family, &options(8))).unwrap();
        let (mut sinks, mut events): (Vec<Sink>, Vec<_>) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let (sender, receiver) = channel();
            sinks.push(Box::new(move |event| sender.send(event).is_ok()));
            events.push(receiver);
        }
        core.submit(RequestId(1), request(prompt, 30, params(1.0, 77)), sinks, Micros(0));
        while step(&mut core) == Progress::Stepped {}
        for (choice, events) in events.iter().enumerate() {
            let seed = choice_seed(77, choice);
            let mut core = Core::new(load(family, &options(1))).unwrap();
            let alone = run(&mut core, vec![request(prompt, 30, params(1.0, seed))], 0).remove(0);
            assert_eq!(Outcome::collect(events).bits(), alone.bits(), "{family}, {choice}");
        }
        assert_eq!(core.statistics().n_pages_used, 0);
    }
}

#[test]
fn the_next_turn_finds_its_prefix_warm_and_the_thinking_gone() {
    let mut core = Core::new(load("qwen3", &options(2))).unwrap();
    let limits = ThinkLimits { budget: Some(9), min: 0 };
    let think = Some(ThinkStart { limits, inside: true, auto: None, returns: false });
    let prompt = &prompts()[1];
    let ask = Request { think, ..request(prompt, 140, params(1.0, 1)) };
    let outcome = run(&mut core, vec![ask], 0).remove(0);
    assert!(outcome.usage.thinking_tokens >= 9);
    // Of the answered sequence only the prompt's whole pages are still stored.
    assert_eq!(core.statistics().n_pages_cached, prompt.len() / PAGE);
    let answer = outcome.tokens.iter().filter(|token| token.place == Place::Answer);
    let next: Vec<u32> = prompt.iter().copied().chain(answer.map(|token| token.id)).collect();
    core.warm(next.clone(), 0);
    while step(&mut core) == Progress::Stepped {}
    let turn = request(&[&next[..], &[1, 2]].concat(), 5, params(0.0, 0));
    let outcome = run(&mut core, vec![turn], 0).remove(0);
    assert_eq!(outcome.usage.cached_tokens, next.len() / PAGE * PAGE);
}

#[test]
fn thinking_that_may_be_handed_back_is_found_again() {
    let mut core = Core::new(load("qwen3", &options(2))).unwrap();
    let limits = ThinkLimits { budget: Some(40), min: 0 };
    let think = Some(ThinkStart { limits, inside: true, auto: None, returns: true });
    let prompt = &prompts()[1];
    let ask = Request { think, ..request(prompt, 120, params(1.0, 1)) };
    let outcome = run(&mut core, vec![ask], 0).remove(0);
    assert!(outcome.usage.thinking_tokens >= 40);
    let all = prompt.iter().copied().chain(outcome.tokens.iter().map(|token| token.id));
    let all: Vec<u32> = all.collect();
    let turn = request(&[&all[..], &[1, 2]].concat(), 5, params(0.0, 0));
    let outcome = run(&mut core, vec![turn], 0).remove(0);
    // The last token was never computed.
    assert_eq!(outcome.usage.cached_tokens, (all.len() - 1) / PAGE * PAGE);
}

#[test]
fn an_answer_ends_at_its_stop_string_and_shows_none_of_it() {
    let free = run(
        &mut Core::new(load("llama", &options(1))).unwrap(),
        vec![request(&[1, 2, 3], 60, params(1.0, 4))],
        0,
    )
    .remove(0);
    let text = free.answer.clone();
    let middle = (text.len() / 2..).find(|&i| text.is_char_boundary(i)).unwrap();
    let stop: String = text[middle..].chars().take(3).collect();
    let ask = Request { stops: vec![stop.clone()], ..request(&[1, 2, 3], 60, params(1.0, 4)) };
    let outcome = run(&mut Core::new(load("llama", &options(1))).unwrap(), vec![ask], 0).remove(0);
    assert_eq!(outcome.answer, text[..text.find(&stop).unwrap()]);
    assert!(matches!(outcome.finish, Finish::StopString(found) if found == stop));
}

/// The tokens of a prompt as they were scored: ids and the bits of their log-probabilities.
fn scored(core: &mut Core, prompt: &[u32], n_sinks: usize) -> Vec<(u32, u32)> {
    let mut asked = request(prompt, 3, params(0.0, 1));
    asked.prompt_logprobs = Some(2);
    let (sender, receiver) = channel();
    let sinks = (0..n_sinks).map(|_| {
        let sender = sender.clone();
        Box::new(move |event| sender.send(event).is_ok()) as Sink
    });
    core.submit(RequestId(7), asked, sinks.collect(), Micros(0));
    drop(sender);
    while step(core) == Progress::Stepped {}
    let mut tokens = Vec::new();
    let mut n_answers = 0;
    for event in receiver {
        match event {
            Event::Prompt(scored) => {
                assert!(scored.iter().all(|token| token.top.len() == 2));
                tokens.extend(scored.iter().map(|token| (token.id, token.logprob.to_bits())));
            }
            Event::Finished { finish, .. } => {
                assert!(matches!(finish, Finish::Length), "{finish:?}");
                n_answers += 1;
            }
            Event::Started { .. } | Event::Token(_) | Event::Trial(_) => {}
        }
    }
    assert_eq!(n_answers, n_sinks);
    tokens
}

#[test]
fn a_prompt_is_scored_in_any_company_with_the_bits_that_scoring_alone_gives() {
    for family in ["llama", "deepseek_v3"] {
        let prompt = &prompts()[1];
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family);
        let (checkpoint, spec) = ruminate_engine::open(&folder, &options(1)).unwrap();
        let limits = model::Limits { tokens_per_step: 16, logits_per_step: 16 };
        let plan = ruminate_engine::Plan::of(&checkpoint, &spec, &options(1), limits).unwrap();
        let mut model = plan.load(&checkpoint, spec, &options(1), &|_, _| ()).unwrap();
        let expected =
            ruminate_engine::score(&mut model, prompt, |_, _| Ok::<(), ruminate_engine::Error>(()));
        let expected: Vec<u32> =
            expected.unwrap().logprobs.iter().map(|logprob| logprob.to_bits()).collect();
        // With rows of logits for a few tokens a step, and cold or after others.
        for score_rows in [0, 5, 200] {
            let with = Options { score_rows, ..options(4) };
            let mut core = Core::new(load(family, &with)).unwrap();
            for n_sinks in [1, 3] {
                let found = scored(&mut core, prompt, n_sinks);
                let ids: Vec<u32> = found.iter().map(|token| token.0).collect();
                let bits: Vec<u32> = found.iter().map(|token| token.1).collect();
                assert_eq!(ids, prompt[1..], "{family}, {score_rows} rows");
                assert_eq!(bits, expected, "{family}, {score_rows} rows");
                run(&mut core, requests(1.0), 2);
            }
            assert_eq!(core.statistics().n_pages_used, 0);
        }
    }
}

#[test]
fn an_answer_does_not_end_before_its_least_length() {
    let mut core = Core::new(load("qwen3", &options(1))).unwrap();
    let ends = core_stops();
    // Among all tokens at a high temperature, the ends come soon.
    let plain: Vec<_> = (0..40)
        .map(|seed| {
            let mut asked = request(&[7, 8, 9], 200, params(5.0, seed));
            asked.ignore_stops = false;
            asked
        })
        .collect();
    let least = plain.iter().cloned().map(|mut asked| {
        asked.min_tokens = 150;
        asked
    });
    let least: Vec<_> = least.collect();
    let short =
        |outcomes: &[Outcome]| outcomes.iter().filter(|outcome| outcome.tokens.len() < 150).count();
    assert!(short(&run(&mut core, plain, 0)) > 0, "the ends are {ends:?}");
    assert_eq!(short(&run(&mut core, least, 0)), 0);
}

fn core_stops() -> Vec<u32> {
    load("qwen3", &options(1)).vocabulary.tokenizer.stops().to_vec()
}

#[test]
fn the_time_of_steps_is_charged_to_answers_and_to_nobody_else() {
    let mut core = Core::new(load("qwen3_moe", &options(4))).unwrap();
    let peaks = plan::Peaks { bytes_per_s: 1e10, linear_flops: 1e11, attention_flops: 1e11 };
    core.set_peaks(peaks);
    let mut events = Vec::new();
    for (i, request) in requests(1.0).into_iter().enumerate() {
        let (sender, receiver) = channel();
        let sink = Box::new(move |event| sender.send(event).is_ok());
        core.submit(RequestId(i as u64), request, vec![sink], Micros(0));
        events.push(receiver);
    }
    // A clock that ticks 100 µs each time it is looked at.
    let clock = std::cell::Cell::new(0);
    let now = || {
        clock.set(clock.get() + 100);
        Micros(clock.get())
    };
    while core.step(now) == Progress::Stepped {}
    let charged: u64 = events.iter().map(|e| Outcome::collect(e).usage.compute_us).sum();
    let spent = core.spent();
    let seconds = spent.prompts.seconds + spent.answers.seconds;
    let charged = charged as f64 / 1e6;
    assert!((seconds - charged).abs() < 1e-4, "{seconds} s were spent, {charged} s charged");
    assert!(spent.answers.work.expert_bytes > 0.0 && spent.prompts.work.expert_bytes > 0.0);
    assert_eq!(spent.answers.work.n_tokens, 5 * 39, "the first of each comes with its prompt");
    assert!(spent.prompts.share().is_some() && spent.answers.share().is_some());
}
