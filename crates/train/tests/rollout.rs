//! Rollouts of tiny models: the same answers alone or together, each token with its probability.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::Path;
use std::sync::Arc;

use engine::{Core, Loaded, Options};
use ruminate_train::rollout::{Answer, Ask, End, Settings, rollout};

fn core(family: &str, together: usize, threads: usize) -> Core {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(family);
    let options = Options {
        sequences_max: together,
        context: Some(128),
        threads: Some(threads),
        ..Options::default()
    };
    let mut core = Core::new(Loaded::open(&folder, &options, &|_, _| ()).unwrap()).unwrap();
    core.tell_logprobs_as_drawn();
    core
}

fn asks() -> Vec<Ask> {
    let ask = |i: u32| Ask {
        prompt: (0..10 + i).map(|at| (at * 37 + i) % 256).collect(),
        forced: if i % 2 == 1 { vec![11, 12] } else { Vec::new() },
        seed: u64::from(i) * 977,
        n: 4,
    };
    (0..5).map(ask).collect()
}

fn settings(together: usize, salt: u64, stops: &[u32]) -> Settings {
    Settings { tokens_max: 24, temperature: 0.7, together, stops: stops.into(), salt }
}

/// Bits of what was drawn.
fn bits(answers: &[Vec<Answer>]) -> Vec<(Vec<u32>, Vec<u32>)> {
    let one = |answer: &Answer| {
        let logprobs = answer.logprobs[answer.n_forced..].iter().map(|x| x.to_bits()).collect();
        (answer.tokens.clone(), logprobs)
    };
    answers.iter().flatten().map(one).collect()
}

#[test]
fn answers_depend_on_their_seeds_alone() {
    for family in ["llama", "qwen3_moe"] {
        let write = |together, threads, asks: &[Ask]| {
            let mut core = core(family, together, threads);
            rollout(&mut core, asks, &settings(together, 1, &[])).unwrap()
        };
        let asks = asks();
        let crowd = write(32, 2, &asks);
        assert_eq!(bits(&crowd), bits(&write(4, 1, &asks)), "{family}");
        for (ask, answers) in asks.iter().zip(&crowd) {
            let alone = write(4, 1, std::slice::from_ref(ask));
            assert_eq!(bits(&alone), bits(std::slice::from_ref(answers)), "{family}");
            let texts: std::collections::BTreeSet<_> =
                answers.iter().map(|answer| &answer.tokens).collect();
            assert_eq!(texts.len(), 4, "each answer of a group is its own");
        }
    }
}

#[test]
fn an_answer_holds_the_token_that_ends_it_and_what_it_was_made_to_say() {
    let mut core = core("llama", 8, 1);
    let asks = asks();
    let free = rollout(&mut core, &asks, &settings(8, 1, &[])).unwrap();
    let stop = free[0][0].tokens[3];
    let ended = rollout(&mut core, &asks, &settings(8, 1, &[stop])).unwrap();
    for (ask, (free, ended)) in asks.iter().zip(free.iter().zip(&ended)) {
        for (free, ended) in free.iter().zip(ended) {
            assert_eq!(free.end, End::Length);
            assert_eq!((free.tokens.len(), free.n_forced), (24, ask.forced.len()));
            assert!(free.tokens.starts_with(&ask.forced));
            assert_eq!(free.logprobs.len(), free.tokens.len());
            let (forced, drawn) = free.logprobs.split_at(ask.forced.len());
            assert!(forced.iter().all(|x| x.is_nan()) && drawn.iter().all(|x| *x <= 0.0));
            let at = free.tokens[ask.forced.len()..].iter().position(|token| *token == stop);
            match at.map(|at| at + ask.forced.len()) {
                Some(at) => {
                    assert_eq!(ended.tokens, free.tokens[..=at]);
                    assert_eq!(ended.end, End::Stop);
                }
                None => assert_eq!(ended.tokens, free.tokens),
            }
        }
    }
}

#[test]
fn a_prompt_without_room_is_refused() {
    let mut core = core("llama", 8, 1);
    let long = Ask { prompt: vec![5; 128], forced: Vec::new(), seed: 0, n: 2 };
    let error = rollout(&mut core, &[long], &settings(8, 1, &[])).unwrap_err().to_string();
    assert!(error.starts_with("prompt 0 has 128 tokens"), "{error}");
    let wrong = Ask { prompt: vec![100_000], forced: Vec::new(), seed: 0, n: 2 };
    let error = rollout(&mut core, &[wrong], &settings(8, 1, &[])).unwrap_err().to_string();
    assert!(error.starts_with("prompt 0: token 100000 is not"), "{error}");
    let none: Arc<[u32]> = Arc::from([]);
    assert!(rollout(&mut core, &[], &Settings { stops: none, ..settings(8, 1, &[]) }).is_ok());
}
