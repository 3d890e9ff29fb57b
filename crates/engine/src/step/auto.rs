//! Answers whose thinking the engine decides: what `auto` says, carried out on sequences.
//!
//! The sequence that may think is the *trunk*. Short and trial answers are forks of it, which
//! share its pages; it rests while they are computed, so that what is decided does not depend on
//! how fast they come.

use std::sync::Arc;

use schedule::SequenceId;
use text::StopStrings;

use super::Core;
use crate::answer::Answer;
use crate::auto::{Auto, Course, ShortAnswer, Stage, TRIAL_TOKENS, ThinkReport, Trial, Watch, Why};
use crate::chooser::Next;
use crate::contain::contain;
use crate::handle::RequestId;
use crate::request::{Finish, Request};
use crate::sampler::Params;

/// A trial of fewer tokens says nothing.
const TRIAL_TOKENS_MIN: usize = 8;

impl Core {
    /// What a request in `auto` brings, if there is room to try a short answer.
    pub(super) fn auto_of(&self, request: &Request) -> Option<Arc<Auto>> {
        let start = request.think.as_ref()?;
        let (auto, thinking) = (start.auto.clone()?, self.thinking.as_ref()?);
        let walked = request.prompt.len() + Course::walk_len(thinking, start.inside);
        let vocab = self.decoder.spec().vocab;
        let fits = walked.max(auto.prompt.len()) + 1 < self.longest()
            && request.prompt_logprobs.is_none()
            && request.prompt.len() > 1
            && Course::common(&request.prompt, &auto) > 0
            && auto.prompt.iter().all(|&id| (id as usize) < vocab);
        fits.then_some(auto)
    }

    /// Tokens that forks of a request may need beside its prompt and answer.
    pub(super) fn spare(&self, request: &Request) -> usize {
        let (Some(start), Some(thinking)) = (&request.think, &self.thinking) else { return 0 };
        let short = start.auto.as_ref().map_or(0, |auto| auto.prompt.len());
        let walk = Course::walk_len(thinking, start.inside);
        let longer = short.saturating_sub(request.prompt.len());
        longer.max(walk) + thinking.trial().len() + TRIAL_TOKENS + 2
    }

    /// Says that a request wanted `auto` and there was no room for it.
    pub(super) fn note_no_room(request: &Request, answer: &mut Answer) {
        if request.think.as_ref().is_some_and(|start| start.auto.is_some()) {
            let why = Why::NoRoom;
            let (p_end, trials, extra_tokens) = (0.0, 0, 0);
            let report =
                ThinkReport { thinks: true, why, p_end, short: None, trials, extra_tokens };
            answer.report = Some(report);
        }
    }

    /// Begins the course of a request that was queued as `trunk`.
    pub(super) fn set_out(
        &mut self,
        trunk: SequenceId,
        what: (RequestId, Request, Arc<Auto>),
        stops: StopStrings,
        siblings: Vec<Answer>,
    ) {
        if let Some(thinking) = &self.thinking {
            self.courses.insert(trunk, Course::new(what, stops, thinking, siblings));
        }
    }

    /// Decides how a sequence goes on that paused in this step.
    pub(super) fn judge(&mut self, id: SequenceId, finish: Option<Finish>) {
        if let Some(&trunk) = self.forks.get(&id) {
            if self.trials.contains_key(&id) {
                self.judge_trial(trunk, id);
            } else {
                self.judge_short(trunk, id, finish);
            }
            return;
        }
        match self.courses.get(&id).map(|course| course.stage) {
            Some(Stage::Walk) => self.leave_walk(id),
            Some(Stage::Think) => self.begin_trial(id),
            // It was cancelled since.
            Some(Stage::Short) | None => {}
        }
    }

    /// The chance of ending at once is known: each answer to the prompt goes its own way.
    fn leave_walk(&mut self, trunk: SequenceId) {
        let Some(course) = self.courses.get_mut(&trunk) else { return };
        let siblings = std::mem::take(&mut course.siblings);
        let (id, n) = (course.id, siblings.len());
        let children = self.scheduler.fork(trunk, n, &mut self.cache);
        for (choice, (child, answer)) in (1..).zip(children.iter().zip(siblings)) {
            let course = self.courses[&trunk].of_choice(choice);
            self.courses.insert(*child, course);
            self.answers.insert(*child, answer);
            self.requests.entry(id).or_default().push(*child);
        }
        for trunk in [trunk].into_iter().chain(children) {
            let course = &self.courses[&trunk];
            match course.ends_at_once() || course.auto.thresholds.tries_short() {
                true => self.begin_short(trunk),
                false => self.begin_thinking(trunk, Why::Untried, None),
            }
        }
    }

