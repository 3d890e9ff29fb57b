//! The engine decides whether to think, on a checkpoint that says what the test wants (`scripted`),
//! and on the tiny random models, where only sameness can be asked for.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

mod asking;
mod guessed;
mod scripted;

use model::Kv;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Speculate, Think,
    Thresholds, Why, choice_seed,
};
use schedule::Micros;
use text::{Place, ThinkEnd};

use asking::{
    Outcome, answer, ask, ask_by, load, options, questions, run, sinks, step, thresholds,
};
use scripted::{CUE, END, golden, mixed, model, script, unsure};

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

#[test]
fn an_unsure_answer_is_thought_over_until_trials_agree() {
    let folder = model(&unsure());
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
    let folder = model(&unsure());
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
fn a_short_answer_that_could_not_be_kept_is_not_tried() {
    let folder = model(&unsure());
    let loaded = load(folder.path(), &options(1));
    let vocabulary = loaded.vocabulary.clone();
    let mut core = Core::new(loaded).unwrap();
    let mut decided = |short_mean: f32| {
        let chosen = Thresholds { short_mean, trials_agree: 0, ..thresholds() };
        let asked = ask_by(&vocabulary, "Hello", Think::Auto, 7, chosen);
        run(&mut core, vec![asked], 0).remove(0)
    };
    let (untried, tried) = (decided(f32::INFINITY), decided(0.0));
    let [own, other] = [&untried, &tried].map(|outcome| outcome.usage.auto.unwrap());
    assert_eq!((own.thinks, own.why, own.short), (true, Why::Untried, None));
    assert!(own.extra_tokens < other.extra_tokens, "{own:?} {other:?}");
    let on = answer(folder.path(), Think::On);
    assert_eq!((&untried.tokens, &tried.tokens), (&on.tokens, &on.tokens));
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
    let folder = model(&unsure());
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

#[test]
fn company_guesses_and_a_full_cache_change_nothing() {
    let mixed = model(&mixed());
    let folders = [model(&unsure()).keep(), mixed.keep(), golden("qwen3"), golden("deepseek_v3")];
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
    let folder = model(&unsure());
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
    let folder = model(&unsure());
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

#[test]
fn whoever_panics_while_it_is_decided_leaves_nothing_and_the_others_alone() {
    let folder = model(&unsure());
    let vocabulary = load(folder.path(), &options(1)).vocabulary;
    let mut core = Core::new(load(folder.path(), &options(4))).unwrap();
    let well = run(&mut core, vec![ask(&vocabulary, "Hello", Think::Auto, 7)], 0).remove(0);
    let n_events = well.tokens.len() + well.trials.len() + 2;
    for falls_at in 0..n_events {
        let mut n = 0;
        let falls = Box::new(move |_| {
            assert_ne!(n, falls_at, "a fault that this test puts in");
            n += 1;
            true
        });
        let asked = ask(&vocabulary, "Hello", Think::Auto, 7);
        core.submit(RequestId(100), asked, vec![falls], Micros(0));
        let other = run(&mut core, vec![ask(&vocabulary, "Hello", Think::Auto, 7)], 0).remove(0);
        assert_eq!(well.same(), other.same(), "beside one that panics at event {falls_at}");
    }
}
