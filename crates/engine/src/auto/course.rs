//! The course of one answer in `auto`: where it stands, and what its signals said.

use std::sync::Arc;

use schedule::SequenceId;
use simd::Best;
use simd::math::log_sum_exp;
use text::{StopStrings, Thinking};

use super::trial::Agreement;
use super::{Auto, ShortAnswer, ThinkReport, TrialAnswer, Why};
use crate::answer::Answer;
use crate::chooser::{Chooser, Next};
use crate::handle::RequestId;
use crate::request::{Finish, Request};

/// Below this chance of ever being reached, a place says nothing more.
const REACH_MIN: f64 = 0.01;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Looking whether thinking would end at once.
    Walk,
    /// A short answer is computed.
    Short,
    Think,
}

/// An answer whose thinking is the engine's to decide. Its sequence is the one that may think.
pub(crate) struct Course {
    pub(crate) id: RequestId,
    pub(crate) request: Arc<Request>,
    pub(crate) auto: Arc<Auto>,
    pub(crate) stops: StopStrings,
    pub(crate) choice: usize,
    pub(crate) stage: Stage,
    /// The sequence that a decision waits for: a short answer or a trial.
    pub(crate) fork: Option<SequenceId>,
    /// Further answers to the prompt, until it is computed.
    pub(crate) siblings: Vec<Answer>,
    walk: Walk,
    agreement: Agreement,
    pub(crate) trials: u32,
    pub(crate) extra_tokens: usize,
}

/// The tokens by which a model would leave thinking at once.
#[derive(Clone)]
struct Walk {
    /// `<think>` if the prompt has not opened it, and white space.
    tokens: Arc<[u32]>,
    n_open: usize,
    at: usize,
    /// The chance that a model comes this far, and that it has left thinking before.
    reach: f64,
    p_end: f64,
}

impl Course {
    /// `siblings` are the request's further answers.
    pub(crate) fn new(
        (id, request, auto): (RequestId, Request, Arc<Auto>),
        stops: StopStrings,
        thinking: &Thinking,
        siblings: Vec<Answer>,
    ) -> Course {
        let inside = request.think.as_ref().is_some_and(|start| start.inside);
        let open = if inside { &[] } else { thinking.open() };
        let walk = Walk {
            tokens: [open, thinking.blank()].concat().into(),
            n_open: open.len(),
            at: 0,
            reach: 1.0,
            p_end: 0.0,
        };
        Course {
            id,
            request: Arc::new(request),
            auto,
            stops,
            choice: 0,
            stage: Stage::Walk,
            fork: None,
            siblings,
            walk,
            agreement: Agreement::default(),
            trials: 0,
            extra_tokens: 0,
        }
    }

    /// That of another answer to the same prompt, with the same chance of ending at once.
    pub(crate) fn of_choice(&self, choice: usize) -> Course {
        Course {
            id: self.id,
            request: self.request.clone(),
            auto: self.auto.clone(),
            stops: self.stops.clone(),
            choice,
            stage: self.stage,
            fork: None,
            siblings: Vec::new(),
            walk: self.walk.clone(),
            agreement: Agreement::default(),
            trials: 0,
            extra_tokens: 0,
        }
    }

    /// Tokens that may follow a thinking prompt to see whether thinking ends at once.
    pub(crate) fn walk_len(thinking: &Thinking, inside: bool) -> usize {
        thinking.blank().len() + if inside { 0 } else { thinking.open().len() }
    }

    /// Takes the logits (V) of the last token so far; goes on by another or pauses.
    pub(crate) fn walk(
        &mut self,
        chooser: &mut Chooser<'_>,
        thinking: &Thinking,
        logits: &[f32],
    ) -> Next {
        if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
            let why = format!("the logit of token {at} is {}", logits[at]);
            return Next::Ends(Finish::Failed(why));
        }
        let total = log_sum_exp(Best::detect(), logits);
        let p = |ids: &[u32]| -> f64 {
            ids.iter().map(|&id| f64::from(logits[id as usize] - total).exp()).sum()
        };
        let walk = &mut self.walk;
        let next = walk.tokens.get(walk.at).copied();
        let p_next = next.map_or(0.0, |next| p(&[next]));
        // Before thinking is open, whatever does not open it is an answer.
        let leaves = if walk.at < walk.n_open { 1.0 - p_next } else { p(thinking.closing()) };
        walk.p_end += walk.reach * leaves;
        walk.reach *= p_next;
        match next {
            Some(next) if walk.reach >= REACH_MIN => {
                walk.at += 1;
                self.extra_tokens += 1;
                chooser.appended.push(next);
                Next::GoesOn
            }
            _ => Next::Pauses,
        }
    }

    /// The chance that thinking ends at once.
    pub(crate) fn p_end(&self) -> f32 {
        self.walk.p_end as f32
    }

    /// Whether it ends at once by the threshold.
    pub(crate) fn ends_at_once(&self) -> bool {
        self.p_end() >= self.auto.thresholds.ends_at_once
    }

    /// Tokens at which the short prompt and the other part.
    pub(crate) fn common(prompt: &[u32], auto: &Auto) -> usize {
        let same = prompt.iter().zip(&auto.prompt).take_while(|(a, b)| a == b).count();
        // At least one token is computed, for its logits.
        same.min(auto.prompt.len().saturating_sub(1))
    }

    /// What a short answer decides, and why.
    pub(crate) fn judge(&self, short: &ShortAnswer, thought: bool) -> (bool, Why) {
        let thresholds = &self.auto.thresholds;
        if thought {
            return (true, Why::ThoughtAnyway);
        }
        if !short.finished {
            return (true, Why::Unfinished);
        }
        let sure = short.mean >= thresholds.short_mean && short.min >= thresholds.short_min;
        if sure { (false, Why::Confident) } else { (true, Why::Unsure) }
    }

    /// Takes a trial; whether trials agree now.
    pub(crate) fn take_trial(&mut self, trial: &TrialAnswer) -> bool {
        self.trials += 1;
        let thresholds = &self.auto.thresholds;
        self.agreement.take(trial, thresholds.trial_mean, thresholds.trials_agree)
    }

    /// The report of a decision.
    pub(crate) fn report(
        &self,
        (thinks, why): (bool, Why),
        short: Option<ShortAnswer>,
    ) -> ThinkReport {
        ThinkReport {
            thinks,
            why,
            p_end: self.p_end(),
            short,
            trials: self.trials,
            extra_tokens: self.extra_tokens,
        }
    }
}
