//! Speculation: guesses at the tokens that follow, which the model checks several at a time.
//!
//! A guess is kept only if it is the token that would have been chosen in its place, and choices
//! depend on position and seed alone, so answers are the same with and without. What changes is how
//! many tokens a step brings.

/// How guesses are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculate {
    #[default]
    Off,
    /// What followed the same words earlier in the sequence.
    Ngram,
    /// The model's own layer for it (DeepSeek-V3), one token a step.
    Mtp,
}

/// Guesses of a step and sequence at most.
pub const DRAFTS_MAX: usize = 8;
/// Rows of logits that speculation may ask for beside one a sequence.
pub(crate) const DRAFT_ROWS_MAX: usize = 32;
/// The words that must be the same, from the most to the fewest.
const NGRAM: std::ops::RangeInclusive<usize> = 2..=4;
/// Guesses in a row that were all wrong before a pause, and tokens of the first pause.
const MISSES_MAX: u32 = 2;
const PAUSE_FIRST: u32 = 8;
const PAUSE_MAX: u32 = 256;

/// How one sequence's guesses fare, and hence how many are made.
#[derive(Clone, Debug)]
pub(crate) struct Drafter {
    /// How many tokens are guessed next.
    len: usize,
    /// Steps in a row in which no guess was right.
    misses: u32,
    /// Tokens until guessing goes on, and how many it will be the next time.
    pause: u32,
    next_pause: u32,
}

impl Default for Drafter {
    fn default() -> Self {
        Drafter { len: 3, misses: 0, pause: 0, next_pause: PAUSE_FIRST }
    }
}

impl Drafter {
    /// Guesses what follows `known`, at most `room` tokens, into `out`.
    pub(crate) fn guess(&mut self, known: &[u32], room: usize, out: &mut Vec<u32>) {
        out.clear();
        if self.rests() {
            return;
        }
        out.extend_from_slice(after_same_words(known, self.len.min(room)));
    }

    /// Whether guessing pauses at this token.
    pub(crate) fn rests(&mut self) -> bool {
        let rests = self.pause > 0;
        self.pause = self.pause.saturating_sub(1);
        rests
    }

    /// Learns that of `n` guesses the first `right` were kept.
    pub(crate) fn learn(&mut self, n: usize, right: usize) {
        if n == 0 {
            return;
        }
        if right == n {
            self.len = (self.len + 2).min(DRAFTS_MAX);
        } else {
            self.len = (right + 1).clamp(1, DRAFTS_MAX);
        }
        if right > 0 {
            self.misses = 0;
            self.next_pause = PAUSE_FIRST;
            return;
        }
        self.misses += 1;
        if self.misses == MISSES_MAX {
            self.misses = 0;
            self.pause = self.next_pause;
            self.next_pause = (2 * self.next_pause).min(PAUSE_MAX);
        }
    }
}

/// Up to `n` tokens that followed the last place where the end of `known` stood before, the longest
/// end that did.
fn after_same_words(known: &[u32], n: usize) -> &[u32] {
    for words in NGRAM.rev() {
        let Some(head) = known.len().checked_sub(words) else { continue };
        let end = &known[head..];
        // An occurrence must be followed by something.
        let earlier = known[..known.len() - 1].windows(words).rposition(|w| w == end);
        if let Some(at) = earlier {
            let follows = &known[at + words..];
            return &follows[..n.min(follows.len())];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_of_the_longest_end_is_followed() {
        let known = [1, 2, 3, 9, 2, 3, 8, 7, 1, 2, 3];
        assert_eq!(after_same_words(&known, 2), [9, 2]);
        let known = [5, 2, 3, 9, 2, 3, 8, 7, 1, 2, 3];
        assert_eq!(after_same_words(&known, 2), [8, 7]);
        assert_eq!(after_same_words(&known, 100), [8, 7, 1, 2, 3]);
        assert!(after_same_words(&[1, 2, 3], 2).is_empty());
        assert!(after_same_words(&[], 2).is_empty());
        // A run repeats itself.
        assert_eq!(after_same_words(&[4, 4, 4, 4], 2), [4]);
    }

    #[test]
    fn guessing_pauses_when_it_does_not_pay_and_grows_when_it_does() {
        let known = [7; 40];
        let (mut drafter, mut out) = (Drafter::default(), Vec::new());
        for _ in 0..4 {
            drafter.learn(3, 3);
        }
        assert_eq!(drafter.len, DRAFTS_MAX);
        for _ in 0..MISSES_MAX {
            drafter.learn(8, 0);
        }
        for _ in 0..PAUSE_FIRST {
            drafter.guess(&known, 8, &mut out);
            assert!(out.is_empty());
        }
        drafter.guess(&known, 8, &mut out);
        assert_eq!(out.len(), 1);
        drafter.learn(1, 0);
        drafter.learn(1, 0);
        assert_eq!(drafter.pause, 2 * PAUSE_FIRST);
    }
}
