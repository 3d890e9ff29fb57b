//! Crowds under a clock that can be worked by hand.

use super::*;
use crate::{Layout, Length, Model, Prefixes, Thinking, quant};

fn limits() -> Limits {
    Limits {
        tokens_per_step: 64,
        logits_per_step: usize::MAX,
        sequences_max: 8,
        pages_max: 256,
        page_len: 16,
        context_max: 1024,
        queue_max: 1000,
        queue_tokens_max: 100_000,
        warm_max: 1,
        overdue_after: Micros(1_000_000),
        admission: Admission::Optimistic,
    }
}

fn request(at_s: f64, prompt: u64, answer: u64) -> Request {
    Request { at_s, prompt, answer, thinking: 0, prefix: None }
}

/// A step takes a second, whatever is in it.
fn second(_: &Step) -> f64 {
    1.0
}

fn ran(requests: &[Request]) -> Simulated {
    simulate(requests, limits(), &second, &mut |_, _, _| {}).unwrap()
}

#[test]
fn one_request_waits_for_its_prompt_and_then_a_step_a_token() {
    // 100 tokens of 64 a step: two steps, the second of which yields the first of three tokens.
    let alone = ran(&[request(5.0, 100, 3)]);
    assert_eq!(alone.first_token_s.p50, 2.0);
    assert_eq!(alone.between_tokens_s.p99, 1.0);
    assert_eq!((alone.whole_s.p50, alone.duration_s, alone.n_steps), (4.0, 4.0, 4));
    assert_eq!(alone.tokens, Tokens { input: 100.0, cached: 0.0, output: 3.0 });
    assert_eq!((alone.utilisation(), alone.output_per_s()), (1.0, 0.75));
}

#[test]
fn the_clock_skips_what_nobody_needs() {
    let apart = ran(&[request(0.0, 10, 1), request(100.0, 10, 1)]);
    assert_eq!((apart.busy_s, apart.duration_s), (2.0, 101.0));
    assert_eq!(apart.queue_s.p99, 0.0);
}

#[test]
fn a_crowd_waits_in_line() {
    // Eight may run; the ninth starts when they have ended.
    let crowd: Vec<Request> = (0..9).map(|_| request(0.0, 8, 10)).collect();
    let crowd = ran(&crowd);
    assert_eq!(crowd.queue_s.p50, 0.0);
    assert_eq!(crowd.queue_s.p99, 10.0);
    assert_eq!(crowd.n_steps, 20);
    assert_eq!(crowd.mean_rows, 90.0 / 20.0);
}

#[test]
fn a_known_text_is_computed_once() {
    let prefix = |at_s, id| Request { prefix: Some((id, 48)), ..request(at_s, 64, 1) };
    let shared = ran(&[prefix(0.0, 1), prefix(10.0, 1), prefix(20.0, 2)]);
    assert_eq!(shared.tokens.cached, 48.0);
    assert_eq!(shared.tokens.input, 64.0 * 3.0 - 48.0);
    assert_eq!(shared.hit_rate(), 0.25);
    // Equal requests without a known text share nothing.
    assert_eq!(ran(&[request(0.0, 64, 1), request(9.0, 64, 1)]).tokens.cached, 0.0);
}

#[test]
fn a_pool_that_is_too_small_preempts_and_still_finishes_everything() {
    let small = Limits { pages_max: 12, context_max: 192, ..limits() };
    let crowd: Vec<Request> = (0..6).map(|_| request(0.0, 32, 60)).collect();
    let small = simulate(&crowd, small, &second, &mut |_, _, _| {}).unwrap();
    assert!(small.n_preemptions > 0);
    assert_eq!(small.tokens.output, 360.0);
    assert_eq!(small.n_refused, 0);
}

#[test]
fn what_is_too_long_is_refused_and_counted() {
    let refused = ran(&[request(0.0, 2000, 1), request(0.0, 10, 1)]);
    assert_eq!((refused.n_refused, refused.tokens.output), (1, 1.0));
    let error = simulate(&[request(0.0, 4, 1)], limits(), &|_| f64::NAN, &mut |_, _, _| {});
    assert!(error.is_err());
    let endless = [request(0.0, 1, u64::MAX >> 8)];
    assert!(matches!(
        simulate(&endless, limits(), &second, &mut |_, _, _| {}),
        Err(Error::TooMany { .. })
    ));
}

