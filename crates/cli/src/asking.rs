//! How an engine is asked a question with a known answer, and how its answer is heard.

use engine::sampler::PartialParams;
use engine::{Event, Finish, Refusal, Request, Think, Thresholds, TrialAnswer, Usage, Vocabulary};
use schedule::{ClientId, Priority};
use text::{Conversation, Message, Piece, Role};

use crate::args::now_unix_s;

/// A question, and how it is to be answered.
pub(crate) struct Ask<'a> {
    /// What is said before it.
    pub(crate) system: Option<&'a str>,
    pub(crate) question: &'a str,
    pub(crate) think: Think,
    /// Where the signals turn, if the engine decides.
    pub(crate) thresholds: Thresholds,
    /// What they leave open comes from the model's files, then from its card.
    pub(crate) params: PartialParams,
    pub(crate) seed: u64,
    /// Tokens of the answer, its thinking included.
    pub(crate) max_tokens: usize,
}

impl Ask<'_> {
    /// What an engine takes.
    ///
    /// # Errors
    /// The template cannot write the prompt, or a param is out of range.
    pub(crate) fn request(&self, vocabulary: &Vocabulary) -> anyhow::Result<Request> {
        let system = self.system.map(|text| Message::new(Role::System, text));
        let messages =
            system.into_iter().chain([Message::new(Role::User, self.question)]).collect();
        let conversation = Conversation { messages, tools: Vec::new() };
        let (prompt, mut think) = vocabulary.prompt(&conversation, self.think, now_unix_s())?;
        let params = |think| self.params.or(vocabulary.params(think)).fill(self.seed);
        if let Some(start) = &mut think {
            if self.think == Think::Off {
                // A model that opens thinking all the same leaves it at once, as in the server.
                start.limits.budget = Some(0);
            }
            start.judge_by(params(Think::Off)?, self.thresholds);
        }
        Ok(Request {
            prompt,
            max_tokens: self.max_tokens,
            params: params(self.think)?,
            think,
            stops: Vec::new(),
            ignore_stops: false,
            ends_loops: true,
            grammar: None,
            prompt_logprobs: None,
            min_tokens: 0,
            shown_controls: Vec::new(),
            logprobs: None,
            priority: Priority::Normal,
            client: ClientId(0),
            salt: 0,
            expires: None,
        })
    }
}

/// What came of a request.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) answer: String,
    pub(crate) trials: Vec<TrialAnswer>,
    pub(crate) usage: Usage,
    /// Whether it was as long as it may be.
    pub(crate) is_cut: bool,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Refused(Refusal),
    #[error("the answer failed: {0}")]
    Failed(String),
    #[error("the engine has stopped")]
    Stopped,
}

impl Heard {
    /// Takes in the next event; whether it was the last.
    ///
    /// # Errors
    /// It says that there will be no answer.
    pub(crate) fn take(&mut self, event: Event) -> Result<bool, Fault> {
        match event {
            Event::Started { .. } | Event::Prompt(_) => {}
            Event::Token(token) => self.pieces(token.pieces),
            Event::Trial(trial) => self.trials.push(trial),
            Event::Finished { finish, usage, pieces } => {
                self.pieces(pieces);
                self.usage = usage;
                match finish {
                    Finish::Refused(refusal) => return Err(Fault::Refused(refusal)),
                    Finish::Failed(why) => return Err(Fault::Failed(why)),
                    Finish::Length | Finish::Loop => self.is_cut = true,
                    Finish::Stop | Finish::StopString(_) | Finish::Cancelled | Finish::Expired => {}
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn pieces(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            if let Piece::Answer(text) = piece {
                self.answer += &text;
            }
        }
    }

    /// Waits for the end of one answer.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn wait(events: impl IntoIterator<Item = Event>) -> Result<Heard, Fault> {
        let mut heard = Heard::default();
        for event in events {
            if heard.take(event)? {
                return Ok(heard);
            }
        }
        Err(Fault::Stopped)
    }
}
