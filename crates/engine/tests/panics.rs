//! A panic stays with its answer: the others get what they get without it. One in a step ends the
//! engine, and all who wait learn of it.

#![expect(clippy::unwrap_used, reason = "a test stops where its fixture is missing")]

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ruminate_engine::sampler::Params;
use ruminate_engine::{
    Core, Engine, Event, Finish, Loaded, Options, Progress, Refusal, Request, RequestId, Sink,
    Speculate,
};
use schedule::{ClientId, Micros, Priority};

fn load(speculate: Speculate) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/qwen3");
    let options = Options {
        sequences_max: 8,
        context: Some(256),
        threads: Some(2),
        speculate,
        ..Options::default()
    };
    Loaded::open(&folder, &options, &|_, _| ()).unwrap()
}

fn request(seed: u64) -> Request {
    let params = Params {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition_penalty: 1.1,
        presence_penalty: 0.5,
        frequency_penalty: 0.0,
        seed,
    };
    Request {
        prompt: (0..40 + seed as u32).map(|i| (i * 37 + 11) % 300).collect(),
        max_tokens: 30,
        params,
        think: None,
        stops: Vec::new(),
        ignore_stops: true,
        ends_loops: false,
        grammar: None,
        shown_controls: Vec::new(),
        logprobs: Some(1),
        prompt_logprobs: None,
        min_tokens: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

/// A sink that passes events on until event number `falls_at`.
fn sink(falls_at: usize) -> (Sink, Receiver<Event>) {
    let (sender, receiver) = channel();
    let mut n = 0;
    let sink = Box::new(move |event| {
        assert_ne!(n, falls_at, "a fault that this test puts in");
        n += 1;
        sender.send(event).is_ok()
    });
    (sink, receiver)
}

/// Ids and the bits of their log-probabilities.
fn tokens(events: &Receiver<Event>) -> (Vec<(u32, u32)>, Option<Finish>) {
    let (mut tokens, mut end) = (Vec::new(), None);
    for event in events.try_iter() {
        match event {
            Event::Token(token) => tokens.push((token.id, token.logprob.unwrap().to_bits())),
            Event::Finished { finish, .. } => end = Some(finish),
            _ => {}
        }
    }
    (tokens, end)
}

fn step_to_the_end(core: &mut Core) {
    while core.step(|| Micros(0)) == Progress::Stepped {}
}

#[test]
fn whoever_panics_in_a_crowd_fails_alone_at_whatever_event() {
    for speculate in [Speculate::Off, Speculate::Ngram] {
        let mut core = Core::new(load(speculate)).unwrap();
        let (whole, expected) = sink(usize::MAX);
        core.submit(RequestId(0), request(0), vec![whole], Micros(0));
        step_to_the_end(&mut core);
        let expected = tokens(&expected).0;
        assert_eq!(expected.len(), 30);
        // Its start, its tokens, its end.
        for falls_at in [0, 1, 2, 17, 30, 31] {
            let id = 10 * falls_at as u64 + 10;
            let (before, told_before) = sink(usize::MAX);
            core.submit(RequestId(id), request(0), vec![before], Micros(0));
            let (falls, fallen) = sink(falls_at);
            core.submit(RequestId(id + 1), request(1), vec![falls], Micros(0));
            let (after, told_after) = sink(usize::MAX);
            core.submit(RequestId(id + 2), request(0), vec![after], Micros(0));
            step_to_the_end(&mut core);
            for told in [told_before, told_after] {
                let (tokens, end) = tokens(&told);
                assert_eq!(tokens, expected, "{speculate:?}, event {falls_at}");
                assert!(matches!(end, Some(Finish::Length)), "{end:?}");
            }
            // A sink that falls is not to be spoken to any more, and is let go.
            assert_eq!(tokens(&fallen).0.len(), falls_at.saturating_sub(1).min(30));
            assert!(fallen.try_recv().is_err());
            let statistics = core.statistics();
            assert_eq!((statistics.n_running, statistics.n_pages_used), (0, 0));
        }
    }
}

#[test]
fn of_several_answers_to_a_prompt_only_the_one_that_panics_is_lost() {
    let mut core = Core::new(load(Speculate::Off)).unwrap();
    let mut run = |falls: &[usize]| {
        let (sinks, events): (Vec<Sink>, Vec<_>) = falls.iter().map(|&at| sink(at)).unzip();
        core.submit(RequestId(falls[0] as u64), request(3), sinks, Micros(0));
        step_to_the_end(&mut core);
        assert_eq!(core.statistics().n_pages_used, 0);
        events.iter().map(tokens).collect::<Vec<_>>()
    };
    let never = usize::MAX;
    let well = run(&[never, never, never]);
    for falls in [[1, never, never], [never, 1, never], [never, 9, 5]] {
        for (i, (told, at)) in run(&falls).iter().zip(falls).enumerate() {
            if at == never {
                assert_eq!(told.0, well[i].0, "{falls:?}, answer {i}");
                assert!(matches!(told.1, Some(Finish::Length)));
            } else {
                assert!(told.0.len() < 30, "{falls:?}, answer {i}");
            }
        }
    }
}

#[test]
fn an_engine_that_panics_lets_go_of_all_who_wait_and_refuses_who_comes() {
    let engine = Engine::start(Core::new(load(Speculate::Off)).unwrap());
    assert!(engine.is_alive());
    let (entered, held) = channel();
    let (release, released) = channel::<()>();
    engine.look(move |_| {
        entered.send(()).unwrap();
        let _ = released.recv();
        panic!("a fault that this test puts in");
    });
    held.recv().unwrap();
    let waiting: Vec<Receiver<Event>> = (0..20)
        .map(|seed| {
            let (sink, events) = sink(usize::MAX);
            engine.submit(request(seed), sink);
            events
        })
        .collect();
    release.send(()).unwrap();
    for events in waiting {
        // Never just silence.
        let end = events.recv_timeout(Duration::from_secs(60));
        assert!(end.is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected));
        assert!(!engine.is_alive(), "who is let go can ask why");
    }
    let (sink, events) = sink(usize::MAX);
    let id = engine.submit(request(1), sink);
    let end = tokens(&events).1;
    assert!(matches!(end, Some(Finish::Refused(Refusal::Stopped))), "{end:?}");
    engine.cancel(id);
    engine.warm(vec![1, 2, 3], 0);
    assert!(engine.statistics().is_none() && engine.expert_statistics().is_none());
}

#[test]
fn an_inbox_that_is_full_refuses_and_makes_nobody_wait() {
    let engine = Engine::start(Core::new(load(Speculate::Off)).unwrap());
    let (entered, held) = channel();
    let (release, released) = channel::<()>();
    engine.look(move |_| {
        entered.send(()).unwrap();
        let _ = released.recv();
    });
    held.recv().unwrap();
    let mut n_refused = 0;
    let mut listeners = Vec::new();
    for seed in 0..1100 {
        let (sink, events) = sink(usize::MAX);
        engine.submit(Request { max_tokens: 1, ..request(seed % 3) }, sink);
        match events.try_recv() {
            Ok(Event::Finished { finish: Finish::Refused(Refusal::Schedule(_)), .. }) => {
                n_refused += 1;
            }
            _ => listeners.push(events),
        }
    }
    assert_eq!(n_refused, 1100 - 1024);
    drop(release);
    for events in listeners {
        let last = events.iter().last();
        assert!(matches!(last, Some(Event::Finished { .. })), "{last:?}");
    }
}
