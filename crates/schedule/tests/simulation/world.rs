//! An engine with a made-up model, clients that do what clients do, and a mirror of every sequence.

use crate::kv::{Kv, Written, expect_all_free, mix, next_token};
use ruminate_schedule::{
    Admission, Arrival, Cache, ClientId, End, Limits, Micros, Outcome, Priority, Row, Scheduler,
    SequenceId, Step,
};
use std::collections::BTreeMap;

pub(crate) struct Random(pub u64);
impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = mix(self.0);
        (self.0 % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// What the test knows of a sequence, by its own bookkeeping.
#[derive(Clone)]
struct Mirror {
    known: Vec<u32>,
    /// None before it is admitted, and after it was preempted.
    computed: Option<usize>,
    logits_from: usize,
    /// The first position that holds a draft, or `known.len()`.
    drafts_from: usize,
    salt: u64,
    len_max: usize,
    /// How long it will become.
    end: usize,
    expires: Option<Micros>,
    started: bool,
    warm: bool,
    /// When it began to wait for pages.
    waits_since: usize,
    /// Trials that it waits for before it goes on.
    trials: Vec<SequenceId>,
}

#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) steps: usize,
    pub(crate) finished: usize,
    pub(crate) preempted: usize,
    pub(crate) expired: usize,
    pub(crate) copies: usize,
    pub(crate) hits: u64,
    pub(crate) evicted: u64,
    pub(crate) forks: usize,
    pub(crate) rejected: usize,
    pub(crate) warmed: usize,
    pub(crate) parked: usize,
    pub(crate) longest_wait: usize,
}

pub(crate) struct World {
    random: Random,
    scheduler: Scheduler,
    cache: Cache,
    kv: Kv,
    mirrors: BTreeMap<SequenceId, Mirror>,
    step: Step,
    now: Micros,
    /// One arrival in so many steps.
    calm: usize,
    pub(crate) tally: Tally,
}

