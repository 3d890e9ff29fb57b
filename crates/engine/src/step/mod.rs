//! The step, the heart of the engine.

mod auto;
mod choices;
mod guesses;
mod sample;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Batch, Decoder, ExpertStatistics, Kv, PAGE};
use par::Pool;
use plan::Peaks;
use schedule::{
    Admission, Arrival, Cache, End, Limits, Micros, Outcome, Row, Scheduler, SequenceId, Step,
};
use simd::Best;
use spec::ModelSpec;
use text::{StopStrings, Thinking, Tokenizer};

use crate::Error;
use crate::answer::Answer;
use crate::auto::{Course, Trial};
use crate::expert_loads::Recorder;
use crate::handle::RequestId;
use crate::loader::Loaded;
use crate::meter::{Meter, Spent};
use crate::request::{Finish, Refusal, Request, Sink, refuse};
use crate::sampler::Scratch;
use crate::speculate::Speculate;

use choices::{Born, Unborn};
pub use schedule::Statistics;

/// Sequences that may wait, and what else the scheduler bounds.
const QUEUE_MAX: usize = 1024;
const WARM_MAX: usize = 16;
const OVERDUE_AFTER: Micros = Micros(2_000_000);

/// Whether a step had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Idle,
    Stepped,
}

/// The engine without a thread: whoever owns it calls [`Core::step`].
pub struct Core {
    pool: Pool,
    decoder: Decoder,
    kv: Kv,
    tokenizer: Arc<Tokenizer>,
    thinking: Option<Arc<Thinking>>,
    scheduler: Scheduler,
    cache: Cache,
    step: Step,
    batch: Batch,
    scratch: Scratch,
    answers: BTreeMap<SequenceId, Answer>,
    requests: BTreeMap<RequestId, Vec<SequenceId>>,
    /// Further answers to a prompt that is still being computed.
    unborn: BTreeMap<SequenceId, Unborn>,
    born: Vec<Born>,
    /// Answers whose thinking is being decided, their short and trial answers, and whose these are.
    courses: BTreeMap<SequenceId, Course>,
    trials: BTreeMap<SequenceId, Trial>,
    forks: BTreeMap<SequenceId, SequenceId>,
    /// What pauses to be judged once the step is committed, and how it ended if it did.
    paused: Vec<(SequenceId, Option<Finish>)>,
    /// Tokens that each row of the step appends, one after another, and where each row's end.
    appended: Vec<u32>,
    ends: Vec<usize>,
    /// Guesses of each row that were wrong.
    rejected: Vec<usize>,
    speculate: Speculate,
    /// Kept to reuse its memory.
    drafts: Vec<u32>,
    /// What the model's own layer guesses to come next, and its batches.
    guesses: BTreeMap<SequenceId, u32>,
    guess_batch: Batch,
    guess_hidden: Vec<u32>,
    /// Rows whose answer ended in this step.
    ended: Vec<(SequenceId, Finish)>,
    /// Salt and tokens of stored pages that nobody will ask for again, after so many tokens.
    forgettable: Vec<(u64, Vec<u32>, usize)>,
    recorder: Option<Recorder>,
    meter: Meter,
    as_drawn: bool,
}

impl Core {
    /// An engine for a loaded model.
    pub fn new(loaded: Loaded) -> Result<Core, Error> {
        let Loaded { pool, decoder, kv, vocabulary, context, sequences_max, speculate, .. } =
            loaded;
        let meter = Meter::new(loaded.rates);
        let recorder = loaded.record_experts.map(|path| {
            Recorder::new(path.clone(), &loaded.path, &decoder)
                .map_err(|source| Error::Record { path, source })
        });
        let limits = Limits {
            tokens_per_step: decoder.limits().tokens_per_step,
            logits_per_step: decoder.limits().logits_per_step,
            sequences_max,
            pages_max: kv.n_pages(),
            page_len: PAGE,
            context_max: context,
            queue_max: QUEUE_MAX,
            queue_tokens_max: context.saturating_mul(16),
            warm_max: WARM_MAX,
            overdue_after: OVERDUE_AFTER,
            admission: Admission::Optimistic,
        };
        let scheduler = Scheduler::new(limits)?;
        let cache = scheduler.new_cache();
        let batch = Batch::new(decoder.spec());
        let guess_batch = Batch::new(decoder.spec());
        let scratch = Scratch::new(Best::detect(), decoder.spec().vocab);
        Ok(Core {
            pool,
            decoder,
            kv,
            tokenizer: vocabulary.tokenizer.clone(),
            thinking: vocabulary.thinking.clone(),
            scheduler,
            cache,
            step: Step::default(),
            batch,
            scratch,
            answers: BTreeMap::new(),
            requests: BTreeMap::new(),
            unborn: BTreeMap::new(),
            born: Vec::new(),
            courses: BTreeMap::new(),
            trials: BTreeMap::new(),
            forks: BTreeMap::new(),
            paused: Vec::new(),
            appended: Vec::new(),
            ends: Vec::new(),
            rejected: Vec::new(),
            speculate,
            drafts: Vec::new(),
            guesses: BTreeMap::new(),
            guess_batch,
            guess_hidden: Vec::new(),
            ended: Vec::new(),
            forgettable: Vec::new(),
            recorder: recorder.transpose()?,
            meter,
            as_drawn: false,
        })
    }

