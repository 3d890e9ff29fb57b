//! Groups: a question, the answers that the model wrote to it, and what each is worth.

use engine::Think;
use text::Conversation;

use crate::Error;
use crate::advantage::{self, Advantage};
use crate::config::{Config, Modes};
use crate::data::Problem;
use crate::picker::{answer_seed, draw_below};
use crate::prompts::{Asked, Prompts};
use crate::reward::{Reward, Written};
use crate::rollout::{Answer, Ask, End};

/// An answer with all that is known of it.
#[derive(Clone, Debug)]
pub struct Sample {
    pub prompt: Vec<u32>,
    pub answer: Answer,
    /// Where the model chose whether to think, and the ln p that this token is said to have had: it
    /// was chosen for the model, or drawn from half of what it might have said.
    pub declared: Option<(usize, f32)>,
    pub written: Written,
    /// Tokens of thinking, tags included.
    pub n_thinking: usize,
    pub reward: Reward,
    pub advantage: f32,
}

/// The answers to one question.
#[derive(Clone, Debug)]
pub struct Group {
    pub row: usize,
    pub difficulty: Option<i64>,
    pub samples: Vec<Sample>,
}

impl Group {
    /// Whether it teaches nothing.
    pub fn is_dead(&self) -> bool {
        advantage::is_dead(&self.rewards())
    }

    pub fn rewards(&self) -> Vec<f32> {
        self.samples.iter().map(|sample| sample.reward.total).collect()
    }

    pub fn n_right(&self) -> usize {
        self.samples.iter().filter(|sample| sample.reward.is_right()).count()
    }
}

impl Sample {
    pub fn is_truncated(&self) -> bool {
        self.answer.end == End::Length
    }

    /// Prompt and answer, and which tokens are learned.
    pub fn sequence(&self) -> (Vec<u32>, Vec<bool>) {
        let tokens = [self.prompt.as_slice(), &self.answer.tokens].concat();
        let mut is_target = vec![false; self.prompt.len()];
        is_target.extend((0..self.answer.tokens.len()).map(|at| self.is_learned(at)));
        (tokens, is_target)
    }

    /// Words that were put into its mouth are not learned, but for the choice of saying them.
    fn is_learned(&self, at: usize) -> bool {
        at >= self.answer.n_forced || self.declared.is_some_and(|declared| declared.0 == at)
    }

    /// ln p of the learned tokens as they were written; and what the routers chose, of those that
    /// were drawn with just that probability, which what was declared was not.
    pub fn old(&self) -> (Vec<f32>, Vec<Option<u64>>) {
        let learned = (0..self.answer.tokens.len()).filter(|at| self.is_learned(*at));
        let one = |at: usize| match self.declared {
            Some((choice, declared)) if at == choice => (declared, None),
            _ => (self.answer.logprobs[at], Some(self.answer.routes[at])),
        };
        learned.map(one).unzip()
    }
}

/// Gives every answer its advantage.
pub fn give_advantages(groups: &mut [Group], kind: Advantage) {
    let rewards: Vec<Vec<f32>> = groups.iter().map(Group::rewards).collect();
    let advantages = advantage::advantages(&rewards, kind);
    for (group, advantages) in groups.iter_mut().zip(advantages) {
        for (sample, advantage) in group.samples.iter_mut().zip(advantages) {
            sample.advantage = advantage;
        }
    }
}

/// A question as it is put, and how its answers are read.
#[derive(Clone, Debug)]
pub struct Put {
    pub row: usize,
    pub ask: Ask,
    /// The answer, forced words included, begins as a thought.
    pub inside: bool,
    /// The token of the answer at which two ways part that count as equally likely.
    pub choice: Option<usize>,
    pub asked_tokens: Option<usize>,
}

/// ln 1/2
const HALF: f32 = -std::f32::consts::LN_2;

/// The ways in which a row is put, on its so many'th visit.
///
/// # Errors
///
/// What the template or the tokenizer says.
pub fn put(
    prompts: &Prompts,
    problem: &Problem,
    (row, visit): (usize, u64),
    config: &Config,
) -> Result<Vec<Put>, Error> {
    let mut conversation = problem.conversation.clone();
    let asked_tokens = config.reward.length.asks().then(|| {
        let [from, to] = config.reward.asked_tokens;
        from + draw_below(config.seed, row, visit, to - from + 1)
    });
    if let Some(n) = asked_tokens {
        ask_for(&mut conversation, n, config.reward.length);
    }
    let seed = answer_seed(config.seed, row, visit);
    let n = config.rollout.samples;
    let one = |asked: Asked, forced: Vec<u32>, n: usize, seed: u64, choice: Option<usize>| {
        let Asked { tokens, inside } = asked;
        let ask = Ask { prompt: tokens, forced, seed, n };
        Put { row, ask, inside, choice, asked_tokens }
    };
    let think = match config.rollout.modes {
        Modes::Default => Think::Default,
        Modes::On => Think::On,
        Modes::Off => Think::Off,
        Modes::HalfEach => {
            let plain = prompts.ask(&conversation, Think::Default)?;
            let on = prompts.ask(&conversation, Think::On)?;
            let off = prompts.ask(&conversation, Think::Off)?;
            // What a mode adds to the prompt is what the model might have said itself.
            let [added_on, added_off] =
                [&on, &off].map(|made| made.tokens.strip_prefix(plain.tokens.as_slice()));
            let choice = match (added_on, added_off) {
                (Some(on), Some(off)) => on.iter().zip(off).take_while(|(a, b)| a == b).count(),
                // Only one of the two can be said by the model: its first token says so.
                _ => 0,
            };
            let half = |made: &Asked, added: Option<&[u32]>, seed| match added {
                Some(added) => one(plain.clone(), added.to_vec(), n / 2, seed, Some(choice)),
                None => one(made.clone(), Vec::new(), n / 2, seed, None),
            };
            return Ok(vec![half(&on, added_on, seed), half(&off, added_off, !seed)]);
        }
    };
    Ok(vec![one(prompts.ask(&conversation, think)?, Vec::new(), n, seed, None)])
}

/// Says how long to think, in the words that L1 was trained with.
fn ask_for(conversation: &mut Conversation, n: usize, length: crate::reward::Length) {
    let maximum = matches!(length, crate::reward::Length::L1Max { .. });
    if let Some(last) = conversation.messages.last_mut() {
        let most = if maximum { "maximum " } else { "" };
        last.content += &format!(" Think for {most}{n} tokens.");
    }
}

/// What was written to a question that was put; its rewards are not known yet.
pub fn read(prompts: &Prompts, put: &Put, answers: Vec<Answer>) -> Vec<(Sample, Written)> {
    let sample = |answer: Answer| {
        let truncated = answer.end == End::Length;
        let (written, n_thinking) = prompts.read(&answer.tokens, put.inside, truncated);
        let written = Written { asked_tokens: put.asked_tokens, ..written };
        let declared = put.choice.map(|choice| match answer.n_forced <= choice {
            // One of two choices was made, and then the model drew.
            true => (choice, HALF + answer.logprobs.get(choice).copied().unwrap_or(0.0)),
            false => (choice, HALF),
        });
        let nothing = Reward {
            total: 0.0,
            score: verifiers::Score::wrong("not looked at"),
            parts: Vec::new(),
        };
        let sample = Sample {
            prompt: put.ask.prompt.clone(),
            answer,
            declared,
            written: written.clone(),
            n_thinking,
            reward: nothing,
            advantage: 0.0,
        };
        (sample, written)
    };
    answers.into_iter().map(sample).collect()
}
