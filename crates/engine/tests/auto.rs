//! The engine decides whether to think, on a checkpoint that says what the test wants: its layers
//! add nothing, so the next token follows from the last one by probabilities that are written down
//! here; and on the tiny random models, where only sameness can be asked for.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use formats::TensorLayout;
use model::Kv;
use quant::QuantType;
use ruminate_engine::sampler::PartialParams;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Sink, Speculate, Think,
    Thresholds, TrialAnswer, Usage, Vocabulary, Why, choice_seed,
};
use schedule::{ClientId, Micros, Priority};
use text::{Conversation, Message, Piece, Place, Role, ThinkEnd};

fn golden(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family)
}

/// What follows what: a token, and the tokens after it with their probabilities. Whatever is not
/// listed ends the answer.
type Script<'a> = &'a [(&'a str, &'a [(&'a str, f32)])];

/// Thinking that wanders and does not end, after `<think>`.
const WANDERS: [(&str, &[(&str, f32)]); 5] = [
    ("a", &[("b", 0.4), ("c", 0.4), ("\n", 0.2)]),
    ("b", &[("a", 0.4), ("c", 0.4), ("\n", 0.2)]),
    ("c", &[("a", 0.3), ("b", 0.3), ("d", 0.3), ("\n", 0.1)]),
    ("d", &[("a", 0.5), ("d", 0.4), ("\n", 0.1)]),
    ("\n", &[("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25)]),
];
const END: &str = "<|im_end|>";
/// The last token of a prompt that asks for a trial.
const CUE: &str = "*";

/// `WANDERS`, and the rest of a model.
fn script<'a>(rest: &[(&'a str, &'a [(&'a str, f32)])]) -> Vec<(&'a str, &'a [(&'a str, f32)])> {
    WANDERS.iter().chain(rest).copied().collect()
}

/// A folder with a model that follows `script`.
fn model(script: Script<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = golden("llama");
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
    let vocabulary = Vocabulary::read(&from, &checkpoint.text, "llama").unwrap();
    let id = |text: &str| -> usize {
        let tokenizer = &vocabulary.tokenizer;
        let added = tokenizer.added(text).map(|id| id as usize);
        added.unwrap_or_else(|| {
            let ids = tokenizer.encode_text(text).unwrap();
            assert_eq!(ids.len(), 1, "{text:?} is not a token");
            ids[0] as usize
        })
    };
    let names = checkpoint.weights.names();
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = names
        .iter()
        .map(|&name| {
            let tensor = checkpoint.weights.tensor(name).unwrap();
            (name.to_string(), tensor.shape.clone(), tensor.to_f32())
        })
        .collect();
    for (name, shape, values) in &mut tensors {
        let dim = *shape.last().unwrap();
        let scale = (dim as f32).sqrt();
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            values.fill(0.0);
        } else if name == "model.norm.weight" {
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

fn options(sequences_max: usize) -> Options {
    Options { sequences_max, context: Some(256), threads: Some(2), ..Options::default() }
}

fn load(folder: &Path, options: &Options) -> Loaded {
    Loaded::open(folder, options, &|_, _| ()).unwrap()
}

/// Small numbers, so that a context of 256 has room for all of it.
fn thresholds() -> Thresholds {
    Thresholds { short_tokens: 12, trial_every: 16, trials_agree: 2, ..Thresholds::default() }
}

/// `question` asked in `think`.
fn ask(vocabulary: &Vocabulary, question: &str, think: Think, seed: u64) -> Request {
    ask_by(vocabulary, question, think, seed, thresholds())
}

fn ask_by(
    vocabulary: &Vocabulary,
    question: &str,
    think: Think,
    seed: u64,
    thresholds: Thresholds,
) -> Request {
    let messages = vec![Message::new(Role::User, question)];
    let conversation = Conversation { messages, tools: Vec::new() };
    let (prompt, mut start) = vocabulary.prompt(&conversation, think, 0).unwrap();
    if let Some(auto) = start.as_mut().and_then(|start| start.auto.as_mut()) {
        Arc::get_mut(auto).unwrap().thresholds = thresholds;
    }
    Request {
        prompt,
        max_tokens: 170,
        params: PartialParams::default().fill(seed).unwrap(),
        think: start,
        stops: Vec::new(),
        ignore_stops: false,
        ends_loops: false,
        grammar: None,
        prompt_logprobs: None,
        min_tokens: 0,
        shown_controls: Vec::new(),
        logprobs: Some(0),
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

/// All that was told of one answer.
#[derive(Debug)]
struct Outcome {
    /// Ids with their places and the bits of their log-probabilities.
    tokens: Vec<(u32, Place, u32)>,
    trials: Vec<TrialAnswer>,
    thinking: String,
    answer: String,
    finish: Finish,
    usage: Usage,
}

impl Outcome {
    fn collect(events: &Receiver<Event>) -> Outcome {
        let (mut tokens, mut trials) = (Vec::new(), Vec::new());
        let (mut thinking, mut answer) = (String::new(), String::new());
        loop {
            let (pieces, end) = match events.try_recv().expect("an answer has an end") {
                Event::Started { .. } | Event::Prompt(_) => continue,
                Event::Trial(trial) => {
                    trials.push(trial);
                    continue;
                }
                Event::Token(token) => {
                    let bits = token.logprob.unwrap_or(0.0).to_bits();
                    tokens.push((token.id, token.place, bits));
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
                return Outcome { tokens, trials, thinking, answer, finish, usage };
            }
        }
    }

    /// What must not depend on company, guesses or memory.
    fn same(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let report = self.usage.auto.map(|report| {
            let short = report.short.map(|it| (it.tokens, it.mean.to_bits(), it.min.to_bits()));
            let p_end = report.p_end.to_bits();
            (report.thinks, report.why, p_end, short, report.trials, report.extra_tokens)
        });
        let trials: Vec<_> =
            self.trials.iter().map(|t| (t.after, t.line.clone(), t.mean.to_bits())).collect();
        let texts = (self.thinking.clone(), self.answer.clone());
        (self.tokens.clone(), texts, report, trials, self.usage.ended_by)
    }
}

fn step(core: &mut Core) -> Progress {
    core.step(|| Micros(0))
}

fn sinks(n: usize) -> (Vec<Sink>, Vec<Receiver<Event>>) {
    let pair = |_| {
        let (sender, receiver) = channel();
        let sink: Sink = Box::new(move |event| sender.send(event).is_ok());
        (sink, receiver)
    };
    (0..n).map(pair).unzip()
}

/// Runs requests to their ends; each joins so many steps after the one before.
fn run(core: &mut Core, requests: Vec<Request>, apart: usize) -> Vec<Outcome> {
    let mut events = Vec::new();
    for (i, request) in requests.into_iter().enumerate() {
        let (sinks, mut receivers) = sinks(1);
        core.submit(RequestId(i as u64), request, sinks, Micros(0));
        events.append(&mut receivers);
        for _ in 0..apart {
            step(core);
        }
    }
    let mut steps = 0;
    while step(core) == Progress::Stepped {
        steps += 1;
        assert!(steps < 20_000, "it does not end");
    }
    assert_eq!(core.statistics().n_running, 0);
    assert_eq!(core.statistics().n_pages_used, 0);
    events.iter().map(Outcome::collect).collect()
}

fn answer(folder: &Path, think: Think) -> Outcome {
    let loaded = load(folder, &options(1));
    let request = ask(&loaded.vocabulary.clone(), "Hello", think, 7);
    run(&mut Core::new(loaded).unwrap(), vec![request], 0).remove(0)
}

#[test]
fn a_model_that_would_not_think_gets_no_thinking() {
    let folder = model(&script(&[
        ("<think>", &[("</think>", 0.8), ("a", 0.2)]),
        ("</think>", &[("H", 0.6), ("I", 0.4)]),
        ("H", &[("I", 0.9), (END, 0.1)]),
        ("I", &[(END, 0.6), ("H", 0.4)]),
    ]));
    let outcome = answer(folder.path(), Think::Auto);
    let report = outcome.usage.auto.unwrap();
    assert_eq!((report.thinks, report.why), (false, Why::EndsAtOnce));
    assert!((report.p_end - 0.8).abs() < 0.02, "{report:?}");
    assert_eq!((outcome.thinking.as_str(), outcome.usage.thinking_tokens), ("", 0));
    assert!(matches!(outcome.finish, Finish::Stop) && !outcome.answer.is_empty());
    // The tokens are those of an answer that was asked not to think.
    let off = answer(folder.path(), Think::Off);
    assert_eq!((&outcome.tokens, &outcome.answer), (&off.tokens, &off.answer));
}

#[test]
fn a_chance_that_needs_white_space_first_counts() {
    let mut rest = script(&[
        ("<think>", &[("\n", 0.9), ("a", 0.1)]),
        ("</think>", &[("H", 1.0)]),
        ("H", &[(END, 1.0)]),
    ]);
    // Two line ends, then the tag: 0.9 · (0.05 + 0.9 · 0.05).
    rest.iter_mut().find(|(from, _)| *from == "\n").unwrap().1 =
        &[("\n", 0.9), ("</think>", 0.05), ("a", 0.05)];
    let report = answer(model(&rest).path(), Think::Auto).usage.auto.unwrap();
    assert!((report.p_end - 0.9 * 0.095).abs() < 0.01, "{report:?}");
    assert_eq!(report.why, Why::Confident);
}

#[test]
fn a_short_answer_that_is_sure_is_the_answer() {
    let folder = model(&script(&[
        ("<think>", &[("a", 0.999), ("</think>", 0.001)]),
        ("</think>", &[("H", 0.97), ("I", 0.03)]),
        ("H", &[("I", 0.98), (END, 0.02)]),
        ("I", &[(END, 0.97), ("H", 0.03)]),
    ]));
    let outcome = answer(folder.path(), Think::Auto);
    let report = outcome.usage.auto.unwrap();
    assert_eq!((report.thinks, report.why), (false, Why::Confident));
    assert_eq!((outcome.answer.as_str(), outcome.usage.thinking_tokens), ("HI", 0));
    let short = report.short.unwrap();
    // Its end is a token too.
    assert_eq!((short.tokens, short.finished), (3, true));
    let mean = (0.97_f32.ln() + 0.98_f32.ln() + 0.97_f32.ln()) / 3.0;
    assert!((short.mean - mean).abs() < 0.01, "{short:?}");
    assert!((short.min - 0.97_f32.ln()).abs() < 0.02, "{short:?}");
    assert_eq!(outcome.tokens, answer(folder.path(), Think::Off).tokens);
    // The same with a stop string that ends it: none of it is shown.
    let loaded = load(folder.path(), &options(1));
    let asked = ask(&loaded.vocabulary.clone(), "Hello", Think::Auto, 7);
    let asked = Request { stops: vec!["I".into()], ..asked };
    let outcome = run(&mut Core::new(loaded).unwrap(), vec![asked], 0).remove(0);
    assert_eq!(outcome.answer, "H");
    assert!(matches!(outcome.finish, Finish::StopString(stop) if stop == "I"));
}

/// Short answers guess, trials know.
fn unsure() -> tempfile::TempDir {
    model(&script(&[
        ("<think>", &[("a", 0.999), ("</think>", 0.001)]),
        ("</think>", &[("H", 0.4), ("I", 0.3), ("4", 0.3)]),
        ("H", &[(END, 0.6), ("I", 0.4)]),
        ("I", &[(END, 0.6), ("H", 0.4)]),
        ("4", &[(END, 0.999), ("H", 0.001)]),
        (CUE, &[("4", 0.99), ("H", 0.01)]),
    ]))
}

#[test]
fn an_unsure_answer_is_thought_over_until_trials_agree() {
    let folder = unsure();
    let outcome = answer(folder.path(), Think::Auto);
    let report = outcome.usage.auto.unwrap();
    assert_eq!((report.thinks, report.why), (true, Why::Unsure), "{outcome:?}");
    assert_eq!(outcome.usage.ended_by, Some(ThinkEnd::Agreed));
    assert_eq!((report.trials, outcome.trials.len()), (2, 2));
    for trial in &outcome.trials {
        assert_eq!(trial.line.as_deref(), Some("4"));
        assert!((trial.mean - 0.99_f32.ln() / 2.0).abs() < 0.01, "{trial:?}");
    }
    assert!((16..=24).contains(&outcome.trials[0].after), "{:?}", outcome.trials);
    assert!(!outcome.answer.is_empty());
    // Up to where it was ended, it is what it had been without being tried.
    let on = answer(folder.path(), Think::On);
    let own = outcome.trials[1].after as usize;
    assert_eq!(outcome.tokens[..own], on.tokens[..own]);
    let words = outcome.thinking.find("Considering the limited time").unwrap();
    let own = outcome.thinking[..words].trim_end();
    assert!(on.thinking.starts_with(own), "the end follows at once");
    assert!(on.usage.auto.is_none() && on.trials.is_empty());
    assert_eq!(on.usage.ended_by, Some(ThinkEnd::Reserve));
}

#[test]
fn a_model_that_ends_its_answer_while_it_thinks_still_answers() {
    let folder = model(&script(&[
        ("<think>", &[("a", 0.5), ("z", 0.5)]),
        ("z", &[(END, 1.0)]),
        ("</think>", &[("H", 0.5), ("I", 0.5)]),
        ("H", &[(END, 1.0)]),
        ("I", &[(END, 1.0)]),
    ]));
    let loaded = load(folder.path(), &options(1));
    let vocabulary = loaded.vocabulary.clone();
    let asked: Vec<_> = (0..8).map(|seed| ask(&vocabulary, "Hello", Think::On, seed)).collect();
    let outcomes = run(&mut Core::new(loaded).unwrap(), asked, 0);
    let ended: Vec<_> = outcomes.iter().filter(|outcome| outcome.thinking == "z").collect();
    assert!(!ended.is_empty() && ended.len() < outcomes.len());
    for outcome in ended {
        assert_eq!(outcome.usage.ended_by, Some(ThinkEnd::Model));
        assert!(!outcome.answer.is_empty(), "{outcome:?}");
    }
}

#[test]
fn trials_that_differ_or_doubt_end_nothing() {
    let folder = unsure();
    let loaded = load(folder.path(), &options(1));
    let never = Thresholds { trial_mean: 0.1, ..thresholds() };
    let asked = ask_by(&loaded.vocabulary.clone(), "Hello", Think::Auto, 7, never);
    let outcome = run(&mut Core::new(loaded).unwrap(), vec![asked], 0).remove(0);
    assert_eq!(outcome.usage.ended_by, Some(ThinkEnd::Reserve));
    assert!(outcome.trials.len() > 2, "{:?}", outcome.trials);
    let on = answer(folder.path(), Think::On);
    assert_eq!(outcome.tokens, on.tokens, "trials change nothing");
    assert_eq!(outcome.usage.completion_tokens, on.usage.completion_tokens);
}

#[test]
fn a_short_answer_without_an_end_is_given_up_at_its_bound() {
    let folder = model(&script(&[
        ("<think>", &[("a", 0.999), ("</think>", 0.001)]),
        ("</think>", &[("H", 1.0)]),
        ("H", &[("H", 0.999), (END, 0.001)]),
        (CUE, &[("4", 0.5), ("H", 0.5)]),
    ]));
    let report = answer(folder.path(), Think::Auto).usage.auto.unwrap();
    assert_eq!((report.thinks, report.why), (true, Why::Unfinished));
    assert_eq!(report.short.unwrap().tokens, thresholds().short_tokens);
    // It is bounded by the tokens that were asked for, too.
    let loaded = load(folder.path(), &options(1));
    let asked = ask(&loaded.vocabulary.clone(), "Hello", Think::Auto, 7);
    let outcome =
        run(&mut Core::new(loaded).unwrap(), vec![Request { max_tokens: 5, ..asked }], 0).remove(0);
    assert_eq!(outcome.usage.completion_tokens, 5);
    assert_eq!(outcome.usage.auto.unwrap().short.unwrap().tokens, 5);
}

#[test]
fn the_answer_s_part_is_kept_exactly_guessed_or_not_and_for_each_of_several() {
    let folder = unsure();
    let mut all = Vec::new();
    for speculate in [Speculate::Off, Speculate::Ngram] {
        let loaded = load(folder.path(), &Options { speculate, ..options(4) });
        let asked = ask(&loaded.vocabulary.clone(), "Hello", Think::On, 5);
        let max_tokens = asked.max_tokens;
        let (sinks, events) = sinks(3);
        let mut core = Core::new(loaded).unwrap();
        core.submit(RequestId(1), asked, sinks, Micros(0));
        while step(&mut core) == Progress::Stepped {}
        let outcomes: Vec<Outcome> = events.iter().map(Outcome::collect).collect();
        for outcome in &outcomes {
            assert_eq!(outcome.usage.ended_by, Some(ThinkEnd::Reserve));
            let thought = outcome.tokens.iter().rposition(|token| token.1 != Place::Answer);
            let room = max_tokens - text::answer_reserve(max_tokens);
            let thought = thought.unwrap() + 1;
            assert!(thought <= room && thought + room / 10 >= room, "{thought} of {room}");
            assert!(outcome.tokens.len() > thought, "there is an answer");
        }
        all.push(outcomes.into_iter().map(|outcome| outcome.tokens).collect::<Vec<_>>());
    }
    assert_eq!(all[0], all[1]);
}

/// Questions that take every course, some of them at once.
fn questions(vocabulary: &Vocabulary) -> Vec<Request> {
    let asked = |(i, question): (usize, &str)| ask(vocabulary, question, Think::Auto, i as u64);
    let texts =
        ["Hello", "What is it?", "Hello", "A longer question than the others", "?", "a b c"];
    texts.into_iter().enumerate().map(asked).collect()
}

#[test]
fn company_guesses_and_a_full_cache_change_nothing() {
    let mixed = model(&script(&[
        ("<think>", &[("a", 0.9), ("</think>", 0.1)]),
        ("</think>", &[("H", 0.95), ("I", 0.05)]),
        ("H", &[("I", 0.93), (END, 0.07)]),
        ("I", &[(END, 0.95), ("H", 0.05)]),
        (CUE, &[("4", 0.97), ("H", 0.03)]),
        ("4", &[(END, 0.97), ("\n", 0.03)]),
    ]));
    let folders = [unsure().keep(), mixed.keep(), golden("qwen3"), golden("deepseek_v3")];
    let mut courses = std::collections::BTreeSet::new();
    for folder in &folders {
        let alone: Vec<Outcome> = questions(&load(folder, &options(1)).vocabulary)
            .into_iter()
            .map(|request| {
                let mut core = Core::new(load(folder, &options(1))).unwrap();
                run(&mut core, vec![request], 0).remove(0)
            })
            .collect();
        for outcome in &alone {
            courses.insert(format!("{:?}", outcome.usage.auto.unwrap().why));
        }
        let check = |core: &mut Core, apart: usize, how: &str| {
            let vocabulary = load(folder, &options(1)).vocabulary;
            let crowd = run(core, questions(&vocabulary), apart);
            for (i, (alone, crowd)) in alone.iter().zip(&crowd).enumerate() {
                let name = folder.display();
                assert_eq!(alone.same(), crowd.same(), "{name}, question {i}, {how}");
            }
        };
        let mut core = Core::new(load(folder, &options(8))).unwrap();
        check(&mut core, 3, "in a crowd");
        check(&mut core, 0, "with a warm cache");
        let guessing = Options { speculate: Speculate::Ngram, ..options(8) };
        check(&mut Core::new(load(folder, &guessing)).unwrap(), 1, "guessed");
        check(&mut Core::new(load(folder, &options(2))).unwrap(), 0, "two at a time");
        // Nine pages, for six requests that may take seven each, all of them running.
        let loaded = load(folder, &options(6));
        let kv = Kv::new(loaded.decoder.spec(), loaded.kv.kv_type(), 9);
        let mut tight = Core::new(Loaded { kv, ..loaded }).unwrap();
        check(&mut tight, 0, "preempted");
        assert!(tight.statistics().n_preemptions > 0, "{:?}", tight.statistics());
    }
    for folder in &folders[..2] {
        std::fs::remove_dir_all(folder).unwrap();
    }
    assert!(courses.len() >= 3, "{courses:?}");
}

#[test]
fn several_answers_each_take_the_course_that_their_seed_takes_alone() {
    let folder = unsure();
    for path in [folder.path(), &golden("qwen3")] {
        let vocabulary = load(path, &options(1)).vocabulary;
        let (sinks, events) = sinks(4);
        let mut core = Core::new(load(path, &options(8))).unwrap();
        let asked = ask(&vocabulary, "Hello", Think::Auto, 3);
        core.submit(RequestId(1), asked, sinks, Micros(0));
        while step(&mut core) == Progress::Stepped {}
        assert_eq!(core.statistics().n_pages_used, 0);
        for (choice, events) in events.iter().enumerate() {
            let asked = ask(&vocabulary, "Hello", Think::Auto, choice_seed(3, choice));
            let mut core = Core::new(load(path, &options(1))).unwrap();
            let alone = run(&mut core, vec![asked], 0).remove(0);
            let found = Outcome::collect(events);
            assert_eq!((found.tokens, found.answer), (alone.tokens, alone.answer), "{choice}");
        }
    }
}

#[test]
fn wherever_it_is_cancelled_nothing_is_left() {
    let folder = unsure();
    let vocabulary = load(folder.path(), &options(1)).vocabulary;
    let mut core = Core::new(load(folder.path(), &options(4))).unwrap();
    for n_steps in 0..90 {
        let (sinks, events) = sinks(2);
        let asked = ask(&vocabulary, "Hello", Think::Auto, 7);
        core.submit(RequestId(n_steps), asked, sinks, Micros(0));
        for _ in 0..n_steps {
            step(&mut core);
        }
        core.cancel(RequestId(n_steps));
        assert_eq!(step(&mut core), Progress::Idle, "after {n_steps} steps");
        let statistics = core.statistics();
        assert_eq!((statistics.n_running, statistics.n_queued, statistics.n_pages_used), (0, 0, 0));
        for events in events {
            let ended = events.try_iter().filter(|e| matches!(e, Event::Finished { .. })).count();
            assert_eq!(ended, 1, "after {n_steps} steps");
        }
        // A listener that goes is noticed at the next thing that is told.
        let (sinks, events) = self::sinks(1);
        let asked = ask(&vocabulary, "Hello", Think::Auto, 7);
        core.submit(RequestId(1000 + n_steps), asked, sinks, Micros(0));
        for _ in 0..n_steps {
            step(&mut core);
        }
        drop(events);
        let mut steps = 0;
        while step(&mut core) == Progress::Stepped {
            steps += 1;
        }
        assert!(steps <= 45, "{steps} steps for nobody");
        assert_eq!(core.statistics().n_pages_used, 0);
    }
}

#[test]
fn a_model_without_thinking_answers_as_it_is() {
    let folder = model(&script(&[("<think>", &[(END, 1.0)])]));
    let path = folder.path().join("tokenizer_config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("chat_template", "no_template")).unwrap();
    let loaded = load(folder.path(), &options(1));
    let asked = ask(&loaded.vocabulary.clone(), "a", Think::Auto, 7);
    assert!(asked.think.is_none());
    let outcome = run(&mut Core::new(loaded).unwrap(), vec![asked], 0).remove(0);
    assert!(outcome.usage.auto.is_none() && outcome.usage.thinking_tokens == 0);
    assert!(!outcome.answer.is_empty());
}
