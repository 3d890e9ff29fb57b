//! Asks in, parts out: the one way from every dialect to the engine and back.
//!
//! [`begin`] makes prompts, waits for nobody, and hands them in; [`Answering::next`] tells what
//! comes. Dropping it ends what still runs within a step.

mod choice;
mod prepare;
mod warm;

use std::collections::VecDeque;
use std::sync::Arc;

use engine::{Event, RequestId, Sink};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use crate::admission::{Bytes, Place};
use crate::ask::Ask;
use crate::auth::Who;
use crate::drain::{self, Phase};
use crate::error::Error;
use crate::part::{Answer, Finished, Part, Totals};
use crate::requests::Record;
use crate::state::Shared;
use choice::Choice;
use prepare::{Prepared, prepare};

pub(crate) use prepare::prompt_tokens;

/// The answers to one or more asks as they grow.
pub(crate) struct Answering {
    server: Shared,
    record: Arc<Record>,
    /// Each ask's request, and the choices that are its.
    requests: Vec<(RequestId, std::ops::Range<usize>)>,
    choices: Vec<Choice>,
    /// As many as a context holds for each choice, at most: nothing comes after that.
    events: UnboundedReceiver<(usize, Event)>,
    ready: VecDeque<(usize, Part)>,
    n_open: usize,
    deadline: Instant,
    totals: Totals,
    place: Place,
    /// What the body of the request takes, as long as the request is here.
    _room: Bytes,
}

/// Who asks, and what the request holds.
pub(crate) struct Caller {
    pub(crate) who: Who,
    pub(crate) record: Arc<Record>,
    pub(crate) room: Bytes,
}

/// Runs what takes a while apart from the reactor's threads. A panic there is this request's alone.
///
/// # Errors
/// What `work` says; [`Error::Internal`] if it panicked.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Internal))
}

/// Hands in `asks`. Answers are numbered through: those of the first ask, then of the second.
///
/// # Errors
/// [`Error::Draining`], [`Error::EngineGone`], [`Error::Overloaded`], or what is wrong with an ask.
pub(crate) async fn begin(
    server: &Shared,
    caller: Caller,
    asks: Vec<Ask>,
) -> Result<Answering, Error> {
    if let Some(span) = &caller.record.span {
        span.asked(server.name(), &asks);
    }
    refuse_at_the_end(server)?;
    let (who, shared) = (caller.who, server.clone());
    let prepared = apart(move || {
        let n: usize = asks.iter().map(|ask| ask.n).sum();
        let max = shared.limits.choices_max;
        if n > max {
            let message = format!("{n} answers are asked for; at most {max} are made at once");
            return Err(Error::invalid("n", message));
        }
        asks.into_iter().map(|ask| prepare(&shared, ask, who)).collect::<Result<Vec<_>, _>>()
    });
    let prepared = prepared.await?;
    let place = server.admission.enter(prepared.iter().map(Prepared::tokens).sum())?;
    // While prompts were made the end may have come.
    refuse_at_the_end(server)?;
    let mut deadline = Instant::now() + server.limits.request_timeout;
    let (sender, events) = unbounded_channel();
    let mut choices = Vec::new();
    let mut requests = Vec::with_capacity(prepared.len());
    let mut ready = VecDeque::new();
    for Prepared { mut request, choice, n, timeout } in prepared {
        let from = choices.len();
        deadline = timeout.map_or(deadline, |timeout| deadline.min(Instant::now() + timeout));
        request.expires = Some(prepare::expires(server, timeout));
        for (i, mut choice) in std::iter::repeat_n(choice, n).enumerate() {
            choice.is_first = i == 0;
            ready.extend(choice.echoed(&server.vocabulary).map(|part| (from + i, part)));
            choices.push(choice);
        }
        let sinks = (from..from + n).map(|index| {
            let sender = sender.clone();
            Box::new(move |event| sender.send((index, event)).is_ok()) as Sink
        });
        let id = server.engine.submit_choices(request, sinks.collect());
        requests.push((id, from..from + n));
    }
    Ok(Answering {
        server: server.clone(),
        record: caller.record,
        requests,
        n_open: choices.len(),
        choices,
        events,
        ready,
        deadline,
        totals: Totals::default(),
        place,
        _room: caller.room,
    })
}

fn refuse_at_the_end(server: &Shared) -> Result<(), Error> {
    match server.drain.phase() {
        Phase::Serving if server.engine.is_alive() => Ok(()),
        Phase::Serving => Err(Error::EngineGone),
        _ => Err(Error::Draining { retry_after: drain::RETRY_AFTER }),
    }
}