    fn begin_short(&mut self, trunk: SequenceId) {
        let (Some(course), Some(answer)) = (self.courses.get_mut(&trunk), self.answers.get(&trunk))
        else {
            return;
        };
        let (request, auto) = (course.request.clone(), course.auto.clone());
        let room = self.scheduler.sequence(trunk).map_or(0, schedule::Sequence::len_max);
        let params = auto.params.as_ref().unwrap_or(&request.params);
        let start = request.think.clone().map(|mut start| {
            (start.inside, start.auto) = (false, None);
            start
        });
        let short = Request {
            prompt: auto.prompt.clone(),
            max_tokens: request.max_tokens.min(room - auto.prompt.len()),
            params: Params { seed: request.params.seed, ..*params },
            think: start,
            ..Request::clone(&request)
        };
        let thinking = self.thinking.as_ref();
        let n_judged = auto.thresholds.short_tokens;
        let (choice, stops) = (course.choice, course.stops.clone());
        let mut short = answer.short(&short, choice, stops, thinking, n_judged);
        let at_once = course.ends_at_once();
        if !at_once {
            short.watch = Watch::short(&auto.thresholds);
        }
        let fork = self.scheduler.fork(trunk, 1, &mut self.cache)[0];
        course.stage = Stage::Short;
        course.fork = Some(fork);
        self.forks.insert(fork, trunk);
        self.answers.insert(fork, short);
        let common = Course::common(&request.prompt, &auto);
        self.scheduler.rewind(fork, common, &mut self.cache);
        self.begin(fork, &auto.prompt[common..]);
        if at_once {
            self.accept(trunk, fork, Why::EndsAtOnce, None);
        }
    }

    fn judge_short(&mut self, trunk: SequenceId, fork: SequenceId, finish: Option<Finish>) {
        let (Some(course), Some(short)) = (self.courses.get(&trunk), self.answers.get(&fork))
        else {
            return;
        };
        if let Some(failed @ Finish::Failed(_)) = &finish {
            self.scheduler.cancel(fork, &mut self.cache);
            self.end(fork, failed);
            return;
        }
        let finished = matches!(finish, Some(Finish::Stop | Finish::StopString(_)));
        let sureness = short.sureness(finished);
        let Some(sureness) = sureness else { return };
        match course.judge(&sureness, short.has_thought()) {
            (false, why) => self.accept(trunk, fork, why, finish),
            (true, why) => self.reject(trunk, fork, why, finished),
        }
    }

    /// Makes the short answer the answer.
    fn accept(&mut self, trunk: SequenceId, fork: SequenceId, why: Why, finish: Option<Finish>) {
        let (Some(course), Some(answer)) =
            (self.courses.remove(&trunk), self.answers.remove(&trunk))
        else {
            return;
        };
        self.guesses.remove(&trunk);
        self.forks.remove(&fork);
        self.scheduler.cancel(trunk, &mut self.cache);
        if let Some(sequences) = self.requests.get_mut(&course.id) {
            sequences.retain(|sequence| *sequence != trunk);
            sequences.push(fork);
        }
        let Some(short) = self.answers.get_mut(&fork) else { return };
        short.report = Some(course.report((false, why), None));
        let finish = if short.release(answer) { finish } else { Some(Finish::Cancelled) };
        let held = std::mem::take(&mut short.held);
        match finish {
            Some(finish) => {
                self.scheduler.cancel(fork, &mut self.cache);
                self.end(fork, &finish);
            }
            None if held.is_empty() => {}
            None => self.begin(fork, &held),
        }
    }

    /// Forgets the short answer and lets the trunk think.
    fn reject(&mut self, trunk: SequenceId, fork: SequenceId, why: Why, finished: bool) {
        self.forks.remove(&fork);
        self.guesses.remove(&fork);
        let short = self.answers.remove(&fork);
        let Some(course) = self.courses.get_mut(&trunk) else { return };
        let prompt = &course.request.prompt;
        let common = Course::common(prompt, &course.auto);
        self.scheduler.retire(fork, common, &mut self.cache);
        let tokens = short.as_ref().map_or(0, Answer::completion_tokens);
        course.extra_tokens += course.auto.prompt.len() - common + tokens;
        let sureness = short.and_then(|short| short.sureness(finished));
        self.begin_thinking(trunk, why, sureness);
    }

