//! One answer as it grows: what the next token may be, and the text that comes of it.

use std::sync::Arc;

use schedule::Micros;
use text::{Controls, Piece, Place, Split, StopStrings, Stream, ThinkState, Thinking, Tokenizer};

use crate::request::{Event, Finish, Request, Sink, Token, Usage};
use crate::sampler::{self, Mask, Params, Scratch, Turn, raw_logprobs};
use crate::speculate::Drafter;

/// The seed of answer `choice` of a request with several.
pub fn choice_seed(seed: u64, choice: usize) -> u64 {
    if choice == 0 {
        return seed;
    }
    let [low, high, ..] =
        sampler::philox([choice as u32, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
    u64::from(high) << 32 | u64::from(low)
}

/// A request that was taken.
pub(crate) struct Answer {
    params: Params,
    max_tokens: usize,
    ignore_stops: bool,
    logprobs: Option<usize>,
    pub(crate) salt: u64,
    sink: Sink,
    think: Option<ThinkState>,
    stream: Stream,
    split: Split,
    stops: StopStrings,
    usage: Usage,
    arrived: Micros,
    started: Option<Micros>,
    first_token: Option<Micros>,
    last_token: Micros,
    pub(crate) drafter: Drafter,
    /// Kept to reuse its memory.
    banned: Vec<u32>,
}

/// What the tokens of a step make of an answer.
pub(crate) enum Next {
    GoesOn,
    Ends(Finish),
}

/// What the answers of a step share.
pub(crate) struct Chooser<'a> {
    pub tokenizer: &'a Tokenizer,
    pub scratch: &'a mut Scratch,
    pub now: Micros,
    /// Log-probabilities are those of the distribution that tokens are drawn from.
    pub as_drawn: bool,
    /// What routers chose for the tokens whose logits these are. (rows)
    pub routes: &'a [u64],
    /// Tokens that follow the known ones are appended here.
    pub appended: &'a mut Vec<u32>,
}

impl Chooser<'_> {
    /// The same, to put other tokens elsewhere.
    pub(crate) fn reborrow(&mut self) -> Chooser<'_> {
        Chooser {
            tokenizer: self.tokenizer,
            scratch: self.scratch,
            now: self.now,
            as_drawn: self.as_drawn,
            routes: self.routes,
            appended: self.appended,
        }
    }
}

impl Answer {
    /// The answer to `request`, whose stop strings were looked at.
    pub(crate) fn new(
        request: &Request,
        (choice, sink): (usize, Sink),
        stops: StopStrings,
        thinking: Option<&Arc<Thinking>>,
        now: Micros,
    ) -> Answer {
        let think = request
            .think
            .zip(thinking)
            .map(|(start, thinking)| ThinkState::new(thinking.clone(), start.limits, start.inside));
        let inside = think.as_ref().is_some_and(ThinkState::is_inside);
        let seed = choice_seed(request.params.seed, choice);
        Answer {
            params: Params { seed, ..request.params },
            max_tokens: request.max_tokens,
            ignore_stops: request.ignore_stops,
            logprobs: request.logprobs,
            salt: request.salt,
            sink,
            think,
            stream: Stream::new(Controls::Drop),
            split: Split::new(inside),
            stops,
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            arrived: now,
            started: None,
            first_token: None,
            last_token: now,
            drafter: Drafter::default(),
            banned: Vec::new(),
        }
    }

    /// Tokens of the prompt that the next turn sees again, if the answer's own places will not be
    /// asked for: thinking is left out of history, and all that follows it moves.
    pub(crate) fn reusable(&self) -> Option<usize> {
        (self.usage.thinking_tokens > 0).then_some(self.usage.prompt_tokens)
    }

    /// Its first step begins; so many tokens of its prompt were in the cache.
    pub(crate) fn start(&mut self, n_cached: usize, now: Micros) -> bool {
        if self.started.is_some() {
            return true;
        }
        self.started = Some(now);
        self.usage.cached_tokens = n_cached;
        (self.sink)(Event::Started { n_cached })
    }

