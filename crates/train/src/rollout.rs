//! What the model writes: groups of answers by the serving engine, token by token, with the
//! log-probability of each under the distribution it was drawn from.
//!
//! Tokens go in and tokens come out; nothing is decoded and encoded again. An answer depends on
//! its prompt, its seed and the weights alone, not on how many are written together.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use engine::sampler::Params;
use engine::{Core, Event, Finish, Progress, Request, RequestId, Sink};
use schedule::{ClientId, Micros, Priority};

/// A prompt that wants answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub prompt: Vec<u32>,
    /// What every answer is made to begin with.
    pub forced: Vec<u32>,
    /// The answers' seeds follow from it.
    pub seed: u64,
    /// Answers.
    pub n: usize,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model ended it.
    Stop,
    /// It is as long as it may be.
    Length,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The token that ended it included. (T)
    pub tokens: Vec<u32>,
    /// ln p of each token as it was drawn; NaN for those that were forced. (T)
    pub logprobs: Vec<f32>,
    /// What the routers chose for the token before; 0 where the token was forced. (T)
    pub routes: Vec<u64>,
    pub n_forced: usize,
    pub end: End,
}

/// How answers are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tokens of an answer at most, forced ones included.
    pub tokens_max: usize,
    pub temperature: f32,
    /// Answers that are written together, about.
    pub together: usize,
    /// Tokens that end an answer.
    pub stops: Arc<[u32]>,
    /// Of the weights: cached pages of others are not used.
    pub salt: u64,
}

/// An answer that was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("prompt {ask}: {why}")]
    Refused { ask: usize, why: String },
    #[error("an answer failed: {0}")]
    Failed(String),
    #[error("prompt {ask} has {n} tokens, which leaves no room for an answer within {max}")]
    NoRoom { ask: usize, n: usize, max: usize },
}

/// Has every prompt answered so many times as it asks.
///
/// # Errors
///
/// If a prompt doesn't fit, or the model gives numbers that are not finite.
pub fn rollout(
    core: &mut Core,
    asks: &[Ask],
    settings: &Settings,
) -> Result<Vec<Vec<Answer>>, Error> {
    let begun = |ask: &Ask| Answer {
        tokens: ask.forced.clone(),
        logprobs: vec![f32::NAN; ask.forced.len()],
        routes: vec![0; ask.forced.len()],
        n_forced: ask.forced.len(),
        end: End::Length,
    };
    let mut answers: Vec<Vec<Answer>> = asks.iter().map(|ask| vec![begun(ask); ask.n]).collect();
    let (sender, events) = channel();
    let (mut next, mut n_open) = (0, 0);
    loop {
        while let Some(ask) = asks.get(next)
            && (n_open == 0 || n_open + ask.n <= settings.together)
        {
            submit(core, (next, ask), settings, &sender)?;
            n_open += ask.n;
            next += 1;
        }
        if n_open == 0 {
            return Ok(answers);
        }
        let progress = core.step(|| Micros(0));
        let mut heard = false;
        for (ask, choice, event) in events.try_iter() {
            heard = true;
            let answer: &mut Answer = &mut answers[ask][choice];
            match event {
                Event::Started { .. } | Event::Prompt(_) | Event::Trial(_) => {}
                Event::Token(token) => {
                    answer.tokens.push(token.id);
                    answer.logprobs.push(token.logprob.unwrap_or(f32::NAN));
                    answer.routes.push(token.route.unwrap_or(0));
                }
                Event::Finished { finish, .. } => {
                    n_open -= 1;
                    answer.end = end(finish, ask)?;
                }
            }
        }
        if progress == Progress::Idle && !heard {
            return Err(Error::Failed("the engine has nothing to do".into()));
        }
    }
}

fn end(finish: Finish, ask: usize) -> Result<End, Error> {
    match finish {
        // Only its own token that ends it cancels an answer.
        Finish::Stop | Finish::Cancelled | Finish::StopString(_) => Ok(End::Stop),
        Finish::Length | Finish::Loop => Ok(End::Length),
        Finish::Refused(refusal) => Err(Error::Refused { ask, why: refusal.to_string() }),
        Finish::Failed(why) => Err(Error::Failed(why)),
        Finish::Expired => Err(Error::Failed("it expired".into())),
    }
}

type Heard = (usize, usize, Event);

fn submit(
    core: &mut Core,
    (index, ask): (usize, &Ask),
    settings: &Settings,
    sender: &Sender<Heard>,
) -> Result<(), Error> {
    let prompt = [ask.prompt.as_slice(), &ask.forced].concat();
    let max = core.longest();
    let room = settings.tokens_max.saturating_sub(ask.forced.len());
    if prompt.len() >= max || room == 0 {
        return Err(Error::NoRoom { ask: index, n: prompt.len(), max });
    }
    let request = Request {
        prompt,
        max_tokens: room,
        params: Params {
            temperature: settings.temperature,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: ask.seed,
        },
        think: None,
        stops: Vec::new(),
        // The token that ends an answer is learned like any other, so it is told like any other.
        ignore_stops: true,
        ends_loops: false,
        logprobs: Some(0),
        prompt_logprobs: None,
        min_tokens: 0,
        grammar: None,
        shown_controls: Vec::new(),
        priority: Priority::Normal,
        client: ClientId(0),
        salt: settings.salt,
        expires: None,
    };
    let sink = |choice: usize| -> Sink {
        let (sender, stops) = (sender.clone(), settings.stops.clone());
        Box::new(move |event| {
            let goes_on = !matches!(&event, Event::Token(token) if stops.contains(&token.id));
            sender.send((index, choice, event)).is_ok() && goes_on
        })
    };
    let sinks = (0..ask.n).map(sink).collect();
    core.submit(RequestId(index as u64), request, sinks, Micros(0));
    Ok(())
}
