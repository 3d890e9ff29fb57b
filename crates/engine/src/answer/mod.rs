//! One answer as it grows: what the next token may be, and the text that comes of it.

mod short;

use std::sync::Arc;

use schedule::Micros;
use text::{
    Controls, LoopDetector, Piece, Place, Split, StopStrings, Stream, ThinkState, Thinking,
    Tokenizer,
};

use crate::auto::{Confidence, ThinkReport, Watch};
use crate::chooser::{Chooser, Next};
use crate::contain::contain;
use crate::grammar::{Grammar, GrammarState, Taken};
use crate::outlet::Outlet;
use crate::request::{Event, Finish, PromptToken, Request, Sink, Token, Usage};
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
    prompt_logprobs: Option<usize>,
    min_tokens: usize,
    /// Its part of the time of its steps.
    compute_s: f64,
    pub(crate) salt: u64,
    outlet: Outlet,
    think: Option<ThinkState>,
    /// Whether what is thought may be handed back.
    returns: bool,
    grammar: Option<GrammarState>,
    stream: Stream,
    split: Split,
    stops: StopStrings,
    /// Watches the answer after its thinking.
    loops: Option<LoopDetector>,
    usage: Usage,
    arrived: Micros,
    started: Option<Micros>,
    first_token: Option<Micros>,
    last_token: Micros,
    pub(crate) drafter: Drafter,
    /// Where it pauses to be judged, and how sure it is.
    pub(crate) watch: Watch,
    confidence: Option<Confidence>,
    pub(crate) report: Option<ThinkReport>,
    /// Tokens it has taken and its sequence has not, since it pauses.
    pub(crate) held: Vec<u32>,
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
        let think = request.think.as_ref().zip(thinking).map(|(start, thinking)| {
            let state = ThinkState::new(thinking.clone(), start.limits, start.inside);
            state.within(request.max_tokens)
        });
        let inside = think.as_ref().is_some_and(ThinkState::is_inside);
        let seed = choice_seed(request.params.seed, choice);
        let watches_loops =
            request.ends_loops && request.grammar.is_none() && !request.ignore_stops;
        Answer {
            params: Params { seed, ..request.params },
            max_tokens: request.max_tokens,
            ignore_stops: request.ignore_stops,
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
            min_tokens: request.min_tokens,
            compute_s: 0.0,
            salt: request.salt,
            outlet: Outlet::Sink(sink),
            think,
            returns: request.think.as_ref().is_some_and(|start| start.returns),
            grammar: request.grammar.as_ref().map(Grammar::start),
            stream: Stream::new(Controls::Drop).keeping(&request.shown_controls),
            split: Split::new(inside),
            stops,
            loops: watches_loops.then(LoopDetector::of_answer),
            usage: Usage { prompt_tokens: request.prompt.len(), ..Usage::default() },
            arrived: now,
            started: None,
            first_token: None,
            last_token: now,
            drafter: Drafter::default(),
            watch: Watch::Nothing,
            confidence: None,
            report: None,
            held: Vec::new(),
        }
    }

    /// Tokens of the prompt that the next turn sees again, if the answer's own places will not be
    /// asked for: thinking is left out of history, unless it returns, and what follows it moves.
    pub(crate) fn reusable(&self) -> Option<usize> {
        (self.usage.thinking_tokens > 0 && !self.returns).then_some(self.usage.prompt_tokens)
    }

    /// Its first step begins; so many tokens of its prompt were in the cache.
    pub(crate) fn start(&mut self, n_cached: usize, now: Micros) -> bool {
        if self.started.is_some() {
            return true;
        }
        self.started = Some(now);
        self.usage.cached_tokens = n_cached;
        self.outlet.tell(Event::Started { n_cached })
    }

    /// Whether its first token has come: what is behind then is its last token, not its prompt.
    pub(crate) fn is_answering(&self) -> bool {
        self.first_token.is_some()
    }

    pub(crate) fn prompt_len(&self) -> usize {
        self.usage.prompt_tokens
    }

    /// Adds to its part of the time of its steps.
    pub(crate) fn charge(&mut self, seconds: f64) {
        self.compute_s += seconds;
    }

    /// Tells how likely the tokens of the prompt from index `from` on were, by `logits`, rows (V)
    /// of which the first belongs to the token before. Takes a row for each; false once nobody
    /// listens.
    fn score<'l>(
        &mut self,
        scratch: &mut Scratch,
        logits: &mut impl Iterator<Item = &'l [f32]>,
        (known, from): (&[u32], usize),
    ) -> Result<bool, sampler::Error> {
        let n_top = self.prompt_logprobs.unwrap_or(0);
        let rest = known.get(from..self.usage.prompt_tokens).unwrap_or_default();
        let mut tokens = Vec::with_capacity(rest.len());
        for (&id, logits) in rest.iter().zip(logits) {
            let mut top = Vec::new();
            let logprob = raw_logprobs(scratch, logits, id, n_top, &mut top)?;
            tokens.push(PromptToken { id, logprob, top });
        }
        Ok(tokens.is_empty() || self.outlet.tell(Event::Prompt(tokens)))
    }

    /// Chooses what follows by `logits`, rows (V) of which the first belongs to the token before
    /// index `from` of `known`. Known tokens from there on are guesses: they are taken as far as
    /// they are what is chosen. Returns how many of them were not, and are to be forgotten.
    pub(crate) fn advance<'l>(
        &mut self,
        chooser: &mut Chooser<'_>,
        mut logits: impl Iterator<Item = &'l [f32]>,
        (known, from): (&[u32], usize),
    ) -> (usize, Next) {
        match self.score(chooser.scratch, &mut logits, (known, from)) {
            Ok(true) => {}
            Ok(false) => return (0, Next::Ends(Finish::Cancelled)),
            Err(error) => return (0, Next::Ends(Finish::Failed(error.to_string()))),
        }
        let from = from.max(self.usage.prompt_tokens);
        let mut right = 0;
        let mut next = Next::GoesOn;
        let mut n_rejected = 0;
        for (index, logits) in (from..).zip(logits) {
            let before = chooser.appended.len();
            let route = chooser.routes.get(index - from).copied().filter(|_| chooser.as_drawn);
            next = self.choose(chooser, (logits, route), &known[..index]);
            if matches!(next, Next::Pauses) {
                // Also if it was guessed: its logits would be gone once the answer goes on.
                self.held.extend(chooser.appended.drain(before..));
                n_rejected = known.len().saturating_sub(index);
                break;
            }
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
        let n_guesses = known.len().saturating_sub(from);
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
        let mut top = Vec::new();
        let (token, as_drawn) = match self.think.as_ref().and_then(ThinkState::forced) {
            Some(token) => (token, None),
            None => match self.draw(chooser, logits, known, &mut top) {
                Ok(drawn) => drawn,
                Err(error) => return Next::Ends(Finish::Failed(error)),
            },
        };
        let (token, as_drawn) = match &mut self.think {
            Some(think) if think.refuses(token) => {
                top.clear();
                (think.instead(), None)
            }
            _ => (token, as_drawn),
        };
        let listens = self.confidence.is_some_and(|confidence| confidence.listens());
        let logprob = match self.logprobs.or(listens.then_some(0)) {
            None => None,
            Some(_) if as_drawn.is_some() => as_drawn,
            Some(n) => match raw_logprobs(chooser.scratch, logits, token, n, &mut top) {
                Ok(logprob) => Some(logprob),
                Err(error) => return Next::Ends(Finish::Failed(error.to_string())),
            },
        };
        if let (Some(confidence), Some(logprob)) = (&mut self.confidence, logprob) {
            confidence.note(logprob);
        }
        let logprob = logprob.filter(|_| self.logprobs.is_some());
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

    /// Draws what follows the `known` tokens, of those that may; also, if they are to be told as
    /// drawn, its log-probability and the likeliest ones.
    fn draw(
        &mut self,
        chooser: &mut Chooser<'_>,
        logits: &[f32],
        known: &[u32],
        top: &mut Vec<sampler::TokenLogprob>,
    ) -> Result<(u32, Option<f32>), String> {
        let too_early = self.usage.completion_tokens < self.min_tokens;
        let allowed = match &mut self.grammar {
            Some(grammar) => {
                grammar.allowed(chooser.tokenizer, self.think.as_ref(), logits.len())?
            }
            None => None,
        };
        let mask = match allowed {
            Some(bits) => Mask::Only(bits),
            None if too_early => Mask::Except(chooser.tokenizer.stops()),
            None => Mask::All,
        };
        let (prompt, generated) = known.split_at(self.usage.prompt_tokens);
        let turn = Turn { prompt, generated, position: known.len() as u64, mask };
        let drawn = sampler::draw(chooser.scratch, logits, &self.params, &turn);
        let mut drawn = drawn.map_err(|error| error.to_string())?;
        let n = self.logprobs.filter(|_| chooser.as_drawn);
        Ok((drawn.token, n.map(|n| drawn.logprobs(n, top))))
    }

    /// Takes one token and tells of it.
    fn take(
        &mut self,
        tokenizer: &Tokenizer,
        id: u32,
        (logprob, top, route): (Option<f32>, Vec<sampler::TokenLogprob>, Option<u64>),
        out: &mut Vec<u32>,
    ) -> Next {
        let masked = self.grammar.as_ref().is_some_and(GrammarState::is_armed);
        if (masked || !self.ignore_stops) && tokenizer.stops().contains(&id) {
            self.usage.completion_tokens += 1;
            return Next::Ends(Finish::Stop);
        }
        let taken = match &mut self.grammar {
            Some(grammar) => grammar.take(tokenizer, id, self.think.as_mut()),
            None => Ok(Taken::GoesOn),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => return Next::Ends(Finish::Failed(error)),
        };
        out.push(id);
        self.usage.completion_tokens += 1;
        let place = match &mut self.think {
            Some(think) => think.advance(tokenizer, id),
            None => Place::Answer,
        };
        if place == Place::Thinking {
            self.usage.thinking_tokens += 1;
        }
        let circles = match &mut self.loops {
            Some(loops) if place == Place::Answer => loops.push(id, false),
            _ => false,
        };
        let mut text = String::new();
        self.stream.push(tokenizer, id, &mut text);
        let (pieces, stopped) = self.pieces(&text);
        let at = self.last_token;
        if !self.outlet.tell(Event::Token(Token { id, place, pieces, logprob, top, route, at })) {
            return Next::Ends(Finish::Cancelled);
        }
        match stopped {
            Some(stop) => Next::Ends(Finish::StopString(stop)),
            None if taken == Taken::Complete => Next::Ends(Finish::Stop),
            None if self.usage.completion_tokens == self.max_tokens => Next::Ends(Finish::Length),
            None if circles && self.usage.completion_tokens >= self.min_tokens => {
                Next::Ends(Finish::Loop)
            }
            None if self.watch.pauses(self.usage.completion_tokens, self.think.as_ref()) => {
                Next::Pauses
            }
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
        // After a panic its text may be in no state to be told, the end is all the same.
        let pieces = contain(|| self.last_pieces(&finish)).unwrap_or_default();
        let since = |from: Micros, to: Micros| to.0.saturating_sub(from.0);
        let started = self.started.unwrap_or(self.last_token);
        let first_token = self.first_token.unwrap_or(started);
        self.usage.compute_us = (self.compute_s * 1e6) as u64;
        self.usage.queue_us = since(self.arrived, started);
        self.usage.prompt_us = since(started, first_token);
        self.usage.decode_us = since(first_token, self.last_token);
        self.usage.ended_by = self.think.as_ref().and_then(ThinkState::ended_by);
        self.usage.auto = self.report.map(|report| ThinkReport {
            short: report.short.or_else(|| self.sureness(matches!(finish, Finish::Stop))),
            ..report
        });
        let _ = contain(|| self.outlet.tell(Event::Finished { finish, usage: self.usage, pieces }));
    }

    /// The text that was held back.
    fn last_pieces(&mut self, finish: &Finish) -> Vec<Piece> {
        if matches!(finish, Finish::StopString(_)) {
            return Vec::new();
        }
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
        let (mut pieces, _) = self.stop(cut);
        let mut rest = String::new();
        self.stops.flush(&mut rest);
        if !rest.is_empty() {
            pieces.push(Piece::Answer(rest));
        }
        pieces
    }
}
