//! A running engine, and one answer of it at a time.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use anyhow::{Context, bail};
use engine::sampler::PartialParams;
use engine::{
    Core, Engine, Error, Event, Finish, Options, Request, Think, ThinkStart, Thresholds, Usage,
    Vocabulary,
};
use text::{Conversation, Piece, Place};

use crate::args::{AnswerArgs, now_unix_s};
use crate::terminal::figures::Figures;
use crate::terminal::interrupt::Interrupts;
use crate::terminal::notice;

/// A model that answers one request after another.
pub(crate) struct Session {
    engine: Engine,
    interrupts: Interrupts,
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) path: PathBuf,
    /// Tokens that prompt and answer may have together.
    pub(crate) context: usize,
    pub(crate) load_us: u64,
    params: PartialParams,
    stops: Vec<String>,
    max_tokens: Option<usize>,
    keep_loops: bool,
    think_min: u32,
    thresholds: Thresholds,
}

/// A prompt in tokens.
pub(crate) struct Prompt {
    tokens: Vec<u32>,
    start: Option<ThinkStart>,
    /// What was asked, for the defaults of sampling.
    think: Think,
}

/// What came of a prompt.
pub(crate) struct Answer {
    pub(crate) thinking: String,
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) figures: Figures,
    pub(crate) seed: u64,
}

enum Heard {
    Event(Box<Event>),
    Interrupt,
}

impl Session {
    /// Loads the model of `args` and starts its engine.
    pub(crate) fn open(args: &AnswerArgs, interrupts: Interrupts) -> anyhow::Result<Session> {
        let params = args.params()?;
        let thresholds = args.model.thresholds(args.thinking_thresholds.as_deref())?;
        let start = Instant::now();
        let options = Options {
            context: args.context,
            speculate: args.speculate,
            record_experts: args.record_experts.clone(),
            ..args.model.options()
        };
        let loaded = args.model.load(&options)?;
        let load_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (vocabulary, path) = (loaded.vocabulary.clone(), loaded.path.clone());
        let core = Core::new(loaded)?;
        Ok(Session {
            context: core.longest(),
            engine: Engine::start(core),
            interrupts,
            vocabulary,
            path,
            load_us,
            params,
            stops: args.sampling.stop.clone(),
            max_tokens: args.sampling.max_tokens,
            keep_loops: args.sampling.keep_loops,
            think_min: args.think_min,
            thresholds,
        })
    }

    /// The prompt that asks for the next turn of a conversation.
    pub(crate) fn chat(&self, talk: &Conversation, think: Think) -> Result<Prompt, Error> {
        let (tokens, mut start) = self.vocabulary.prompt(talk, think, now_unix_s())?;
        if let Some(start) = &mut start {
            start.limits.min = self.think_min;
        }
        Ok(Prompt { tokens, start, think })
    }

    /// The prompt of a text that is to go on as it is.
    pub(crate) fn document(&self, text: &str) -> Result<Prompt, Error> {
        let tokens = self.vocabulary.tokenizer.encode_document(text)?;
        Ok(Prompt { tokens, start: None, think: Think::Default })
    }

    /// Whether a prompt leaves room for an answer.
    pub(crate) fn fits(&self, prompt: &Prompt) -> Result<(), Error> {
        let (n, max) = (prompt.tokens.len(), self.context);
        if n < max { Ok(()) } else { Err(Error::TooLong { n, max }) }
    }