    /// From now on log-probabilities are those of the distribution that a token was drawn from,
    /// after temperature and filters, and not the model's own.
    pub fn tell_logprobs_as_drawn(&mut self) {
        self.as_drawn = true;
    }

    /// The threads and the model, for whoever trains it between steps. Once its weights have
    /// changed, requests need another salt: cached pages are those of the weights before.
    pub fn model_mut(&mut self) -> (&Pool, &mut Decoder) {
        (&self.pool, &mut self.decoder)
    }

    /// Takes a request for as many answers as there are sinks, or tells them why not.
    pub fn submit(&mut self, id: RequestId, mut request: Request, sinks: Vec<Sink>, now: Micros) {
        let room = self.longest().saturating_sub(request.prompt.len());
        request.max_tokens = request.max_tokens.min(room);
        let auto = self.auto_of(&request);
        let spare = auto.as_ref().map_or(0, |_| self.spare(&request));
        match self.take(&request, spare, now) {
            Ok((sequence, stops)) => {
                let thinking = self.thinking.as_ref();
                let answer = |choice| {
                    let mut it = Answer::new(&request, choice, stops.clone(), thinking, now);
                    if auto.is_none() {
                        Core::note_no_room(&request, &mut it);
                    }
                    it
                };
                let mut choices: Vec<Answer> = sinks.into_iter().enumerate().map(answer).collect();
                let first = choices.remove(0);
                self.answers.insert(sequence, first);
                self.requests.entry(id).or_default().push(sequence);
                if let Some(auto) = auto {
                    self.set_out(sequence, (id, request, auto), stops, choices);
                } else if !choices.is_empty() {
                    self.unborn.insert(sequence, Unborn { id, choices });
                }
            }
            Err(refusal) => refuse(sinks, &refusal),
        }
    }

    /// Has a request queued, with room for `spare` tokens beside prompt and answer.
    fn take(
        &mut self,
        request: &Request,
        spare: usize,
        now: Micros,
    ) -> Result<(SequenceId, StopStrings), Refusal> {
        request.params.check()?;
        let stops = StopStrings::new(&request.stops);
        let stops = stops.map_err(|error| Refusal::Text(error.to_string()))?;
        let vocab = self.decoder.spec().vocab;
        if let Some(&id) = request.prompt.iter().find(|&&id| id as usize >= vocab) {
            return Err(Refusal::NoSuchToken { id, vocab });
        }
        let (n, max) = (request.prompt.len(), self.longest());
        if n >= max {
            return Err(Refusal::TooLong { n, max });
        }
        if request.max_tokens == 0 {
            return Err(Refusal::NoTokens);
        }
        let arrival = Arrival {
            tokens: request.prompt.clone(),
            len_max: (n + request.max_tokens + spare).min(max),
            // The logits of a token say how likely the next one is.
            logits_from: request.prompt_logprobs.map(|_| 0),
            salt: request.salt,
            priority: request.priority,
            client: request.client,
            expires: request.expires,
        };
        Ok((self.scheduler.submit(arrival, now)?, stops))
    }

    /// Computes a prefix when there is nothing else to do.
    pub fn warm(&mut self, tokens: Vec<u32>, salt: u64) {
        if tokens.len() <= self.longest() {
            // Too many waiting: it is only a convenience.
            let _ = self.scheduler.warm(tokens, salt);
        }
    }

    /// Tokens of the longest sequence.
    pub fn longest(&self) -> usize {
        self.scheduler.limits().longest()
    }

    /// Ends a request, wherever it is. Nothing happens if it has ended already.
    pub fn cancel(&mut self, id: RequestId) {
        for sequence in self.requests.remove(&id).unwrap_or_default() {
            self.scheduler.cancel(sequence, &mut self.cache);
            self.end(sequence, &Finish::Cancelled);
        }
    }

    /// What the last step computed: its rows, in their order, and whose pages came and went.
    pub fn last_step(&self) -> &Step {
        &self.step
    }

    pub fn statistics(&self) -> Statistics {
        self.scheduler.statistics(&self.cache)
    }

    /// What the steps took so far.
    pub fn spent(&self) -> Spent {
        self.meter.spent
    }

    /// Measures all steps from now on against these.
    pub fn set_peaks(&mut self, peaks: Peaks) {
        self.meter.peaks = Some(peaks);
    }

    /// How often tokens chose each expert of a layer; empty for a dense one. (E)
    pub fn expert_counts(&self, layer: usize) -> &[u64] {
        self.decoder.expert_counts(layer)
    }

    pub fn spec(&self) -> &ModelSpec {
        self.decoder.spec()
    }