fn limits(random: &mut Random) -> Limits {
    let page_len = random.between(1, 5);
    let pages_max = random.between(2, 40);
    let sequences_max = random.between(1, 8);
    let context_max = random.between(2, 60);
    Limits {
        tokens_per_step: sequences_max + random.below(20),
        logits_per_step: sequences_max + random.below(20),
        sequences_max,
        pages_max,
        page_len,
        context_max,
        queue_max: random.between(1, 12),
        queue_tokens_max: context_max + random.below(200),
        warm_max: random.below(3),
        overdue_after: Micros(random.below(20_000) as u64),
        admission: if random.one_in(3) { Admission::WorstCase } else { Admission::Optimistic },
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut random = Random(mix(seed));
        let scheduler = Scheduler::new(limits(&mut random)).unwrap();
        World {
            cache: scheduler.new_cache(),
            kv: Kv::new(&scheduler),
            scheduler,
            mirrors: BTreeMap::new(),
            step: Step::default(),
            now: Micros(0),
            calm: random.between(1, 6),
            random,
            tally: Tally::default(),
        }
    }

    /// A busy time, then nobody comes any more and all that was accepted must end.
    pub(crate) fn live(&mut self, n_steps: usize) {
        for _ in 0..n_steps {
            self.arrive();
            self.disturb();
            self.resume_parents();
            self.advance();
        }
        let n_tokens: usize = self.mirrors.values().map(|mirror| mirror.len_max).sum();
        for _ in 0..200 + 20 * n_tokens {
            if self.scheduler.is_empty() {
                break;
            }
            self.advance();
        }
        let left: Vec<_> = self.mirrors.keys().collect();
        assert!(self.scheduler.is_empty() && left.is_empty(), "never ended: {left:?}");
        expect_all_free(&self.cache);
        let statistics = self.scheduler.statistics(&self.cache);
        assert_eq!(statistics.n_preemptions as usize, self.tally.preempted);
        assert_eq!(statistics.n_expired as usize, self.tally.expired);
        (self.tally.hits, self.tally.evicted) =
            (statistics.n_hit_tokens, statistics.n_evicted_pages);
    }

    fn arrive(&mut self) {
        if !self.random.one_in(self.calm) {
            return;
        }
        for _ in 0..self.random.between(1, 4) {
            let arrival = self.arrival();
            let (expires, salt) = (arrival.expires, arrival.salt);
            let (known, len_max) = (arrival.tokens.clone(), arrival.len_max);
            let logits_from = arrival.logits_from.unwrap_or(known.len() - 1);
            let Ok(id) = self.scheduler.submit(arrival, self.now) else { continue };
            let mirror = Mirror {
                drafts_from: known.len(),
                end: self.random.between(known.len(), len_max),
                known,
                computed: None,
                logits_from,
                salt,
                len_max,
                expires,
                started: false,
                warm: false,
                waits_since: self.tally.steps,
                trials: Vec::new(),
            };
            self.mirrors.insert(id, mirror);
        }
    }

    fn arrival(&mut self) -> Arrival {
        let random = &mut self.random;
        let longest = self.scheduler.limits().longest();
        let len_max = random.between(1, longest);
        let len = random.between(1, len_max);
        // A few common beginnings, then noise.
        let (kind, common) = (random.below(3) as u64, random.below(len + 1));
        let tokens = (0..len)
            .map(|position| match position < common {
                true => (mix(kind * 1000 + position as u64) & 1) as u32,
                false => random.below(2) as u32,
            })
            .collect();
        Arrival {
            tokens,
            len_max,
            logits_from: random.one_in(6).then(|| random.below(len)),
            salt: random.below(2) as u64,
            priority: [Priority::High, Priority::Normal, Priority::Low][random.below(3)],
            client: ClientId(random.below(3) as u64),
            expires: random.one_in(4).then(|| Micros(self.now.0 + random.below(20_000) as u64)),
        }
    }

    /// Whatever may happen between two steps.
    fn disturb(&mut self) {
        for id in self.mirrors.keys().copied().collect::<Vec<_>>() {
            if !self.mirrors.contains_key(&id) {
                continue;
            }
            let warm = self.mirrors[&id].warm;
            match self.random.below(60) {
                0 => self.cancel(id),
                1 if !warm => self.retire(id),
                2 if !warm => self.rewind(id),
                3 if !warm => self.force(id),
                4..10 if !warm => self.draft(id),
                _ => {}
            }
        }
        if self.random.one_in(8) {
            let arrival = self.arrival();
            let (tokens, salt) = (arrival.tokens, arrival.salt);
            if let Some(id) = self.scheduler.warm(tokens.clone(), salt) {
                let known = self.scheduler.sequence(id).unwrap().known().to_vec();
                assert!(tokens.starts_with(&known));
                let len = known.len();
                let (started, waits_since) = (false, self.tally.steps);
                let (computed, expires, trials) = (None, None, Vec::new());
                let (logits_from, drafts_from, len_max, end) = (len, len, len, len);
                let warm = true;
                let mirror = Mirror {
                    known,
                    computed,
                    logits_from,
                    drafts_from,
                    salt,
                    len_max,
                    end,
                    expires,
                    started,
                    warm,
                    waits_since,
                    trials,
                };
                self.mirrors.insert(id, mirror);
            }
        }
    }

    fn forget(&mut self, id: SequenceId) -> Mirror {
        for mirror in self.mirrors.values_mut() {
            mirror.trials.retain(|trial| *trial != id);
        }
        self.mirrors.remove(&id).unwrap()
    }

    fn cancel(&mut self, id: SequenceId) {
        assert!(self.scheduler.cancel(id, &mut self.cache));
        assert!(!self.scheduler.cancel(id, &mut self.cache), "cancelled twice");
        self.forget(id);
    }

    fn retire(&mut self, id: SequenceId) {
        let mirror = self.forget(id);
        let n_reusable = self.random.below(mirror.known.len() + 1);
        assert_eq!(self.scheduler.retire(id, n_reusable, &mut self.cache), mirror.known);
    }

    /// Only answers are rewound: to anywhere after their first token.
    fn rewind(&mut self, id: SequenceId) {
        let mirror = self.mirrors.get_mut(&id).unwrap();
        let known = mirror.known.len();
        if mirror.logits_from + 1 < known || known == mirror.len_max || !mirror.trials.is_empty() {
            return;
        }
        let len = 1 + self.random.below(known);
        self.scheduler.rewind(id, len, &mut self.cache);
        mirror.known.truncate(len);
        mirror.computed = mirror.computed.map(|computed| computed.min(len));
        self.force(id);
    }

    fn force(&mut self, id: SequenceId) {
        let mirror = self.mirrors.get_mut(&id).unwrap();
        let token = self.random.below(2) as u32;
        let n_tokens = self.random.between(1, 4);
        let tokens = vec![token; n_tokens.min(mirror.len_max - mirror.known.len())];
        let too_long = vec![token; mirror.len_max - mirror.known.len() + 1];
        assert!(self.scheduler.extend(id, &too_long).is_err());
        if tokens.is_empty() || !mirror.trials.is_empty() {
            return;
        }
        self.scheduler.extend(id, &tokens).unwrap();
        mirror.known.extend(&tokens);
        mirror.logits_from = mirror.known.len() - 1;
        mirror.drafts_from = mirror.known.len();
        mirror.end = mirror.end.max(mirror.known.len());
    }

    /// Guesses, half of them right, for a sequence that answers.
    fn draft(&mut self, id: SequenceId) {
        let mirror = self.mirrors.get_mut(&id).unwrap();
        let known = mirror.known.len();
        if mirror.computed != Some(known - 1) || mirror.logits_from != known - 1 {
            return;
        }
        for _ in 0..self.random.between(1, 4).min(mirror.len_max - known) {
            let right = next_token(mirror.salt, &mirror.known);
            let guess = if self.random.one_in(4) { 1 - right } else { right };
            mirror.known.push(guess);
        }
        self.scheduler.propose(id, &mirror.known[known..]).unwrap();
    }

    fn advance(&mut self) {
        self.now.0 += 1 + self.random.below(1000) as u64;
        self.tally.steps += 1;
        let mut step = std::mem::take(&mut self.step);
        self.scheduler.plan(&mut self.cache, self.now, &mut step);
        self.scheduler.check(&self.cache);
        self.note_lists(&step);
        self.note_rows(&step);
        let rows: Vec<Written<'_>> = step
            .rows
            .iter()
            .map(|row| {
                let mirror = &self.mirrors[&row.sequence];
                let pages = self.scheduler.sequence(row.sequence).unwrap().pages();
                Written { row, pages, salt: mirror.salt, known: &mirror.known }
            })
            .collect();
        self.kv.run(&step, &rows);
        if let Some(row) = step.rows.first()
            && self.random.one_in(30)
        {
            self.cancel(row.sequence); // The client goes while the model computes.
        }
        if !step.rows.is_empty() {
            self.commit(&step);
        }
        self.scheduler.check(&self.cache);
        for (id, mirror) in &self.mirrors {
            let sequence = self.scheduler.sequence(*id).expect("nobody is lost");
            assert_eq!(sequence.known(), mirror.known, "{id:?} lost tokens");
            if let Some(computed) = mirror.computed {
                assert_eq!(sequence.computed(), computed);
            }
        }
        self.step = step;
        self.resume_parents();
    }

    fn note_lists(&mut self, step: &Step) {
        for id in &step.expired {
            let mirror = self.forget(*id);
            assert!(!mirror.started && mirror.expires.unwrap() <= self.now);
            self.tally.expired += 1;
        }
        for id in &step.dropped {
            assert!(self.forget(*id).warm, "{id:?} was dropped");
        }
        for id in &step.preempted {
            let mirror = self.mirrors.get_mut(id).unwrap();
            self.tally.parked += usize::from(!mirror.trials.is_empty());
            (mirror.computed, mirror.waits_since) = (None, self.tally.steps);
            self.tally.preempted += 1;
        }
        for id in &step.admitted {
            let mirror = self.mirrors.get_mut(id).unwrap();
            assert_eq!(mirror.computed, None, "{id:?} was admitted twice");
            mirror.started = true;
            let wait = self.tally.steps - mirror.waits_since;
            self.tally.longest_wait = self.tally.longest_wait.max(wait);
        }
        self.tally.copies += step.copies.len();
    }

    fn note_rows(&mut self, step: &Step) {
        let limits = *self.scheduler.limits();
        assert!(step.n_tokens() <= limits.tokens_per_step, "over the budget");
        let (n_rows, n_logits) = (step.rows.len(), step.n_logits());
        assert!(n_rows <= limits.sequences_max && n_logits <= limits.logits_per_step);
        let work = |mirror: &Mirror| !mirror.warm && mirror.trials.is_empty();
        if step.rows.is_empty() {
            let stuck = self.mirrors.iter().find(|(_, mirror)| work(mirror));
            assert!(stuck.is_none(), "nobody advances, though {:?} could", stuck.map(|s| s.0));
        }
        for row in &step.rows {
            let mirror = self.mirrors.get_mut(&row.sequence).unwrap();
            let Row { from, n_tokens, .. } = *row;
            assert!(n_tokens > 0 && from + n_tokens <= mirror.known.len());
            match mirror.computed {
                Some(computed) => assert_eq!(from, computed, "computed twice, or left out"),
                None => assert!(from <= mirror.logits_from, "wanted logits were skipped"),
            }
            let wanted = (from + n_tokens).saturating_sub(mirror.logits_from.max(from));
            assert_eq!(row.wants_logits, wanted);
            if mirror.warm {
                assert_eq!(step.rows.len(), 1, "a warm-up runs alone");
                assert!(!self.mirrors.values().any(work), "a warm-up ran before work");
            }
        }
    }

    fn commit(&mut self, step: &Step) {
        let mut forks = Vec::new();
        let mut ends = BTreeMap::new();
        let mut outcomes = Vec::new();
        for row in &step.rows {
            let Some(mirror) = self.mirrors.get_mut(&row.sequence) else {
                outcomes.push((0, Vec::new(), false)); // Cancelled meanwhile.
                continue;
            };
            let (n_rejected, mut appended) = mirror.judge(row);
            self.tally.rejected += n_rejected;
            let caught_up = mirror.computed == Some(mirror.known.len());
            let at_end = mirror.known.len() >= mirror.end;
            if caught_up && !mirror.warm && n_rejected == 0 && !at_end && self.random.one_in(10) {
                forks.push(row.sequence);
            } else if caught_up && !mirror.warm && !at_end && appended.is_empty() {
                appended.push(next_token(mirror.salt, &mirror.known));
            }
            if !appended.is_empty() {
                mirror.known.extend(&appended);
                mirror.logits_from = mirror.known.len() - 1;
                mirror.drafts_from = mirror.known.len();
            }
            let full = mirror.known.len() == mirror.len_max;
            let finished = caught_up && !mirror.warm && mirror.known.len() >= mirror.end && !full;
            if caught_up && (finished || full) {
                let reason = if finished { End::Finished } else { End::Length };
                ends.insert(row.sequence, if mirror.warm { End::Warmed } else { reason });
            }
            outcomes.push((n_rejected, appended, finished));
        }
        let outcomes: Vec<Outcome<'_>> = outcomes
            .iter()
            .map(|(n_rejected, appended, finished)| Outcome {
                n_rejected: *n_rejected,
                appended,
                finished: *finished,
            })
            .collect();
        let ended = self.scheduler.commit(step, &outcomes, &mut self.cache);
        let ended: BTreeMap<_, _> = ended.iter().map(|end| (end.sequence, end.reason)).collect();
        assert_eq!(ended, ends);
        for (id, reason) in ended {
            self.forget(id);
            self.tally.finished += usize::from(reason != End::Warmed);
            self.tally.warmed += usize::from(reason == End::Warmed);
        }
        for parent in forks {
            self.fork(parent);
        }
    }

    /// Either several answers that go on at once, or trials that the parent waits for.
    fn fork(&mut self, parent: SequenceId) {
        let n = self.random.between(1, 3);
        let children = self.scheduler.fork(parent, n, &mut self.cache);
        assert_eq!(children.len(), n);
        self.tally.forks += n;
        let mirror = self.mirrors[&parent].clone();
        for &id in &children {
            let running = self.scheduler.sequence(id).unwrap().is_running();
            let mut child = mirror.clone();
            child.computed = child.computed.filter(|_| running);
            child.end = self.random.between(child.known.len(), child.len_max);
            child.waits_since = self.tally.steps;
            self.mirrors.insert(id, child);
            self.force(id);
        }
        if self.random.one_in(2) {
            self.mirrors.get_mut(&parent).unwrap().trials = children;
        } else {
            self.force(parent);
        }
    }

    fn resume_parents(&mut self) {
        for id in self.mirrors.keys().copied().collect::<Vec<_>>() {
            let mirror = &self.mirrors[&id];
            let idle = mirror.computed.is_none_or(|computed| computed == mirror.known.len());
            let parked = idle && !self.scheduler.sequence(id).unwrap().is_running();
            let waits = mirror.computed == Some(mirror.known.len()) || parked && mirror.started;
            if !mirror.warm && mirror.trials.is_empty() && waits {
                self.mirrors.get_mut(&id).unwrap().waits_since = self.tally.steps;
                self.force(id);
            }
        }
    }
}

impl Mirror {
    /// Takes in a computed row: drafts are compared with what the model says, up to the first that
    /// differs. How many were rejected, and the right token instead.
    fn judge(&mut self, row: &Row) -> (usize, Vec<u32>) {
        let computed = row.from + row.n_tokens;
        self.computed = Some(computed);
        self.logits_from = self.logits_from.max(computed);
        for position in self.drafts_from..self.known.len().min(computed + 1) {
            let right = next_token(self.salt, &self.known[..position]);
            if self.known[position] != right {
                let n_rejected = self.known.len() - position;
                self.known.truncate(position);
                self.computed = Some(position);
                return (n_rejected, vec![right]);
            }
        }
        self.drafts_from = self.drafts_from.max(self.known.len().min(computed + 1));
        (0, Vec::new())
    }
}
