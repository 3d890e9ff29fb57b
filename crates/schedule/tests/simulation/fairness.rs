//! More work than can be done, for a long time: who gets how much of it, and how long one waits.

use ruminate_schedule::{
    Admission, Arrival, Cache, ClientId, Limits, Micros, Outcome, Priority, Scheduler, SequenceId,
    Step,
};
use std::collections::BTreeMap;

const STEP_US: u64 = 1_000;
const OVERDUE_US: u64 = 50 * STEP_US;

/// Answers of a fixed length, a step each millisecond.
struct Crowd {
    scheduler: Scheduler,
    cache: Cache,
    step: Step,
    now: Micros,
    salt: u64,
    /// Client and time of arrival of those that have not started.
    waiting: BTreeMap<SequenceId, (ClientId, Micros)>,
    clients: BTreeMap<SequenceId, ClientId>,
    /// The clients of the sequences in the order in which they started.
    started: Vec<ClientId>,
    /// Tokens computed for each client.
    served: BTreeMap<ClientId, usize>,
    longest_wait: BTreeMap<ClientId, u64>,
}

impl Crowd {
    fn new(pages_max: usize) -> Crowd {
        let limits = Limits {
            tokens_per_step: 16,
            logits_per_step: usize::MAX,
            sequences_max: 4,
            pages_max,
            page_len: 4,
            context_max: 40,
            queue_max: 1_000,
            queue_tokens_max: 100_000,
            warm_max: 0,
            overdue_after: Micros(OVERDUE_US),
            admission: Admission::Optimistic,
        };
        let scheduler = Scheduler::new(limits).unwrap();
        Crowd {
            cache: scheduler.new_cache(),
            scheduler,
            step: Step::default(),
            now: Micros(0),
            salt: 0,
            waiting: BTreeMap::new(),
            clients: BTreeMap::new(),
            started: Vec::new(),
            served: BTreeMap::new(),
            longest_wait: BTreeMap::new(),
        }
    }

    /// A prompt that shares nothing with any other.
    fn submit(&mut self, client: u64, priority: Priority, prompt: usize, answer: usize) {
        self.salt += 1;
        let arrival = Arrival {
            tokens: vec![0; prompt],
            len_max: prompt + answer,
            logits_from: None,
            salt: self.salt,
            priority,
            client: ClientId(client),
            expires: None,
        };
        let id = self.scheduler.submit(arrival, self.now).unwrap();
        self.waiting.insert(id, (ClientId(client), self.now));
        self.clients.insert(id, ClientId(client));
    }

    fn n_waiting(&self, client: u64) -> usize {
        self.waiting.values().filter(|(other, _)| *other == ClientId(client)).count()
    }

    fn advance(&mut self) {
        self.now.0 += STEP_US;
        self.scheduler.plan(&mut self.cache, self.now, &mut self.step);
        for id in &self.step.admitted {
            // Readmitted ones do not wait here any more.
            if let Some((client, since)) = self.waiting.remove(id) {
                let longest = self.longest_wait.entry(client).or_default();
                *longest = (*longest).max((self.now.0 - since.0) / STEP_US);
                self.started.push(client);
            }
        }
        let mut outcomes = Vec::new();
        for row in &self.step.rows {
            *self.served.entry(self.clients[&row.sequence]).or_default() += row.n_tokens;
            let appended: &[u32] = if row.wants_logits > 0 { &[1] } else { &[] };
            outcomes.push(Outcome { appended, ..Outcome::default() });
        }
        if !self.step.rows.is_empty() {
            self.scheduler.commit(&self.step, &outcomes, &mut self.cache);
        }
    }
}

