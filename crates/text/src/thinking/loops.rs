//! Text that goes in circles: a verdict on tokens, and on nothing else.
//!
//! Two ways to be stuck are seen. A *cycle*: the text has been the same as some tokens before for
//! several times that distance. And a *refrain*: one line makes up much of the last lines, with
//! other lines between. A token costs a hash, a look-up and a comparison, a line some sixty
//! comparisons of numbers; both keep a bounded past.
//!
//! ```text
//!                                                          of thinking      of an answer
//! cycle    known[i] = known[i - p], p ≤ 1024, for the last max(3 p, 128)    max(8 p, 4096) tokens
//! refrain  16 of the last 64 lines are equal,              yes              no
//!          of at least 6 tokens each
//! ```
//!
//! Thinking is for nobody to read: a few rounds are enough. What is asked for may repeat itself:
//! a table of zeros, a line a hundred times. An answer is stuck only where it has been the same for
//! thousands of tokens, to the letter.

use std::collections::VecDeque;

/// The longest cycle that is seen, in tokens.
const PERIOD_MAX: usize = 1024;
/// What is a loop.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// A cycle must have come so often again, and for so many tokens.
    repeats: usize,
    repeated_min: usize,
    /// Whether refrains count.
    refrains: bool,
}

const THINKING: Bounds = Bounds { repeats: 3, repeated_min: 128, refrains: true };
const ANSWER: Bounds = Bounds { repeats: 8, repeated_min: 4096, refrains: false };

/// So many equal tokens suggest a distance, which is then tried token by token.
const GRAM: usize = 16;
/// Lines that are remembered, the tokens of one that counts, and how many of them may be equal.
const LINES: usize = 64;
const LINE_TOKENS_MIN: usize = 6;
const EQUAL_LINES_MAX: usize = 15;

/// An odd number with bits all over: what a polynomial hash multiplies by.
const BASE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Watches tokens for cycles and refrains.
#[derive(Debug, Clone)]
pub struct LoopDetector {
    bounds: Bounds,
    /// The last tokens, token i at i % PERIOD_MAX.
    tokens: Vec<u32>,
    /// How many tokens came.
    n: usize,
    /// The hash of the last GRAM tokens.
    gram: u64,
    /// BASE to the power of GRAM.
    leaving: u64,
    /// Where the grams that hash to a slot ended last; 0 for nowhere.
    ends: Vec<usize>,
    /// The distance that is tried, and for how many tokens it held. 0 for none.
    period: usize,
    held: usize,
    /// The hash and the length of the line so far, and the hashes of the lines before.
    line: (u64, usize),
    lines: VecDeque<u64>,
}

impl LoopDetector {
    /// For thinking.
    pub fn of_thinking() -> Self {
        Self::new(THINKING)
    }

    /// For an answer, or any text that somebody may have asked for.
    pub fn of_answer() -> Self {
        Self::new(ANSWER)
    }

    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            tokens: Vec::with_capacity(PERIOD_MAX),
            n: 0,
            gram: 0,
            leaving: BASE.wrapping_pow(GRAM as u32),
            ends: vec![0; PERIOD_MAX],
            period: 0,
            held: 0,
            line: (0, 0),
            lines: VecDeque::with_capacity(if bounds.refrains { LINES } else { 0 }),
        }
    }

    /// Takes the next token, and whether it ends a line; whether the text goes in circles.
    pub fn push(&mut self, id: u32, ends_line: bool) -> bool {
        let cycles = self.cycles(id);
        let refrain = self.bounds.refrains && self.refrain(id, ends_line);
        cycles || refrain
    }

    fn cycles(&mut self, id: u32) -> bool {
        if self.period > 0 && self.before(self.period) == Some(id) {
            self.held += 1;
        } else {
            (self.period, self.held) = (0, 0);
        }
        let old = self.before(GRAM).map_or(0, |old| term(old).wrapping_mul(self.leaving));
        self.gram = self.gram.wrapping_mul(BASE).wrapping_add(term(id)).wrapping_sub(old);
        let at = self.n % PERIOD_MAX;
        match self.tokens.get_mut(at) {
            Some(place) => *place = id,
            None => self.tokens.push(id),
        }
        self.n += 1;
        if self.n >= GRAM {
            let slot = (self.gram >> 32) as usize % self.ends.len();
            let end = std::mem::replace(&mut self.ends[slot], self.n);
            let distance = self.n - end;
            if self.period == 0 && end > 0 && distance < PERIOD_MAX {
                self.period = distance;
            }
        }
        let Bounds { repeats, repeated_min, .. } = self.bounds;
        self.held >= (repeats * self.period).max(repeated_min)
    }

    /// The token `distance` before the next one, if it is remembered.
    fn before(&self, distance: usize) -> Option<u32> {
        let at = self.n.checked_sub(distance)?;
        self.tokens.get(at % PERIOD_MAX).copied()
    }

    fn refrain(&mut self, id: u32, ends_line: bool) -> bool {
        let (hash, len) = self.line;
        self.line = (hash.wrapping_mul(BASE).wrapping_add(term(id)), len + 1);
        if !ends_line {
            return false;
        }
        let (hash, len) = std::mem::take(&mut self.line);
        // Empty lines and brackets repeat in any text.
        if len < LINE_TOKENS_MIN {
            return false;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        let equal = self.lines.iter().filter(|&&line| line == hash).count();
        self.lines.push_back(hash);
        equal >= EQUAL_LINES_MAX
    }
}

