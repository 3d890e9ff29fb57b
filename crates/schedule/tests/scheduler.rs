//! The scheduler by hand: one idea each, on pages of four positions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ruminate_schedule::{
    Admission, Arrival, Cache, ClientId, End, Ended, Error, Limits, Micros, Outcome, Priority, Row,
    Scheduler, SequenceId, Step,
};

const LIMITS: Limits = Limits {
    tokens_per_step: 16,
    logits_per_step: usize::MAX,
    sequences_max: 4,
    pages_max: 16,
    page_len: 4,
    context_max: 48,
    queue_max: 4,
    queue_tokens_max: 100,
    warm_max: 2,
    overdue_after: Micros(1_000_000),
    admission: Admission::Optimistic,
};

struct Bench {
    scheduler: Scheduler,
    cache: Cache,
    step: Step,
    now: Micros,
}

impl Bench {
    fn new(limits: Limits) -> Bench {
        let scheduler = Scheduler::new(limits).unwrap();
        Bench { cache: scheduler.new_cache(), scheduler, step: Step::default(), now: Micros(0) }
    }

    fn submit(&mut self, arrival: Arrival) -> SequenceId {
        self.scheduler.submit(arrival, self.now).unwrap()
    }

    /// The rows of the next step as (sequence, from, n_tokens, wants_logits).
    fn plan(&mut self) -> Vec<(SequenceId, usize, usize, usize)> {
        self.scheduler.plan(&mut self.cache, self.now, &mut self.step);
        self.scheduler.check(&self.cache);
        let tuple = |row: &Row| (row.sequence, row.from, row.n_tokens, row.wants_logits);
        self.step.rows.iter().map(tuple).collect()
    }