#[test]
fn a_flood_of_one_client_leaves_the_others_their_share() {
    let mut crowd = Crowd::new(100);
    for _ in 0..4_000 {
        // Client 0 always has fifty in the queue, client 1 two: each wants more than half.
        while crowd.n_waiting(0) < 50 {
            crowd.submit(0, Priority::Normal, 8, 16);
        }
        while crowd.n_waiting(1) < 2 {
            crowd.submit(1, Priority::Normal, 8, 16);
        }
        crowd.advance();
    }
    // All that the flood gets beyond its half is one admission in four, for being old.
    let (flood, other) = (crowd.served[&ClientId(0)], crowd.served[&ClientId(1)]);
    assert!(other * 5 >= (flood + other) * 2, "{other} of {} tokens", flood + other);
}

#[test]
fn long_prompts_and_short_ones_share_by_tokens() {
    let mut crowd = Crowd::new(100);
    for _ in 0..4_000 {
        while crowd.n_waiting(0) < 4 {
            crowd.submit(0, Priority::High, 36, 4);
        }
        while crowd.n_waiting(1) < 4 {
            crowd.submit(1, Priority::High, 4, 4);
        }
        crowd.advance();
    }
    let (long, short) = (crowd.served[&ClientId(0)], crowd.served[&ClientId(1)]);
    let ratio = long as f64 / short as f64;
    assert!((0.8..1.25).contains(&ratio), "{long} and {short} tokens");
}

#[test]
fn who_was_away_has_saved_nothing_up() {
    let mut crowd = Crowd::new(100);
    for _ in 0..1_000 {
        while crowd.n_waiting(0) < 4 {
            crowd.submit(0, Priority::High, 8, 8);
        }
        crowd.advance();
    }
    let before = crowd.served[&ClientId(0)];
    for _ in 0..200 {
        for client in [0, 1] {
            while crowd.n_waiting(client) < 4 {
                crowd.submit(client, Priority::High, 8, 8);
            }
        }
        crowd.advance();
    }
    let (stayed, came) = (crowd.served[&ClientId(0)] - before, crowd.served[&ClientId(1)]);
    assert!(stayed * 10 >= (stayed + came) * 4, "{stayed} of {} tokens", stayed + came);
}

#[test]
fn a_low_priority_sequence_starts_soon_after_it_is_overdue() {
    for pages_max in [10, 12, 20, 100] {
        let mut crowd = Crowd::new(pages_max);
        for time in 0..4_000 {
            while crowd.n_waiting(0) < 3 {
                crowd.submit(0, Priority::High, 8, 24);
            }
            if time % 200 == 0 {
                crowd.submit(7, Priority::Low, 8, 24);
            }
            crowd.advance();
        }
        // Low is overdue after four times the delay. Then four admissions at most go before it,
        // and of those who run the next one is done in 32 steps, if alone for want of pages.
        let waited = crowd.longest_wait[&ClientId(7)];
        let overdue = 4 * OVERDUE_US / STEP_US;
        assert!((overdue / 2..overdue + 4 * 32).contains(&waited), "{waited} steps, {pages_max}");
        assert!(crowd.n_waiting(7) <= 2);
    }
}

#[test]
fn higher_classes_go_first_while_nobody_is_overdue() {
    let mut crowd = Crowd::new(100);
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        for _ in 0..6 {
            crowd.submit(priority as u64, priority, 4, 2);
        }
    }
    while !crowd.scheduler.is_empty() {
        crowd.advance();
    }
    let classes: Vec<u64> = crowd.started.iter().map(|client| client.0).collect();
    assert_eq!(classes, [[0; 6], [1; 6], [2; 6]].concat());
}

#[test]
fn everybody_finishes_when_the_pool_is_too_small_for_two() {
    let mut crowd = Crowd::new(10);
    for client in 0..40 {
        crowd.submit(client, Priority::Normal, 4, 36);
    }
    let mut n_steps = 0;
    while !crowd.scheduler.is_empty() {
        crowd.advance();
        crowd.scheduler.check(&crowd.cache);
        n_steps += 1;
        // One after another would take 36 steps each.
        assert!(n_steps <= 40 * 36, "{n_steps} steps");
    }
    let preemptions = crowd.scheduler.statistics(&crowd.cache).n_preemptions;
    assert!(preemptions > 0, "the pool was large enough");
}
