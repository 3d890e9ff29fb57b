//! Answers that go in circles are ended by what their tokens are, and by nothing else.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use model::Kv;
use ruminate_engine::grammar::{GrammarSource, Grammars};
use ruminate_engine::sampler::Params;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Speculate,
};
use schedule::{ClientId, Micros, Priority};

/// Tokens that an answer may have here: more than a loop takes to be seen.
const MAX_TOKENS: usize = 4500;

/// A copy of a tiny model, with a context that holds a loop.
fn model() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/qwen3");
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["max_position_embeddings"] = 8192.into();
    std::fs::write(path, config.to_string()).unwrap();
    let path = folder.path().to_path_buf();
    (folder, path)
}

fn load(path: &Path, sequences_max: usize, speculate: Speculate) -> Loaded {
    let options = Options {
        sequences_max,
        speculate,
        context: Some(8192),
        threads: Some(2),
        ..Options::default()
    };
    Loaded::open(path, &options, &|_, _| ()).unwrap()
}

/// A request whose answer is soon one token over and over: each makes the next one likelier.
fn request(seed: u64) -> Request {
    let params = Params {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: -2.0,
        seed,
    };
    Request {
        prompt: vec![5, 6, 7, 8 + seed as u32],
        max_tokens: MAX_TOKENS,
        params,
        think: None,
        stops: Vec::new(),
        ignore_stops: false,
        ends_loops: true,
        grammar: None,
        shown_controls: Vec::new(),
        logprobs: None,
        prompt_logprobs: None,
        min_tokens: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

/// The tokens of an answer and how it ended.
fn outcome(events: &Receiver<Event>) -> (Vec<u32>, Finish) {
    let mut tokens = Vec::new();
    loop {
        match events.try_recv().expect("an answer has an end") {
            Event::Token(token) => tokens.push(token.id),
            Event::Finished { finish, usage, .. } => {
                assert_eq!(usage.completion_tokens, tokens.len());
                return (tokens, finish);
            }
            _ => {}
        }
    }
}

fn run(core: &mut Core, requests: Vec<Request>) -> Vec<(Vec<u32>, Finish)> {
    let mut events = Vec::new();
    for (i, request) in requests.into_iter().enumerate() {
        let (sender, receiver) = channel();
        let sink = Box::new(move |event| sender.send(event).is_ok());
        core.submit(RequestId(i as u64), request, vec![sink], Micros(0));
        events.push(receiver);
        core.step(|| Micros(0));
    }
    while core.step(|| Micros(0)) == Progress::Stepped {}
    events.iter().map(outcome).collect()
}

#[test]
fn an_answer_in_circles_is_ended_at_the_same_token_alone_in_a_crowd_and_guessed() {
    let (_folder, path) = model();
    let requests = || (0..2).map(request).collect::<Vec<_>>();
    let alone: Vec<_> = requests()
        .into_iter()
        .map(|request| {
            let mut core = Core::new(load(&path, 1, Speculate::Off)).unwrap();
            run(&mut core, vec![request]).remove(0)
        })
        .collect();
    for (tokens, finish) in &alone {
        assert!(matches!(finish, Finish::Loop), "{finish:?} after {}", tokens.len());
        assert!((4096..4300).contains(&tokens.len()), "{}", tokens.len());
        assert!(tokens[tokens.len() - 4096..].iter().all(|id| id == tokens.last().unwrap()));
    }
    let crowds = [
        ("crowd", load(&path, 4, Speculate::Off)),
        ("preempted", {
            let loaded = load(&path, 4, Speculate::Ngram);
            let kv = Kv::new(loaded.decoder.spec(), loaded.kv.kv_type(), 200);
            Loaded { kv, ..loaded }
        }),
    ];
    for (how, loaded) in crowds {
        let mut core = Core::new(loaded).unwrap();
        let crowd = run(&mut core, requests());
        for ((tokens, finish), (expected, _)) in crowd.iter().zip(&alone) {
            assert!(matches!(finish, Finish::Loop), "{how}: {finish:?}");
            assert!(tokens == expected, "{how}: {} for {}", tokens.len(), expected.len());
        }
        let statistics = core.statistics();
        assert_eq!(statistics.n_pages_used, 0);
        assert_eq!(statistics.n_preemptions > 0, how == "preempted");
    }
}

#[test]
fn whoever_wants_the_circles_gets_them() {
    let (_folder, path) = model();
    let loaded = load(&path, 4, Speculate::Off);
    let grammars = Grammars::new(&loaded.vocabulary.tokenizer).unwrap();
    let endless = grammars.compile(&GrammarSource::Regex("[a-z]{9000,}".into())).unwrap();
    let asked = vec![
        Request { ends_loops: false, ..request(0) },
        Request { ignore_stops: true, ..request(0) },
        Request { min_tokens: MAX_TOKENS, ..request(0) },
        Request { grammar: Some(endless), ..request(0) },
    ];
    for (i, (tokens, finish)) in run(&mut Core::new(loaded).unwrap(), asked).iter().enumerate() {
        assert!(matches!(finish, Finish::Length), "request {i}: {finish:?}");
        assert_eq!(tokens.len(), MAX_TOKENS, "request {i}");
    }
}