    /// How experts came from their files; none if all are in memory.
    pub fn expert_statistics(&self) -> Option<ExpertStatistics> {
        self.decoder.expert_statistics()
    }

    /// Advances every sequence that the plan picks, and tells what came out.
    pub fn step(&mut self, now: impl Fn() -> Micros) -> Progress {
        self.draft();
        self.scheduler.plan(&mut self.cache, now(), &mut self.step);
        self.tell_started_and_expired(now());
        if self.step.rows.is_empty() {
            return Progress::Idle;
        }
        self.gather();
        let before = now();
        match self.decoder.forward(&self.pool, &self.batch, &mut self.kv) {
            Ok(_) => self.sample(now()),
            Err(error) => self.fail(&error.to_string()),
        }
        self.meter(Micros(now().0.saturating_sub(before.0)));
        self.commit();
        if self.speculate == Speculate::Mtp {
            self.guess();
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.refresh(&self.decoder, now());
        }
        Progress::Stepped
    }

    /// Counts what the step took, and charges each of its answers its part.
    fn meter(&mut self, took: Micros) {
        let answers = &self.answers;
        let is_answer = |row: &Row| {
            answers.get(&row.sequence).is_some_and(|answer| row.from >= answer.prompt_len())
        };
        let seconds = took.0 as f64 / 1e6;
        let touched = self.decoder.experts_touched();
        let (prompt_s, answer_s) = self.meter.add(&self.step.rows, is_answer, seconds, touched);
        for row in &self.step.rows {
            if let Some(answer) = self.answers.get_mut(&row.sequence) {
                let is_answer = row.from >= answer.prompt_len();
                let a_token = if is_answer { answer_s } else { prompt_s };
                answer.charge(a_token * row.n_tokens as f64);
            }
        }
    }

    /// Copies pages as the plan says, and makes a batch of its rows.
    fn gather(&mut self) {
        for (from, to) in &self.step.copies {
            self.kv.copy_page(from.0, to.0);
        }
        self.batch.clear();
        for row in &self.step.rows {
            let sequence = self.scheduler.sequence(row.sequence).expect("a row has a sequence");
            let tokens = &sequence.known()[row.from..][..row.n_tokens];
            let pages = sequence.pages().iter().map(|page| page.0);
            self.batch.push(tokens, row.from, pages, row.wants_logits);
        }
    }

    /// Gives up every row of a step that the model could not compute.
    fn fail(&mut self, error: &str) {
        self.appended.clear();
        self.ends.clear();
        self.ends.resize(self.step.rows.len(), 0);
        self.rejected.clear();
        self.rejected.resize(self.step.rows.len(), 0);
        for row in &self.step.rows {
            self.ended.push((row.sequence, Finish::Failed(error.into())));
        }
    }

    fn commit(&mut self) {
        self.forget_thinking();
        // A parent's tokens wait until its pages have been shared.
        let is_parent = |id| self.born.iter().any(|born| born.parent == id);
        let mut parents = Vec::new();
        let mut from = 0;
        let mut outcomes = Vec::with_capacity(self.step.rows.len());
        for ((row, &to), &n_rejected) in self.step.rows.iter().zip(&self.ends).zip(&self.rejected) {
            let parent = is_parent(row.sequence);
            let finished = self.ended.iter().any(|(id, _)| *id == row.sequence);
            let appended = &self.appended[from..to];
            if parent {
                parents.push((row.sequence, appended.to_vec(), finished));
            }
            let appended = if finished || parent { &[] } else { appended };
            outcomes.push(Outcome { n_rejected, appended, finished: finished && !parent });
            from = to;
        }
        let ended = self.scheduler.commit(&self.step, &outcomes, &mut self.cache);
        for (parent, first, finished) in parents {
            self.give_birth(parent, &first, finished);
        }
        for (id, finish) in std::mem::take(&mut self.ended) {
            self.end(id, &finish);
        }
        for ended in ended.iter().filter(|ended| ended.reason == End::Length) {
            self.end(ended.sequence, &Finish::Length);
        }
        for (salt, tokens, keep) in std::mem::take(&mut self.forgettable) {
            self.cache.forget(salt, &tokens, keep);
        }
        for (id, finish) in std::mem::take(&mut self.paused) {
            self.judge(id, finish);
        }
    }

    /// Notes the pages that nobody will ask for again once this step is committed.
    fn forget_thinking(&mut self) {
        for (id, _) in &self.ended {
            let answer = self.answers.get(id).and_then(|a| Some((a.salt, a.reusable()?)));
            if let (Some((salt, keep)), Some(sequence)) = (answer, self.scheduler.sequence(*id)) {
                // The page that prompt and answer share holds some of the answer.
                let keep = keep / PAGE * PAGE;
                self.forgettable.push((salt, sequence.known().to_vec(), keep));
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(recorder) = &self.recorder {
            // The file of a moment ago stays.
            let _ = recorder.write(&self.decoder);
        }
    }
}