    /// Has a prompt answered; `heard` is told each piece at once. Ctrl-C ends the answer.
    ///
    /// # Errors
    /// The prompt was refused, the engine failed, or `heard` did.
    pub(crate) fn answer(
        &self,
        prompt: Prompt,
        heard: &mut dyn FnMut(&Piece) -> io::Result<()>,
    ) -> anyhow::Result<Answer> {
        self.fits(&prompt)?;
        // A hasher's keys are what the standard library has of randomness.
        let params = self.params.or(self.vocabulary.params(prompt.think));
        let params = params.fill(RandomState::new().hash_one(()))?;
        let seed = params.seed;
        let mut start = prompt.start;
        if let Some(start) = &mut start {
            let short = self.params.or(self.vocabulary.params(Think::Off)).fill(seed)?;
            start.judge_by(short, self.thresholds);
        }
        let request = Request {
            prompt: prompt.tokens,
            max_tokens: self.max_tokens.unwrap_or(usize::MAX),
            params,
            think: start,
            stops: self.stops.clone(),
            ignore_stops: false,
            ends_loops: !self.keep_loops,
            grammar: None,
            shown_controls: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            min_tokens: 0,
            priority: schedule::Priority::Normal,
            client: schedule::ClientId(0),
            salt: 0,
            expires: None,
        };
        let (sender, receiver) = mpsc::channel();
        let to_us = sender.clone();
        let sink = move |event| to_us.send(Heard::Event(Box::new(event))).is_ok();
        let id = self.engine.submit(request, Box::new(sink));
        // A press after the answer's end finds nobody, and nothing is left to stop.
        let _guard = self.interrupts.listen(move || drop(sender.send(Heard::Interrupt)));
        let mut answer = Answer::new(seed);
        let answering = Answering { receiver, over: false };
        for heard_now in answering {
            match heard_now {
                Heard::Interrupt => self.engine.cancel(id),
                Heard::Event(event) => answer.take(*event, heard)?,
            }
        }
        answer.figures.experts = self.engine.expert_statistics();
        match answer.finish {
            Finish::Refused(refusal) => Err(refusal).with_context(|| self.named("refused")),
            Finish::Failed(reason) => bail!("{}: {reason}", self.named("the answer failed")),
            _ => Ok(answer),
        }
    }

    fn named(&self, what: &str) -> String {
        format!("{}: {what}", self.path.display())
    }

    /// Says so if the model has no ear for what it is told.
    pub(crate) fn warn_of_silence(&self, has_system: bool, think: Think) {
        if self.vocabulary.template.is_none() {
            notice("this model has no chat template: it gets the prompt as it is");
            if has_system {
                notice("--system has no effect without a chat template");
            }
        }
        let wants_thinking = matches!(think, Think::On | Think::Budget(1..));
        if self.vocabulary.thinking.is_none() && wants_thinking {
            notice("this model does not think: --think has no effect");
        }
    }

    /// Why an answer ended before its model ended it, if it did.
    pub(crate) fn cut_short(&self, answer: &Answer) -> Option<String> {
        match (&answer.finish, self.max_tokens) {
            (Finish::Length, Some(n)) if answer.figures.usage.completion_tokens >= n => {
                Some(format!("the answer was cut at --max-tokens {n}"))
            }
            (Finish::Length, _) => Some(format!(
                "the context of {} tokens is full; --context sets another",
                self.context
            )),
            (Finish::Loop, _) => {
                Some("the answer repeated itself and was ended; --keep-loops lets it go on".into())
            }
            (Finish::Cancelled, _) => Some("stopped".into()),
            _ => None,
        }
    }
}

/// What is heard of one answer, until its end.
struct Answering {
    receiver: Receiver<Heard>,
    over: bool,
}

impl Iterator for Answering {
    type Item = Heard;

    fn next(&mut self) -> Option<Heard> {
        if self.over {
            return None;
        }
        let heard = self.receiver.recv().ok();
        self.over =
            matches!(&heard, Some(Heard::Event(e)) if matches!(**e, Event::Finished { .. }));
        heard
    }
}

impl Answer {
    /// Nothing yet; an engine that never tells the end has stopped.
    fn new(seed: u64) -> Answer {
        Answer {
            thinking: String::new(),
            text: String::new(),
            finish: Finish::Refused(engine::Refusal::Stopped),
            figures: Figures { usage: Usage::default(), answer_tokens: 0, experts: None },
            seed,
        }
    }

    fn take(
        &mut self,
        event: Event,
        heard: &mut dyn FnMut(&Piece) -> io::Result<()>,
    ) -> io::Result<()> {
        let pieces = match event {
            Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => return Ok(()),
            Event::Token(token) => {
                self.figures.answer_tokens += usize::from(token.place == Place::Answer);
                token.pieces
            }
            Event::Finished { finish, usage, pieces } => {
                self.finish = finish;
                self.figures.usage = usage;
                pieces
            }
        };
        for piece in &pieces {
            heard(piece)?;
            match piece {
                Piece::Thinking(text) => self.thinking += text,
                Piece::Answer(text) => self.text += text,
            }
        }
        Ok(())
    }
}
