//! Answers of an engine in this process.

use std::sync::Arc;

use engine::sampler::PartialParams;
use engine::{Core, Engine, Loaded, Think, Thresholds, Vocabulary};
use text::ThinkEnd;

use super::Mode;
use super::answers::{Answers, Ask, Said, Told};
use crate::asking::{self, Heard};
use crate::questions::Question;

/// How questions are answered, whoever does it.
#[derive(Clone)]
pub(super) struct How {
    /// What is said before each question.
    pub(super) system: Option<String>,
    pub(super) params: PartialParams,
    /// Tokens of an answer, its thinking included.
    pub(super) max_tokens: usize,
}

/// A running engine.
pub(super) struct Local {
    engine: Engine,
    vocabulary: Arc<Vocabulary>,
    model: String,
    how: How,
    thresholds: Thresholds,
}

impl Local {
    /// # Errors
    /// The model leaves no room for an engine.
    pub(super) fn start(
        loaded: Loaded,
        how: How,
        thresholds: Thresholds,
    ) -> Result<Local, engine::Error> {
        let vocabulary = loaded.vocabulary.clone();
        let model = loaded.path.display().to_string();
        Ok(Local { engine: Engine::start(Core::new(loaded)?), vocabulary, model, how, thresholds })
    }
}

impl Answers for Local {
    fn model(&self) -> &str {
        &self.model
    }

    fn thinks(&self) -> Option<bool> {
        Some(self.vocabulary.thinking.is_some())
    }

    fn begin(&self, question: &Question, ask: Ask, told: Told) {
        let think = match ask.mode {
            Mode::Fast => Think::Off,
            Mode::Slow => Think::On,
            Mode::Auto => Think::Auto,
        };
        let wanted = asking::Ask {
            system: self.how.system.as_deref(),
            question: &question.text,
            think,
            thresholds: self.thresholds,
            params: self.how.params,
            seed: ask.seed,
            max_tokens: self.how.max_tokens,
        };
        let request = match wanted.request(&self.vocabulary) {
            Ok(request) => request,
            Err(error) => return told(Err(format!("{error:#}"))),
        };
        let mut listening = Some((Heard::default(), told));
        let sink = move |event| {
            let Some((mut heard, told)) = listening.take() else { return false };
            match heard.take(event) {
                Ok(false) => listening = Some((heard, told)),
                Ok(true) => told(Ok(said(heard))),
                Err(fault) => told(Err(fault.to_string())),
            }
            true
        };
        self.engine.submit(request, Box::new(sink));
    }
}

fn said(heard: Heard) -> Said {
    let Heard { answer, usage, is_cut, .. } = heard;
    Said {
        text: answer,
        tokens: usage.completion_tokens,
        thinking_tokens: Some(usage.thinking_tokens),
        decision_tokens: usage.auto.map_or(0, |report| report.extra_tokens),
        thought: usage.thinking_tokens > 0,
        ended_by: if is_cut { "length" } else { "stop" }.into(),
        thinking_ended_by: usage.ended_by.map(|end| ThinkEnd::name(end).into()),
    }
}
