//! Questions for a model, and all that was told of their answers.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use ruminate_engine::sampler::PartialParams;
use ruminate_engine::{
    Core, Event, Finish, Loaded, Options, Progress, Request, RequestId, Sink, Think, Thresholds,
    TrialAnswer, Usage, Vocabulary,
};
use schedule::{ClientId, Micros, Priority};
use text::{Conversation, Message, Piece, Place, Role};

pub(crate) fn options(sequences_max: usize) -> Options {
    Options { sequences_max, context: Some(256), threads: Some(2), ..Options::default() }
}

pub(crate) fn load(folder: &Path, options: &Options) -> Loaded {
    Loaded::open(folder, options, &|_, _| ()).unwrap()
}

/// Small numbers, so that a context of 256 has room for all of it.
pub(crate) fn thresholds() -> Thresholds {
    Thresholds { short_tokens: 12, trial_every: 16, trials_agree: 2, ..Thresholds::default() }
}

/// `question` asked in `think`.
pub(crate) fn ask(vocabulary: &Vocabulary, question: &str, think: Think, seed: u64) -> Request {
    ask_by(vocabulary, question, think, seed, thresholds())
}

pub(crate) fn ask_by(
    vocabulary: &Vocabulary,
    question: &str,
    think: Think,
    seed: u64,
    thresholds: Thresholds,
) -> Request {
    let messages = vec![Message::new(Role::User, question)];
    let conversation = Conversation { messages, tools: Vec::new() };
    let (prompt, mut start) = vocabulary.prompt(&conversation, think, 0).unwrap();
    if let Some(auto) = start.as_mut().and_then(|start| start.auto.as_mut()) {
        Arc::get_mut(auto).unwrap().thresholds = thresholds;
    }
    Request {
        prompt,
        max_tokens: 170,
        params: PartialParams::default().fill(seed).unwrap(),
        think: start,
        stops: Vec::new(),
        ignore_stops: false,
        ends_loops: false,
        grammar: None,
        prompt_logprobs: None,
        min_tokens: 0,
        shown_controls: Vec::new(),
        logprobs: Some(0),
        priority: Priority::Normal,
        client: ClientId(0),
        salt: 0,
        expires: None,
    }
}

/// All that was told of one answer.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Ids with their places and the bits of their log-probabilities.
    pub(crate) tokens: Vec<(u32, Place, u32)>,
    pub(crate) trials: Vec<TrialAnswer>,
    pub(crate) thinking: String,
    pub(crate) answer: String,
    pub(crate) finish: Finish,
    pub(crate) usage: Usage,
}

impl Outcome {
    pub(crate) fn collect(events: &Receiver<Event>) -> Outcome {
        let (mut tokens, mut trials) = (Vec::new(), Vec::new());
        let (mut thinking, mut answer) = (String::new(), String::new());
        loop {
            let (pieces, end) = match events.try_recv().expect("an answer has an end") {
                Event::Started { .. } | Event::Prompt(_) => continue,
                Event::Trial(trial) => {
                    trials.push(trial);
                    continue;
                }
                Event::Token(token) => {
                    let bits = token.logprob.unwrap_or(0.0).to_bits();
                    tokens.push((token.id, token.place, bits));
                    (token.pieces, None)
                }
                Event::Finished { finish, usage, pieces } => (pieces, Some((finish, usage))),
            };
            for piece in pieces {
                match piece {
                    Piece::Thinking(text) => thinking += &text,
                    Piece::Answer(text) => answer += &text,
                }
            }
            if let Some((finish, usage)) = end {
                return Outcome { tokens, trials, thinking, answer, finish, usage };
            }
        }
    }

    /// What must not depend on company, guesses or memory.
    pub(crate) fn same(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let report = self.usage.auto.map(|report| {
            let short = report.short.map(|it| (it.tokens, it.mean.to_bits(), it.min.to_bits()));
            let p_end = report.p_end.to_bits();
            (report.thinks, report.why, p_end, short, report.trials, report.extra_tokens)
        });
        let trials: Vec<_> =
            self.trials.iter().map(|t| (t.after, t.line.clone(), t.mean.to_bits())).collect();
        let texts = (self.thinking.clone(), self.answer.clone());
        (self.tokens.clone(), texts, report, trials, self.usage.ended_by)
    }
}

pub(crate) fn step(core: &mut Core) -> Progress {
    core.step(|| Micros(0))
}

pub(crate) fn sinks(n: usize) -> (Vec<Sink>, Vec<Receiver<Event>>) {
    let pair = |_| {
        let (sender, receiver) = channel();
        let sink: Sink = Box::new(move |event| sender.send(event).is_ok());
        (sink, receiver)
    };
    (0..n).map(pair).unzip()
}

/// Runs requests to their ends; each joins so many steps after the one before.
pub(crate) fn run(core: &mut Core, requests: Vec<Request>, apart: usize) -> Vec<Outcome> {
    let mut events = Vec::new();
    for (i, request) in requests.into_iter().enumerate() {
        let (sinks, mut receivers) = sinks(1);
        core.submit(RequestId(i as u64), request, sinks, Micros(0));
        events.append(&mut receivers);
        for _ in 0..apart {
            step(core);
        }
    }
    let mut steps = 0;
    while step(core) == Progress::Stepped {
        steps += 1;
        assert!(steps < 20_000, "it does not end");
    }
    assert_eq!(core.statistics().n_running, 0);
    assert_eq!(core.statistics().n_pages_used, 0);
    events.iter().map(Outcome::collect).collect()
}

/// Questions that take every course, some of them at once.
pub(crate) fn questions(vocabulary: &Vocabulary) -> Vec<Request> {
    let asked = |(i, question): (usize, &str)| ask(vocabulary, question, Think::Auto, i as u64);
    let texts =
        ["Hello", "What is it?", "Hello", "A longer question than the others", "?", "a b c"];
    texts.into_iter().enumerate().map(asked).collect()
}

pub(crate) fn answer(folder: &Path, think: Think) -> Outcome {
    let loaded = load(folder, &options(1));
    let request = ask(&loaded.vocabulary.clone(), "Hello", think, 7);
    run(&mut Core::new(loaded).unwrap(), vec![request], 0).remove(0)
}