    fn commit(&mut self, outcomes: &[Outcome<'_>]) -> Vec<Ended> {
        self.scheduler.commit(&self.step, outcomes, &mut self.cache)
    }

    /// Every row that caught up goes on with token 7.
    fn answer(&mut self) -> Vec<Ended> {
        let outcome = |row: &Row| {
            let known = self.scheduler.sequence(row.sequence).unwrap().known().len();
            let caught_up = row.from + row.n_tokens == known && row.wants_logits > 0;
            Outcome { appended: if caught_up { &[7] } else { &[] }, ..Outcome::default() }
        };
        let outcomes: Vec<Outcome<'_>> = self.step.rows.iter().map(outcome).collect();
        self.commit(&outcomes)
    }

    fn computed(&self, id: SequenceId) -> usize {
        self.scheduler.sequence(id).unwrap().computed()
    }

    fn pages(&self, id: SequenceId) -> Vec<u32> {
        self.scheduler.sequence(id).unwrap().pages().iter().map(|page| page.0).collect()
    }
}

/// A prompt of the tokens `first..first + len`, and room for `answer` more.
fn prompt(first: u32, len: u32, answer: usize) -> Arrival {
    Arrival {
        tokens: (first..first + len).collect(),
        len_max: len as usize + answer,
        logits_from: None,
        salt: 0,
        priority: Priority::Normal,
        client: ClientId(0),
        expires: None,
    }
}

#[test]
fn a_long_prompt_is_cut_by_the_budget_and_answers_go_first() {
    let mut bench = Bench::new(LIMITS);
    let short = bench.submit(prompt(0, 4, 10));
    let long = bench.submit(prompt(100, 30, 10));
    assert_eq!(bench.plan(), [(short, 0, 4, 1), (long, 0, 12, 0)]);
    assert_eq!(bench.step.admitted, [short, long]);
    bench.answer();
    assert_eq!(bench.plan(), [(short, 4, 1, 1), (long, 12, 15, 0)]);
    bench.answer();
    assert_eq!(bench.plan(), [(short, 5, 1, 1), (long, 27, 3, 1)]);
    bench.answer();
    assert_eq!(bench.plan(), [(short, 6, 1, 1), (long, 30, 1, 1)]);
}

#[test]
fn drafts_leave_a_token_to_every_other_answer() {
    let mut bench = Bench::new(Limits { tokens_per_step: 5, ..LIMITS });
    let ids: Vec<_> = (0..3).map(|n| bench.submit(prompt(100 * n, 1, 20))).collect();
    bench.plan();
    bench.answer();
    bench.scheduler.propose(ids[0], &[1, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(bench.plan(), [(ids[0], 1, 3, 3), (ids[1], 1, 1, 1), (ids[2], 1, 1, 1)]);
}

#[test]
fn rejected_drafts_are_dropped_and_the_right_token_follows() {
    let mut bench = Bench::new(LIMITS);
    let id = bench.submit(prompt(0, 3, 20));
    bench.plan();
    bench.answer();
    bench.scheduler.propose(id, &[8, 9, 10, 11, 12]).unwrap();
    assert_eq!(bench.plan(), [(id, 3, 6, 6)]);
    bench.commit(&[Outcome { n_rejected: 3, appended: &[5], finished: false }]);
    assert_eq!(bench.scheduler.sequence(id).unwrap().known(), [0, 1, 2, 7, 8, 9, 5]);
    assert_eq!((bench.computed(id), bench.pages(id).len()), (6, 2));
    assert_eq!(bench.plan(), [(id, 6, 1, 1)]);
}

#[test]
fn a_prompt_that_hits_fully_computes_its_last_token_only() {
    let mut bench = Bench::new(LIMITS);
    let first = bench.submit(prompt(0, 8, 4));
    bench.plan();
    bench.answer();
    let second = bench.submit(prompt(0, 8, 4));
    assert_eq!(bench.plan(), [(first, 8, 1, 1), (second, 7, 1, 1)]);
    // The second page is read by the first sequence: the second one writes a copy.
    assert_eq!(bench.step.copies.len(), 1);
    assert_eq!(bench.scheduler.sequence(second).unwrap().n_cached(), 7);
    assert_eq!(bench.pages(first)[0], bench.pages(second)[0]);
    assert_ne!(bench.pages(first)[1], bench.pages(second)[1]);
    bench.answer();
    // Full again, it holds the same bits: the copy is given back.
    assert_eq!(bench.pages(first)[..2], bench.pages(second)[..2]);
    let statistics = bench.scheduler.statistics(&bench.cache);
    assert_eq!((statistics.n_lookup_tokens, statistics.n_hit_tokens), (16, 7));
    assert_eq!(statistics.n_pages_used, 3);
}

#[test]
fn a_salt_hides_the_prefixes_of_others() {
    let mut bench = Bench::new(LIMITS);
    bench.submit(prompt(0, 8, 4));
    bench.plan();
    bench.answer();
    let stranger = bench.submit(Arrival { salt: 1, ..prompt(0, 8, 4) });
    assert_eq!(bench.plan()[1], (stranger, 0, 8, 1));
}

#[test]
fn wanted_logits_of_a_prompt_are_computed_although_it_is_cached() {
    let mut bench = Bench::new(LIMITS);
    let first = bench.submit(prompt(0, 12, 1));
    bench.plan();
    bench.answer();
    bench.scheduler.cancel(first, &mut bench.cache);
    let again = bench.submit(Arrival { logits_from: Some(6), ..prompt(0, 12, 1) });
    assert_eq!(bench.plan(), [(again, 6, 6, 6)]);
    bench.answer();
    let all = bench.submit(Arrival { logits_from: Some(0), ..prompt(0, 12, 0) });
    assert_eq!(bench.plan(), [(all, 0, 12, 12)]);
    let ended = bench.commit(&[Outcome::default()]);
    assert_eq!(ended, [Ended { sequence: all, reason: End::Length }]);
}

#[test]
fn the_latest_is_preempted_and_goes_on_with_its_tokens() {
    let mut bench = Bench::new(Limits { pages_max: 4, ..LIMITS });
    let old = bench.submit(prompt(0, 7, 9));
    let new = bench.submit(prompt(100, 7, 9));
    for _ in 0..2 {
        bench.plan();
        bench.answer();
    }
    assert_eq!((bench.computed(old), bench.computed(new)), (8, 8));
    assert_eq!(bench.plan(), [(old, 8, 1, 1)]);
    assert_eq!(bench.step.preempted, [new]);
    assert!(bench.step.admitted.is_empty());
    let kept: Vec<u32> = (100..107).chain([7, 7]).collect();
    assert_eq!(bench.scheduler.sequence(new).unwrap().known(), kept);
    let mut ended = bench.answer();
    while ended.is_empty() {
        bench.plan();
        ended = bench.answer();
    }
    assert_eq!(ended, [Ended { sequence: old, reason: End::Length }]);
    let readmitted = bench.plan();
    assert_eq!(bench.step.admitted, [new]);
    assert_eq!(readmitted[0].1 + readmitted[0].2, 9, "it catches up with all it knew");
}

#[test]
fn a_lower_class_is_preempted_before_a_later_arrival() {
    let mut bench = Bench::new(Limits { pages_max: 3, ..LIMITS });
    let low = bench.submit(Arrival { priority: Priority::Low, ..prompt(0, 4, 8) });
    bench.plan();
    bench.answer();
    let high = bench.submit(Arrival { priority: Priority::High, ..prompt(100, 3, 8) });
    bench.plan();
    assert_eq!(bench.step.admitted, [high]);
    bench.answer();
    bench.plan();
    bench.answer();
    assert_eq!(bench.plan(), [(high, 4, 1, 1)]);
    assert_eq!(bench.step.preempted, [low]);
}

#[test]
fn an_answer_takes_no_pages_from_a_prompt_before_it() {
    let mut bench = Bench::new(Limits { tokens_per_step: 4, pages_max: 10, ..LIMITS });
    let low = bench.submit(Arrival { priority: Priority::Low, ..prompt(0, 4, 20) });
    bench.plan();
    bench.answer();
    // Three tokens a step: meanwhile the answer grows beyond the page that it was promised.
    let high = bench.submit(Arrival { priority: Priority::High, ..prompt(100, 30, 4) });
    let mut preempted = Vec::new();
    while bench.scheduler.sequence(high).unwrap().known().len() == 30 {
        bench.plan();
        preempted.extend_from_slice(&bench.step.preempted);
        bench.answer();
    }
    assert_eq!(preempted, [low]);
}

#[test]
fn admission_by_worst_case_never_preempts() {
    let admission = Admission::WorstCase;
    let mut bench = Bench::new(Limits { pages_max: 5, admission, ..LIMITS });
    let first = bench.submit(prompt(0, 4, 8));
    let second = bench.submit(prompt(100, 4, 8));
    assert_eq!(bench.plan(), [(first, 0, 4, 1)]);
    while bench.answer().is_empty() {
        assert_eq!(bench.plan().len(), 1);
    }
    assert_eq!(bench.plan(), [(second, 0, 4, 1)]);
    assert_eq!(bench.scheduler.statistics(&bench.cache).n_preemptions, 0);
}

#[test]
fn what_can_never_be_computed_is_refused_with_its_numbers() {
    let mut bench = Bench::new(Limits { pages_max: 6, ..LIMITS });
    let mut refused = |arrival| bench.scheduler.submit(arrival, Micros(0)).unwrap_err();
    assert_eq!(refused(prompt(0, 0, 4)), Error::Empty);
    let error = Error::ContextExceeded { len_max: 49, context_max: 48 };
    assert_eq!(refused(prompt(0, 40, 9)), error);
    let error = Error::PoolExceeded { len_max: 25, pages: 7, pages_max: 6 };
    assert_eq!(refused(prompt(0, 20, 5)), error);
    assert_eq!(error.to_string(), "25 tokens need 7 KV pages, the whole pool has 6");
    let short = Arrival { len_max: 3, ..prompt(0, 4, 0) };
    assert_eq!(refused(short), Error::TooLong { known: 4, len_max: 3 });
}

#[test]
fn a_full_queue_refuses_by_sequences_and_by_tokens() {
    let mut bench = Bench::new(LIMITS);
    for _ in 0..2 {
        bench.submit(prompt(0, 40, 0));
    }
    let error = bench.scheduler.submit(prompt(0, 21, 0), Micros(0)).unwrap_err();
    assert_eq!(error, Error::QueueTokensFull { queued_tokens: 80, tokens: 21, max: 100 });
    for _ in 0..2 {
        bench.submit(prompt(0, 10, 0));
    }
    let error = bench.scheduler.submit(prompt(0, 1, 0), Micros(0)).unwrap_err();
    assert_eq!(error, Error::QueueFull { queued: 4, queue_max: 4 });
    let statistics = bench.scheduler.statistics(&bench.cache);
    assert_eq!((statistics.n_queued, statistics.n_queued_tokens), (4, 100));
}

#[test]
fn contradicting_limits_are_refused() {
    let limits = Limits { tokens_per_step: 3, ..LIMITS };
    let rule = "tokens_per_step must be at least sequences_max";
    assert_eq!(Scheduler::new(limits).unwrap_err(), Error::Limits { rule });
}

#[test]
fn who_expires_before_it_starts_is_reported_and_never_computed() {
    let mut bench = Bench::new(Limits { sequences_max: 1, ..LIMITS });
    let expires = Some(Micros(5));
    let first = bench.submit(Arrival { expires, ..prompt(0, 4, 8) });
    let second = bench.submit(Arrival { expires, ..prompt(100, 4, 8) });
    bench.plan();
    bench.answer();
    bench.now = Micros(5);
    // The first has started: its deadline is met.
    assert_eq!(bench.plan(), [(first, 4, 1, 1)]);
    assert_eq!(bench.step.expired, [second]);
    assert!(bench.scheduler.sequence(second).is_none());
}

#[test]
fn forks_share_pages_and_copy_the_one_they_write() {
    let mut bench = Bench::new(LIMITS);
    let parent = bench.submit(prompt(0, 6, 8));
    bench.plan();
    bench.commit(&[Outcome::default()]);
    let forks = bench.scheduler.fork(parent, 2, &mut bench.cache);
    assert_eq!(bench.pages(forks[0]), bench.pages(parent));
    let family = [parent, forks[0], forks[1]];
    for (id, token) in family.into_iter().zip([50, 51, 52]) {
        bench.scheduler.extend(id, &[token]).unwrap();
    }
    assert_eq!(bench.plan(), family.map(|id| (id, 6, 1, 1)));
    // The last to write owns the page alone and needs no copy.
    assert_eq!(bench.step.copies.len(), 2);
    bench.answer();
    let heads = family.map(|id| bench.pages(id)[0]);
    let tails = family.map(|id| bench.pages(id)[1]);
    assert!(heads.iter().all(|head| *head == heads[0]));
    assert!(tails[0] != tails[1] && tails[1] != tails[2] && tails[0] != tails[2]);
    bench.scheduler.cancel(forks[0], &mut bench.cache);
    bench.scheduler.check(&bench.cache);
    assert_eq!(bench.scheduler.statistics(&bench.cache).n_pages_used, 3);
}

#[test]
fn a_trial_takes_the_pages_of_the_parent_that_waits_for_it() {
    let mut bench = Bench::new(Limits { pages_max: 4, sequences_max: 2, ..LIMITS });
    let parent = bench.submit(prompt(0, 11, 5));
    bench.plan();
    bench.commit(&[Outcome::default()]);
    let trial = bench.scheduler.fork(parent, 1, &mut bench.cache)[0];
    bench.scheduler.extend(trial, &[60, 61, 62]).unwrap();
    // Two pages are shared; the third must be copied and a fourth is needed: one is left.
    assert_eq!(bench.plan(), [(trial, 11, 3, 1)]);
    assert_eq!(bench.step.preempted, [parent]);
    bench.answer();
    bench.scheduler.retire(trial, 11, &mut bench.cache);
    assert!(bench.plan().is_empty(), "a parked sequence waits for tokens");
    bench.scheduler.extend(parent, &[70]).unwrap();
    assert_eq!(bench.plan(), [(parent, 8, 4, 1)]);
}

#[test]
fn a_rewound_sequence_goes_on_from_there() {
    let mut bench = Bench::new(LIMITS);
    let id = bench.submit(prompt(0, 9, 20));
    bench.plan();
    bench.answer();
    bench.scheduler.rewind(id, 6, &mut bench.cache);
    assert_eq!((bench.computed(id), bench.pages(id).len()), (6, 2));
    assert!(bench.plan().is_empty(), "it was not told how to go on");
    bench.scheduler.extend(id, &[90, 91]).unwrap();
    assert_eq!(bench.plan(), [(id, 6, 2, 1)]);
    // Its second page was stored with the tokens it had: those are not overwritten for others.
    bench.answer();
    assert_eq!(bench.scheduler.sequence(id).unwrap().known(), [0, 1, 2, 3, 4, 5, 90, 91, 7]);
    let error = bench.scheduler.extend(id, &[0; 21]).unwrap_err();
    assert_eq!(error, Error::TooLong { known: 30, len_max: 29 });
}

#[test]
fn retiring_frees_the_thinking_and_warming_stores_the_rest() {
    let mut bench = Bench::new(LIMITS);
    let id = bench.submit(prompt(0, 16, 4));
    bench.plan();
    bench.answer();
    let known = bench.scheduler.retire(id, 8, &mut bench.cache);
    assert_eq!(known.len(), 17);
    assert_eq!(bench.cache.n_cached(), 2);
    // The prompt, and the answer without what was thought before it.
    let next_turn: Vec<u32> = (0..8).chain(12..22).collect();
    let warm = bench.scheduler.warm(next_turn, 0).unwrap();
    assert_eq!(bench.plan(), [(warm, 8, 8, 0)]);
    let ended = bench.commit(&[Outcome::default()]);
    assert_eq!(ended, [Ended { sequence: warm, reason: End::Warmed }]);
    assert_eq!(bench.cache.n_cached(), 4);
}

#[test]
fn a_warm_up_waits_for_work_and_is_dropped_for_its_pages() {
    let mut bench = Bench::new(Limits { pages_max: 8, warm_max: 1, ..LIMITS });
    let warm = bench.scheduler.warm((100..132).collect(), 0).unwrap();
    assert_eq!(bench.scheduler.warm((0..4).collect(), 0), None, "too many wait");
    assert_eq!(bench.plan(), [(warm, 0, 16, 0)]);
    bench.commit(&[Outcome::default()]);
    let work = bench.submit(prompt(0, 12, 2));
    assert_eq!(bench.plan(), [(work, 0, 12, 1)]);
    assert!(bench.step.dropped.is_empty(), "four pages were free");
    bench.answer();
    let more = bench.submit(prompt(50, 8, 2));
    assert_eq!(bench.plan(), [(work, 12, 1, 1), (more, 0, 8, 1)]);
    assert_eq!(bench.step.dropped, [warm]);
    assert!(!bench.scheduler.cancel(warm, &mut bench.cache), "it is gone");
}

#[test]
fn a_cancel_while_the_model_computes_frees_the_pages_at_once() {
    let mut bench = Bench::new(LIMITS);
    let id = bench.submit(prompt(0, 10, 4));
    let other = bench.submit(prompt(100, 3, 4));
    bench.plan();
    assert!(bench.scheduler.cancel(id, &mut bench.cache));
    assert_eq!(bench.scheduler.statistics(&bench.cache).n_pages_used, 1);
    assert!(bench.commit(&[Outcome { appended: &[7], ..Outcome::default() }; 2]).is_empty());
    assert_eq!(bench.plan(), [(other, 3, 1, 1)]);
}

#[test]
fn eviction_takes_the_oldest_leaf_first_and_tails_before_heads() {
    let mut cache = Cache::new(6, 2);
    let run = |cache: &mut Cache, tokens: &[u32]| {
        let mut table = Vec::new();
        cache.match_prefix(0, tokens, &mut table);
        let span = table.len() * 2..tokens.len();
        assert!(cache.reserve(&mut table, span, &mut Vec::new()));
        cache.commit(0, tokens, &mut table);
        cache.release(&mut table);
    };
    let n_found = |cache: &mut Cache, tokens: &[u32]| {
        let mut table = Vec::new();
        cache.match_prefix(0, tokens, &mut table);
        let n_found = table.len();
        cache.release(&mut table);
        n_found
    };
    run(&mut cache, &[0, 0, 1, 1, 2, 2]);
    run(&mut cache, &[0, 0, 3, 3]);
    run(&mut cache, &[4, 4, 5, 5]);
    assert_eq!(cache.n_free(), 0);
    // The first run is the oldest; its head is shared by a younger one.
    run(&mut cache, &[6, 6]);
    assert_eq!(n_found(&mut cache, &[0, 0, 1, 1, 2, 2]), 2);
    run(&mut cache, &[7, 7, 8, 8]);
    // By asking, the rest of the first became the youngest: the second lost its end, then 4 4 5 5.
    assert_eq!(n_found(&mut cache, &[0, 0, 3, 3]), 1);
    assert_eq!(n_found(&mut cache, &[4, 4, 5, 5]), 1);
    assert_eq!(n_found(&mut cache, &[0, 0, 1, 1]), 2);
    assert_eq!(cache.n_evicted(), 3);
    cache.check(std::iter::empty());
}