impl Answering {
    /// How many answers there will be.
    pub(crate) fn n_choices(&self) -> usize {
        self.choices.len()
    }

    /// Tokens of all prompts.
    pub(crate) fn prompt_tokens(&self) -> usize {
        let first = self.choices.iter().filter(|choice| choice.is_first);
        first.map(|choice| choice.prompt_len).sum()
    }

    /// What all answers took that are over.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// The next part, and which answer it belongs to; none once all are over.
    pub(crate) async fn next(&mut self) -> Option<(usize, Part)> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(part);
            }
            if self.n_open == 0 {
                return None;
            }
            tokio::select! {
                event = self.events.recv() => match event {
                    Some((index, event)) => self.take(index, event),
                    // With the engine every sink is gone.
                    None if !self.server.engine.is_alive() => self.fail(&Error::EngineGone),
                    None => self.fail(&Error::Internal),
                },
                () = sleep_until(self.deadline) => self.fail(&Error::Timeout),
                () = self.server.drain.reached(Phase::Aborting) => {
                    self.fail(&Error::Draining { retry_after: drain::RETRY_AFTER });
                }
            }
        }
    }

    /// All answers, once they are over.
    ///
    /// # Errors
    /// The first fault of any of them.
    pub(crate) async fn whole(mut self) -> Result<(Vec<Answer>, Totals), Error> {
        let mut answers = vec![Answer::default(); self.choices.len()];
        while let Some((index, part)) = self.next().await {
            if let Part::Failed(error) = part {
                return Err(error);
            }
            answers[index].take(part);
        }
        Ok((answers, self.totals))
    }

    fn take(&mut self, index: usize, event: Event) {
        let choice = &mut self.choices[index];
        match &event {
            Event::Started { .. } if choice.is_first => self.place.done(choice.prompt_len),
            Event::Token(token) => {
                self.place.done(1);
                if let Some(us) = choice.waited(token) {
                    self.server.metrics.waited(us);
                }
            }
            _ => {}
        }
        let retry_after = || self.server.admission.retry_after();
        let parts = choice.take(event, &self.server, retry_after);
        let is_first = choice.is_first;
        for part in parts {
            match &part {
                Part::Finished(finished) => {
                    self.n_open -= 1;
                    self.totals.add(finished, is_first);
                    self.server.metrics.finished(finished, is_first);
                    self.count_request(index);
                    self.record.tell(&words(finished));
                    if let Some(span) = &self.record.span {
                        span.finished(finished, &self.totals);
                    }
                    warm::next_turn(&self.server, &self.choices[index], finished);
                }
                Part::Failed(error) => {
                    self.n_open -= 1;
                    self.server.metrics.ended("error");
                    if let Some(span) = &self.record.span {
                        span.failed(error);
                    }
                }
                _ => {}
            }
            self.ready.push_back((index, part));
        }
    }

    /// Counts the request of answer `index` if that was its last one.
    fn count_request(&self, index: usize) {
        let own = self.requests.iter().find(|(_, choices)| choices.contains(&index));
        let Some(choices) = own.map(|(_, own)| &self.choices[own.clone()]) else { return };
        if let [first, ..] = choices
            && choices.iter().all(|choice| choice.is_over)
        {
            let room = self.server.context.saturating_sub(first.prompt_len);
            let longest = choices.iter().map(|choice| choice.n_tokens).max().unwrap_or(0);
            self.server.metrics.answered(choices.len(), first.max_tokens.min(room), longest);
        }
    }

    /// Ends every answer that goes on.
    fn fail(&mut self, error: &Error) {
        for (index, choice) in self.choices.iter_mut().enumerate().filter(|(_, c)| !c.is_over) {
            choice.is_over = true;
            self.server.metrics.ended("error");
            self.ready.push_back((index, Part::Failed(error.clone())));
        }
        if let Some(span) = &self.record.span {
            span.failed(error);
        }
        self.n_open = 0;
        self.cancel();
    }

    fn cancel(&self) {
        for (id, _) in &self.requests {
            self.server.engine.cancel(*id);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.n_open > 0 {
            self.cancel();
            self.record.tell("finish=gone");
            self.server.metrics.ended("abort");
        }
    }
}

/// What the log says of an answer.
fn words(finished: &Finished) -> String {
    let usage = &finished.usage;
    let ms = |us: u64| us / 1000;
    format!(
        "prompt={} cached={} output={} thinking={} queue={}ms prefill={}ms decode={}ms finish={}",
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.thinking_tokens,
        ms(usage.queue_us),
        ms(usage.prompt_us),
        ms(usage.decode_us),
        finished.reason.word(),
    )
}
