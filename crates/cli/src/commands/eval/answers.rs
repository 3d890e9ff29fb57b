//! Answers to questions, several under way at once, in an order that nothing but the questions
//! decides.

use std::sync::mpsc::channel;

use super::Mode;
use crate::questions::{self, Question};
use crate::terminal::interrupt::Interrupts;
use crate::terminal::{bars, notice};

/// Answers that fail one after the other, whatever they are, before no more are asked for: whoever
/// answered is gone.
const FAILED_IN_A_ROW_MAX: usize = 32;

/// An answer that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// Which of the questions.
    pub(super) question: usize,
    pub(super) mode: Mode,
    /// Which of its answers in this mode.
    pub(super) sample: usize,
    pub(super) seed: u64,
}

/// An answer that came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    /// All that were told, thinking and tags included.
    pub(super) tokens: usize,
    /// Those of thinking, if whoever answered counts them.
    pub(super) thinking_tokens: Option<usize>,
    /// Those that were computed only to decide, and were not told.
    pub(super) decision_tokens: usize,
    pub(super) thought: bool,
    /// `stop` or `length`.
    pub(super) ended_by: String,
    pub(super) thinking_ended_by: Option<String>,
}

impl Said {
    /// Whether it was as long as it may be.
    pub(super) fn is_cut(&self) -> bool {
        self.ended_by == "length"
    }

    /// All that were computed.
    pub(super) fn spent(&self) -> usize {
        self.tokens + self.decision_tokens
    }
}

/// An answer that came or failed, and its score.
pub(super) struct Record {
    pub(super) ask: Ask,
    /// Why it failed, if it did.
    pub(super) said: Result<Said, String>,
    pub(super) right: bool,
    /// What the verifier says.
    pub(super) why: String,
}

/// Hears of one answer, once, on any thread.
pub(super) type Told = Box<dyn FnOnce(Result<Said, String>) + Send>;

/// Who answers.
pub(super) trait Answers {
    /// What model it is.
    fn model(&self) -> &str;

    /// Whether it thinks, where that is known.
    fn thinks(&self) -> Option<bool>;

    /// Begins an answer, and does not wait for it.
    fn begin(&self, question: &Question, ask: Ask, told: Told);
}

/// Why no more answers came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// They are all there.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// One after the other failed.
    Failing,
}

enum Heard {
    Said(usize, Result<Said, String>),
    Interrupt,
}

/// Has everything answered, `streams` at a time; what came, in the order of `asks`. The questions
/// are those of the file `tasks`.
pub(super) fn all(
    answers: &dyn Answers,
    (tasks, questions): (&str, &[Question]),
    asks: &[Ask],
    streams: usize,
    interrupts: &Interrupts,
) -> (Vec<Record>, Ending) {
    let (sender, receiver) = channel();
    let to_us = sender.clone();
    // A press after the last answer finds nobody, and nothing is left to stop.
    let _guard = interrupts.listen(move || drop(to_us.send(Heard::Interrupt)));
    let mut records: Vec<Option<Record>> = asks.iter().map(|_| None).collect();
    let (mut begun, mut done, mut failed_in_a_row) = (0, 0, 0);
    let bar = bars::making("Answering");
    let ending = loop {
        while begun < asks.len() && begun - done < streams {
            let (sender, index, ask) = (sender.clone(), begun, asks[begun]);
            let told = move |said| drop(sender.send(Heard::Said(index, said)));
            answers.begin(&questions[ask.question], ask, Box::new(told));
            begun += 1;
        }
        if done == asks.len() {
            break Ending::Complete;
        }
        match receiver.recv().expect("this function holds a sender") {
            Heard::Interrupt => break Ending::Interrupted,
            Heard::Said(index, said) => {
                let question = &questions[asks[index].question];
                failed_in_a_row = if said.is_err() { failed_in_a_row + 1 } else { 0 };
                if let Err(why) = &said {
                    let (line, Ask { mode, sample, .. }) = (question.line, asks[index]);
                    let which = format!("{tasks}, line {line}, {}, sample {sample}", mode.name());
                    bar.suspend(|| notice(&format!("{which}: {why}")));
                }
                records[index] = Some(record(question, asks[index], said));
                done += 1;
            }
        }
        bars::advance(&bar, done as u64, asks.len() as u64);
        if failed_in_a_row == FAILED_IN_A_ROW_MAX {
            break Ending::Failing;
        }
    };
    bar.finish_and_clear();
    (records.into_iter().flatten().collect(), ending)
}

fn record(question: &Question, ask: Ask, said: Result<Said, String>) -> Record {
    match said {
        Ok(said) => {
            let score = question.score(&said.text);
            let right = questions::is_right(&score);
            Record { ask, said: Ok(said), right, why: score.why.into_owned() }
        }
        Err(why) => Record { ask, said: Err(why), right: false, why: String::new() },
    }
}