#[test]
fn the_steps_are_seen_as_the_scheduler_planned_them() {
    let (mut seen, mut running) = (Vec::new(), Vec::new());
    let requests = [request(0.0, 100, 2), request(0.5, 20, 1)];
    let mut observe = |now: Micros, step: &Step, after: Statistics| {
        running.push(after.n_running);
        let rows = step.rows.iter().map(|row| (row.sequence.0, row.from, row.n_tokens));
        seen.push((now.0, rows.collect::<Vec<_>>()));
    };
    simulate(&requests, limits(), &second, &mut observe).unwrap();
    let expected = vec![
        (0, vec![(1, 0, 64)]),
        (1_000_000, vec![(1, 64, 36), (2, 0, 20)]),
        (2_000_000, vec![(1, 100, 1)]),
    ];
    assert_eq!(seen, expected);
    assert_eq!(running, [1, 1, 0]);
}

fn simulation() -> Simulation {
    let built_in = spec::builtin::find("QwQ-32B").unwrap();
    let model = Model::at("QwQ-32B", built_in.spec(), quant("fp8").unwrap(), 2);
    let deployment = Deployment::new(model, crate::built_in("H800").unwrap(), Layout::SINGLE);
    Simulation::new(deployment.unwrap(), 64, 256, 8192).unwrap()
}

fn traffic() -> Workload {
    Workload {
        seed: 3,
        requests_per_s: 4.0,
        shape: vec![1.0, 2.0, 3.0, 2.0],
        prompt: Length::LogNormal { median: 400.0, sigma: 0.5, max: 4000 },
        answer: Length::Fixed(50),
        thinking: Thinking { share: 0.5, tokens: Length::Fixed(200) },
        prefixes: Prefixes { share: 0.0, count: 0, tokens: Length::Fixed(0) },
    }
}

#[test]
fn a_single_request_takes_what_the_roofline_says() {
    let simulation = simulation();
    let ran = simulation.run(&[request(0.0, 1000, 5)]).unwrap();
    let prefill = simulation.deployment.prefill(1000, 0).seconds;
    let decode: f64 =
        (1001..1005).map(|len| simulation.deployment.decode(1, len).step.total_s()).sum();
    assert!((ran.first_token_s.p50 / prefill - 1.0).abs() < 1e-6);
    assert!((ran.whole_s.p50 / (prefill + decode) - 1.0).abs() < 1e-6);
}

#[test]
fn the_sustained_rate_is_where_waits_begin() {
    let simulation = simulation();
    let limits = (2.0, 0.03);
    let rate = sustained_rate(&simulation, &traffic(), limits).unwrap().unwrap();
    let at = |rate: f64| {
        let requests = traffic().even(rate).requests(30.0).unwrap();
        let ran = simulation.run(&requests).unwrap();
        ran.first_token_s.p95 <= limits.0 && ran.between_tokens_s.p95 <= limits.1
    };
    assert!(at(0.8 * rate) && !at(1.2 * rate), "{rate}");
    // Near what the roofline has for steady traffic, below or a little above it.
    let steady = together(&traffic().even(1.0).demand(0.0, 0.03), &simulation.deployment).unwrap();
    let of_steady = rate * steady.decode.instances;
    assert!((0.2..1.5).contains(&of_steady), "{of_steady}");
    assert_eq!(sustained_rate(&simulation, &traffic(), (2.0, 1e-4)).unwrap(), None);
    assert_eq!(sustained_rate(&simulation, &traffic(), (1e-3, 0.1)).unwrap(), None);
}

#[test]
fn instances_follow_the_day() {
    let day = nodes_over_the_day(&traffic(), 1.5);
    assert_eq!(day, [(2.0, 2), (4.0, 3), (6.0, 4), (4.0, 3)]);
}
