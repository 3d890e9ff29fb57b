//! Each question answered fast and slowly, with what the signals said.

use std::sync::mpsc::channel;

use anyhow::bail;
use engine::sampler::PartialParams;
use engine::{Engine, ShortAnswer, Think, Thresholds, Vocabulary};
use serde_json::{Value, json};

use crate::asking::{Ask, Heard};
use crate::questions::Question;
use crate::terminal::bars;

/// Thresholds by which every answer is a short one, whose signals are reported all the same.
fn fast() -> Thresholds {
    Thresholds { ends_at_once: 0.0, ..Thresholds::default() }
}

/// Thresholds by which every answer is thought over, and tried on the way without any effect.
fn slow() -> Thresholds {
    Thresholds {
        ends_at_once: f32::INFINITY,
        short_mean: f32::INFINITY,
        short_tokens: 1,
        trial_mean: f32::NEG_INFINITY,
        trials_agree: u32::MAX,
        ..Thresholds::default()
    }
}

/// A trial answer on the way.
pub(super) struct Tried {
    /// Tokens of thinking before it.
    pub(super) after: u32,
    pub(super) line: Option<String>,
    pub(super) mean: f32,
    pub(super) right: bool,
}

/// What one question showed.
pub(super) struct Measured {
    pub(super) p_end: f32,
    pub(super) short: ShortAnswer,
    pub(super) fast_right: bool,
    pub(super) fast_tokens: usize,
    pub(super) slow_right: bool,
    pub(super) slow_tokens: usize,
    pub(super) thinking_tokens: usize,
    pub(super) trials: Vec<Tried>,
}

impl Measured {
    pub(super) fn json(&self) -> Value {
        let trial = |it: &Tried| {
            let (after, line) = (it.after, &it.line);
            json!({ "after": after, "line": line, "mean_logprob": it.mean, "right": it.right })
        };
        json!({
            "p_end": self.p_end,
            "short": {
                "tokens": self.short.tokens,
                "mean_logprob": self.short.mean,
                "min_logprob": self.short.min,
                "finished": self.short.finished,
            },
            "fast": { "right": self.fast_right, "tokens": self.fast_tokens },
            "slow": {
                "right": self.slow_right,
                "tokens": self.slow_tokens,
                "thinking_tokens": self.thinking_tokens,
            },
            "trials": self.trials.iter().map(trial).collect::<Vec<_>>(),
        })
    }
}

/// Answers questions, several together.
pub(super) struct Measuring<'a> {
    pub(super) engine: &'a Engine,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) max_tokens: usize,
    pub(super) streams: usize,
    pub(super) seed: u64,
}

impl Measuring<'_> {
    /// Measures every question.
    ///
    /// # Errors
    /// A question does not fit the context, or the engine failed.
    pub(super) fn all(&self, questions: &[Question]) -> anyhow::Result<Vec<Measured>> {
        let bar = bars::making("Answering");
        let mut measured = Vec::new();
        for questions in questions.chunks(self.streams) {
            let fast = self.answers(questions, fast())?;
            let slow = self.answers(questions, slow())?;
            for (question, (fast, slow)) in questions.iter().zip(fast.into_iter().zip(slow)) {
                measured.push(self.measured(question, &fast, slow)?);
            }
            let (done, all) = (measured.len() as u64, questions.len() as u64);
            bars::advance(&bar, done, all.max(done));
        }
        bar.finish_and_clear();
        Ok(measured)
    }

    fn measured(&self, question: &Question, fast: &Heard, slow: Heard) -> anyhow::Result<Measured> {
        let report = fast.usage.auto.and_then(|report| Some((report.p_end, report.short?)));
        let Some((p_end, short)) = report else {
            bail!("{:?} leaves no room to try answers: a larger --context is needed", question.text)
        };
        let tried = |trial: engine::TrialAnswer| Tried {
            after: trial.after,
            right: trial.line.as_deref().is_some_and(|line| question.is_right(line)),
            line: trial.line,
            mean: trial.mean,
        };
        Ok(Measured {
            p_end,
            short,
            fast_right: question.is_right(&fast.answer),
            fast_tokens: fast.usage.completion_tokens,
            slow_right: question.is_right(&slow.answer),
            slow_tokens: slow.usage.completion_tokens,
            thinking_tokens: slow.usage.thinking_tokens,
            trials: slow.trials.into_iter().map(tried).collect(),
        })
    }

    /// Has questions answered together by `thresholds`.
    fn answers(
        &self,
        questions: &[Question],
        thresholds: Thresholds,
    ) -> anyhow::Result<Vec<Heard>> {
        let mut receivers = Vec::new();
        for question in questions {
            let ask = Ask {
                system: None,
                question: &question.text,
                think: Think::Auto,
                thresholds,
                params: PartialParams::default(),
                seed: self.seed,
                max_tokens: self.max_tokens,
            };
            let request = ask.request(self.vocabulary)?;
            let (sender, receiver) = channel();
            let sink = move |event| sender.send(event).is_ok();
            self.engine.submit(request, Box::new(sink));
            receivers.push(receiver);
        }
        receivers.into_iter().map(|events| Ok(Heard::wait(events)?)).collect()
    }
}
