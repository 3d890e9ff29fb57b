//! Guesses by the model's own layer, while the engine decides whether to think.

use std::collections::BTreeSet;

use ruminate_engine::{Core, Options, Progress, RequestId, Speculate, Think};
use schedule::Micros;

use crate::asking::{Outcome, ask, load, options, questions, run, sinks, step};
use crate::scripted::{guessing_model, misguessing_model, mixed, unsure};

#[test]
fn guesses_of_the_model_s_own_layer_change_nothing_of_what_is_decided() {
    let mut courses = BTreeSet::new();
    let folders = [guessing_model(&unsure()), guessing_model(&mixed()), misguessing_model()];
    for (i, folder) in folders.iter().enumerate() {
        let path = folder.path();
        let vocabulary = load(path, &options(1)).vocabulary;
        let plain =
            run(&mut Core::new(load(path, &options(8))).unwrap(), questions(&vocabulary), 1);
        for (sequences_max, apart) in [(1, 0), (8, 3), (8, 0)] {
            let guessing = Options { speculate: Speculate::Mtp, ..options(sequences_max) };
            let mut core = Core::new(load(path, &guessing)).unwrap();
            let guessed = run(&mut core, questions(&vocabulary), apart);
            for (n, (plain, guessed)) in plain.iter().zip(&guessed).enumerate() {
                let how = format!("model {i}, question {n}, {sequences_max} at once");
                assert_eq!(plain.same(), guessed.same(), "{how}");
            }
            let right: usize = guessed.iter().map(|it| it.usage.accepted_tokens).sum();
            let tried: usize = guessed.iter().map(|it| it.usage.drafted_tokens).sum();
            // A layer that knows the next token helps in thinking and answer alike.
            assert!(tried > 0 && (i == 2 || right * 2 > tried), "model {i}: {right} of {tried}");
        }
        courses.extend(plain.iter().map(|it| format!("{:?}", it.usage.auto.unwrap().why)));
        courses.extend(plain.iter().filter_map(|it| Some(it.usage.ended_by?.name().to_string())));
    }
    for course in ["Confident", "Unsure", "agreed"] {
        assert!(courses.contains(course), "{course} is not among {courses:?}");
    }
}

#[test]
fn several_answers_are_guessed_each_by_its_own_seed() {
    let folder = guessing_model(&mixed());
    let vocabulary = load(folder.path(), &options(1)).vocabulary;
    let answers = |speculate| {
        let guessing = Options { speculate, ..options(8) };
        let mut core = Core::new(load(folder.path(), &guessing)).unwrap();
        let (sinks, events) = sinks(4);
        core.submit(RequestId(1), ask(&vocabulary, "Hello", Think::Auto, 3), sinks, Micros(0));
        while step(&mut core) == Progress::Stepped {}
        assert_eq!(core.statistics().n_pages_used, 0);
        events.iter().map(Outcome::collect).collect::<Vec<_>>()
    };
    let plain = answers(Speculate::Off);
    for speculate in [Speculate::Mtp, Speculate::Ngram] {
        for (plain, guessed) in plain.iter().zip(&answers(speculate)) {
            assert_eq!(plain.same(), guessed.same(), "{speculate:?}");
        }
    }
}