    fn begin_thinking(&mut self, trunk: SequenceId, why: Why, short: Option<ShortAnswer>) {
        let (Some(course), Some(answer)) =
            (self.courses.get_mut(&trunk), self.answers.get_mut(&trunk))
        else {
            return;
        };
        course.stage = Stage::Think;
        course.fork = None;
        answer.report = Some(course.report((true, why), short));
        answer.watch = Watch::trials(&course.auto.thresholds);
        // The logits of the prompt are gone: its last token is computed again.
        let prompt = &course.request.prompt;
        let last = prompt[prompt.len() - 1];
        self.scheduler.rewind(trunk, prompt.len() - 1, &mut self.cache);
        self.begin(trunk, &[last]);
    }

    /// Forks thinking that pauses, and has the fork answer in a line.
    fn begin_trial(&mut self, trunk: SequenceId) {
        let (Some(course), Some(answer), Some(thinking), Some(sequence)) = (
            self.courses.get_mut(&trunk),
            self.answers.get_mut(&trunk),
            &self.thinking,
            self.scheduler.sequence(trunk),
        ) else {
            return;
        };
        let text: Vec<u32> = answer.held.iter().chain(thinking.trial()).copied().collect();
        let room = sequence.len_max().saturating_sub(sequence.known().len() + text.len() + 1);
        if room < TRIAL_TOKENS_MIN {
            answer.watch = Watch::Nothing;
            self.go_on(trunk);
            return;
        }
        course.extra_tokens += thinking.trial().len();
        let after = u32::try_from(answer.thinking_tokens()).unwrap_or(u32::MAX);
        let fork = self.scheduler.fork(trunk, 1, &mut self.cache)[0];
        course.fork = Some(fork);
        self.forks.insert(fork, trunk);
        self.trials.insert(fork, Trial::new(after, room.min(TRIAL_TOKENS)));
        self.begin(fork, &text);
    }

    fn judge_trial(&mut self, trunk: SequenceId, fork: SequenceId) {
        self.forks.remove(&fork);
        let (Some(trial), Some(course), Some(answer)) =
            (self.trials.remove(&fork), self.courses.get_mut(&trunk), self.answers.get_mut(&trunk))
        else {
            return;
        };
        let keep = self.scheduler.sequence(trunk).map_or(0, |trunk| trunk.known().len());
        self.scheduler.retire(fork, keep, &mut self.cache);
        course.fork = None;
        course.extra_tokens += trial.n_tokens();
        let trial = trial.answer(&self.tokenizer);
        let agreed = course.take_trial(&trial);
        if let Some(report) = &mut answer.report {
            (report.trials, report.extra_tokens) = (course.trials, course.extra_tokens);
        }
        let mut next = Next::GoesOn;
        if !answer.tell_trial(trial) {
            next = Next::Ends(Finish::Cancelled);
        } else if agreed {
            answer.watch = Watch::Nothing;
            let tokenizer = &self.tokenizer;
            next = contain(|| answer.conclude(tokenizer)).unwrap_or_else(Next::panicked);
        }
        match next {
            Next::GoesOn | Next::Pauses => self.go_on(trunk),
            Next::Ends(finish) => {
                self.scheduler.cancel(trunk, &mut self.cache);
                self.end(trunk, &finish);
            }
        }
    }

    /// Lets an answer go on that paused.
    fn go_on(&mut self, id: SequenceId) {
        if let Some(answer) = self.answers.get_mut(&id) {
            let held = std::mem::take(&mut answer.held);
            self.begin(id, &held);
        }
    }

    /// Ends the whole course of a fork that ended though nobody had judged it; false if `id` is
    /// none.
    pub(super) fn end_fork(&mut self, id: SequenceId, finish: &Finish) -> bool {
        let Some(trunk) = self.forks.remove(&id) else { return false };
        self.trials.remove(&id);
        self.answers.remove(&id);
        if let Some(course) = self.courses.get_mut(&trunk) {
            course.fork = None;
        }
        self.scheduler.cancel(trunk, &mut self.cache);
        self.end(trunk, finish);
        true
    }

    /// Takes the fork of a trunk that ends along, and tells the answers that never began.
    pub(super) fn end_course(&mut self, trunk: SequenceId, finish: &Finish) {
        let Some(course) = self.courses.remove(&trunk) else { return };
        if let Some(fork) = course.fork {
            self.scheduler.cancel(fork, &mut self.cache);
            self.forks.remove(&fork);
            self.trials.remove(&fork);
            self.answers.remove(&fork);
            self.guesses.remove(&fork);
        }
        for answer in course.siblings {
            answer.finish(finish.clone());
        }
    }
}