    /// Whether its first token has come: what is behind then is its last token, not its prompt.
    pub(crate) fn is_answering(&self) -> bool {
        self.first_token.is_some()
    }

    /// Chooses what follows by `logits`, rows (V) of which the first belongs to the token before
    /// index `from` of `known`. Known tokens from there on are guesses: they are taken as far as
    /// they are what is chosen. Returns how many of them were not, and are to be forgotten.
    pub(crate) fn advance<'l>(
        &mut self,
        chooser: &mut Chooser<'_>,
        logits: impl Iterator<Item = &'l [f32]>,
        (known, from): (&[u32], usize),
    ) -> (usize, Next) {
        let mut right = 0;
        let mut next = Next::GoesOn;
        let mut n_rejected = 0;
        for (index, logits) in (from..).zip(logits) {
            let before = chooser.appended.len();
            let route = chooser.routes.get(index - from).copied().filter(|_| chooser.as_drawn);
            next = self.choose(chooser, (logits, route), &known[..index]);
            let guess = known.get(index);
            // The guess stands where the choice would: it is known already.
            if guess.is_some() && chooser.appended.get(before) == guess {
                chooser.appended.remove(before);
                right += 1;
                let goes_on = matches!(next, Next::GoesOn) && chooser.appended.len() == before;
                if goes_on {
                    continue;
                }
                n_rejected = known.len() - index - 1;
            } else {
                n_rejected = known.len().saturating_sub(index);
            }
            break;
        }
        let n_guesses = known.len() - from;
        self.usage.drafted_tokens += n_guesses;
        self.usage.accepted_tokens += right;
        self.drafter.learn(n_guesses, right);
        (n_rejected, next)
    }

    /// What would be chosen after the `known` tokens, were these guessed `logits` (V) the model's.
    pub(crate) fn guess(
        &self,
        scratch: &mut Scratch,
        logits: &[f32],
        known: &[u32],
    ) -> Option<u32> {
        let (prompt, generated) = known.split_at(self.usage.prompt_tokens);
        let turn = Turn { prompt, generated, position: known.len() as u64, mask: Mask::All };
        sampler::draw(scratch, logits, &self.params, &turn).ok().map(|drawn| drawn.token)
    }

    /// Chooses what follows the `known` tokens by the logits (V) of the last one, and appends it
    /// with whatever must follow it.
    fn choose(
        &mut self,
        chooser: &mut Chooser<'_>,
        (logits, route): (&[f32], Option<u64>),
        known: &[u32],
    ) -> Next {
        self.banned.clear();
        if let Some(think) = &self.think {
            self.banned.extend(think.banned());
        }
        let (prompt, generated) = known.split_at(self.usage.prompt_tokens);
        let position = known.len() as u64;
        let mask = if self.banned.is_empty() { Mask::All } else { Mask::Except(&self.banned) };
        let turn = Turn { prompt, generated, position, mask };
        let forced = self.think.as_ref().and_then(ThinkState::forced);
        let mut top = Vec::new();
        let mut as_drawn = None;
        let token = match forced {
            Some(token) => token,
            None => match sampler::draw(chooser.scratch, logits, &self.params, &turn) {
                Ok(mut drawn) => {
                    let n = self.logprobs.filter(|_| chooser.as_drawn);
                    as_drawn = n.map(|n| drawn.logprobs(n, &mut top));
                    drawn.token
                }
                Err(error) => return Next::Ends(Finish::Failed(error.to_string())),
            },
        };
        let logprob = match self.logprobs {
            None => None,
            Some(_) if as_drawn.is_some() => as_drawn,
            Some(n) => match raw_logprobs(chooser.scratch, logits, token, n, &mut top) {
                Ok(logprob) => Some(logprob),
                Err(error) => return Next::Ends(Finish::Failed(error.to_string())),
            },
        };
        self.first_token.get_or_insert(chooser.now);
        self.last_token = chooser.now;
        let tokenizer = chooser.tokenizer;
        let mut next = self.take(tokenizer, token, (logprob, top, route), chooser.appended);
        // A stop text is known as soon as it begins: its tokens are computed together.
        while let (Next::GoesOn, Some(token)) =
            (&next, self.think.as_ref().and_then(ThinkState::forced))
        {
            next = self.take(tokenizer, token, (None, Vec::new(), None), chooser.appended);
        }
        next
    }

    /// Takes one token and tells of it.
    fn take(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        (logprob, top, route): (Option<f32>, Vec<sampler::TokenLogprob>, Option<u64>),
        out: &mut Vec<u32>,
    ) -> Next {
        if !self.ignore_stops && tokenizer.stops().contains(&id) {
            self.usage.completion_tokens += 1;
            return Next::Ends(Finish::Stop);
        }
        out.push(id);
        self.usage.completion_tokens += 1;
        let place = match &mut self.think {
            Some(think) => think.advance(tokenizer, id),
            None => Place::Answer,
        };
        if place == Place::Thinking {
            self.usage.thinking_tokens += 1;
        }
        let mut text = String::new();
        self.stream.push(tokenizer, id, &mut text);
        let (pieces, stopped) = self.pieces(&text);
        if !(self.sink)(Event::Token(Token { id, place, pieces, logprob, top, route })) {
            return Next::Ends(Finish::Cancelled);
        }
        match stopped {
            Some(stop) => Next::Ends(Finish::StopString(stop)),
            None if self.usage.completion_tokens == self.max_tokens => Next::Ends(Finish::Length),
            None => Next::GoesOn,
        }
    }

    /// Cuts text into thinking and answer, the latter as far as no stop string can claim it.
    fn pieces(&mut self, text: &str) -> (Vec<Piece>, Option<String>) {
        let mut cut = Vec::new();
        match self.think {
            Some(_) => self.split.push(text, &mut cut),
            None if text.is_empty() => {}
            None => cut.push(Piece::Answer(text.to_string())),
        }
        self.stop(cut)
    }

    fn stop(&mut self, cut: Vec<Piece>) -> (Vec<Piece>, Option<String>) {
        let mut pieces = Vec::with_capacity(cut.len());
        for piece in cut {
            let Piece::Answer(text) = piece else {
                pieces.push(piece);
                continue;
            };
            let mut out = String::new();
            let stopped = self.stops.push(&text, &mut out).map(str::to_string);
            if !out.is_empty() {
                pieces.push(Piece::Answer(out));
            }
            if stopped.is_some() {
                return (pieces, stopped);
            }
        }
        (pieces, None)
    }

    /// Tells the end, and the text that was held back.
    pub(crate) fn finish(mut self, finish: Finish) {
        let mut pieces = Vec::new();
        if !matches!(finish, Finish::StopString(_)) {
            let mut text = String::new();
            self.stream.flush(&mut text);
            let mut cut = Vec::new();
            match self.think {
                Some(_) => {
                    self.split.push(&text, &mut cut);
                    self.split.finish(&mut cut);
                }
                None => cut.push(Piece::Answer(text)),
            }
            (pieces, _) = self.stop(cut);
            let mut rest = String::new();
            self.stops.flush(&mut rest);
            if !rest.is_empty() {
                pieces.push(Piece::Answer(rest));
            }
        }
        let since = |from: Micros, to: Micros| to.0.saturating_sub(from.0);
        let started = self.started.unwrap_or(self.last_token);
        let first_token = self.first_token.unwrap_or(started);
        self.usage.queue_us = since(self.arrived, started);
        self.usage.prompt_us = since(started, first_token);
        self.usage.decode_us = since(first_token, self.last_token);
        (self.sink)(Event::Finished { finish, usage: self.usage, pieces });
    }
}