/// What a token adds to a hash: never 0.
fn term(id: u32) -> u64 {
    (u64::from(id) + 1).wrapping_mul(BASE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REPEATS: usize = THINKING.repeats;
    const REPEATED_MIN: usize = THINKING.repeated_min;

    fn caught_by(mut detector: LoopDetector, tokens: &[u32]) -> Option<usize> {
        tokens.iter().position(|&id| detector.push(id, id == 0)).map(|at| at + 1)
    }

    /// After how many tokens it is called a loop; a token of 0 ends a line.
    fn caught(tokens: &[u32]) -> Option<usize> {
        caught_by(LoopDetector::of_thinking(), tokens)
    }

    fn caught_in_answer(tokens: &[u32]) -> Option<usize> {
        caught_by(LoopDetector::of_answer(), tokens)
    }

    /// For how many tokens the end of `tokens` was what it had been `period` before.
    fn held(tokens: &[u32], period: usize) -> usize {
        (period..tokens.len()).rev().take_while(|&i| tokens[i] == tokens[i - period]).count()
    }

    #[test]
    fn one_token_over_and_over_is_a_loop() {
        let at = caught(&[7; 500]).unwrap();
        assert!((REPEATED_MIN..REPEATED_MIN + 2 * GRAM).contains(&at), "{at}");
    }

    #[test]
    fn a_line_that_comes_again_and_again_between_others_is_a_loop() {
        let mut tokens = Vec::new();
        for i in 0..64 {
            tokens.extend([100 + i, 200 + i * i % 37, 300, 5 + i % 11, 400 + i, 3, 0]);
            if i % 3 == 0 {
                tokens.extend([11, 12, 13, 14, 15, 16, 0]);
            }
        }
        let refrains = caught(&tokens).map(|at| {
            tokens[..at].windows(7).filter(|line| line[..] == [11, 12, 13, 14, 15, 16, 0]).count()
        });
        assert_eq!(refrains, Some(EQUAL_LINES_MAX + 1));
        let short: Vec<u32> = tokens.iter().copied().filter(|&id| id != 15 && id != 16).collect();
        assert_eq!(caught(&short), None, "lines of a few tokens may be equal");
    }

    #[test]
    fn an_answer_may_repeat_itself_for_long() {
        // A line three hundred times; a table whose cells are all the same; numbered lines.
        let line: Vec<u32> = (1..12).chain([0]).collect();
        assert_eq!(caught_in_answer(&line.repeat(300)), None);
        assert_eq!(caught_in_answer(&[[5, 6].repeat(20), vec![0]].concat().repeat(90)), None);
        let numbered: Vec<u32> =
            (0..3000).flat_map(|i| [100 + i % 10, 200 + i / 10, 7, 8, 9, 0]).collect();
        assert_eq!(caught_in_answer(&numbered), None);
        // The same poem between other lines is a refrain, and no loop.
        let refrains: Vec<u32> =
            (0..2000).flat_map(|i| [vec![1000 + i, 5, 0], line.clone()].concat()).collect();
        assert_eq!(caught_in_answer(&refrains), None);
        assert!(caught(&refrains).is_some());
    }

    #[test]
    fn an_answer_that_is_the_same_for_thousands_of_tokens_is_a_loop() {
        for period in [1, 2, 3, 50, 511, 512, 700, 1000] {
            let cycle: Vec<u32> = (0..period).map(|i| 1 + i * 7919 % 10_007).collect();
            let tokens = cycle.repeat(12_000 / cycle.len() + 1);
            let at = caught_in_answer(&tokens).unwrap();
            let bound = (ANSWER.repeats * cycle.len()).max(ANSWER.repeated_min);
            assert!((bound..bound + cycle.len() + 2 * GRAM).contains(&at), "{period}: {at}");
        }
    }

    proptest! {
        #[test]
        fn every_cycle_is_caught_after_a_few_rounds(
            before in proptest::collection::vec(1u32..50, 0..200),
            cycle in proptest::collection::vec(1u32..50, 1..80),
        ) {
            let rounds = 2 + REPEATS + (REPEATED_MIN + GRAM).div_ceil(cycle.len());
            let mut tokens = before.clone();
            for _ in 0..rounds {
                tokens.extend(&cycle);
            }
            prop_assert!(caught(&tokens).is_some());
        }

        #[test]
        fn what_is_caught_is_a_cycle(
            parts in proptest::collection::vec((1u32..4, 1usize..60), 1..40),
        ) {
            let tokens: Vec<u32> = parts.iter().flat_map(|&(id, n)| vec![id; n]).collect();
            if let Some(at) = caught(&tokens) {
                let is_cycle = |p: usize| held(&tokens[..at], p) >= (REPEATS * p).max(REPEATED_MIN);
                prop_assert!((1..PERIOD_MAX).any(is_cycle), "{at} of {tokens:?}");
            }
        }

        #[test]
        fn text_without_repetition_is_no_loop(seed in any::<u32>(), n in 1usize..3000) {
            let token = |i: u32| 1 + i.wrapping_add(seed).wrapping_mul(2_654_435_761) % 30_000;
            let tokens: Vec<u32> = (0..n as u32).map(token).collect();
            prop_assert_eq!(caught(&tokens), None);
        }

        #[test]
        fn a_copy_of_the_watch_goes_on_alike(
            tokens in proptest::collection::vec(0u32..3, 0..600),
            cut in 0usize..600,
        ) {
            let mut whole = LoopDetector::of_thinking();
            let all: Vec<bool> = tokens.iter().map(|&id| whole.push(id, id == 0)).collect();
            let cut = cut.min(tokens.len());
            let mut kept = LoopDetector::of_thinking();
            for &id in &tokens[..cut] {
                kept.push(id, id == 0);
            }
            // A guess that is not kept is pushed to the copy alone.
            let mut guessed = kept.clone();
            guessed.push(9, true);
            let rest: Vec<bool> = tokens[cut..].iter().map(|&id| kept.push(id, id == 0)).collect();
            prop_assert_eq!(&rest[..], &all[cut..]);
        }
    }
}
