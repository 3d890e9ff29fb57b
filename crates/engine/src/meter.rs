//! What the steps took: time, work, and how long the work takes at the machine's peaks.
//!
//! ```text
//! a step's seconds are shared out:  prompts : answers = their times at the peaks (their tokens,
//!                                                       where no peaks are known)
//!                                   rows of a part    = their tokens
//! share of the peak of a part = its time at the peaks / its seconds
//! ```
//!
//! Weights are read once a step: each token of it has its part of their bytes.

use plan::Peaks;
use schedule::Row;
use spec::{Rates, RowShape, Work};

use crate::speculate::DRAFTS_MAX;

/// Sums since the engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub n_steps: u64,
    /// Rows of all steps: with `n_steps`, how many are computed together.
    pub n_rows: u64,
    pub prompts: Part,
    pub answers: Part,
    /// Steps by their tokens: those of at most `STEP_TOKENS[i]` and of more than the one before,
    /// and those of more than the last.
    pub steps_by_tokens: [u64; STEP_TOKENS.len() + 1],
    pub guesses: Guesses,
}

/// Bounds between steps of few tokens and of many.
pub const STEP_TOKENS: [u64; 13] = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];

/// What was guessed to come next, and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Guesses {
    /// How often somebody guessed.
    pub n: u64,
    /// Tokens that were guessed, and those that were right.
    pub tokens: u64,
    pub right: u64,
    /// How often so many and one more were right in a row.
    pub right_at: [u64; DRAFTS_MAX],
}

impl Guesses {
    /// Counts `n` tokens guessed at once, of which the first `right` were.
    pub(crate) fn note(&mut self, n: usize, right: usize) {
        self.n += u64::from(n > 0);
        self.tokens += n as u64;
        self.right += right as u64;
        self.right_at.iter_mut().take(right).for_each(|at| *at += 1);
    }
}

/// What went into prompts, or into answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    pub seconds: f64,
    /// What the same work takes at the machine's peaks; 0 where these are not known.
    pub peak_s: f64,
    /// Bytes of experts are those that were chosen, not what is expected.
    pub work: Work,
}

impl Part {
    /// The share of the machine's peak; none before anything was done, or without peaks.
    pub fn share(&self) -> Option<f64> {
        (self.seconds > 0.0 && self.peak_s > 0.0).then(|| self.peak_s / self.seconds)
    }
}

/// Adds up what the steps take.
pub(crate) struct Meter {
    rates: Rates,
    pub(crate) peaks: Option<Peaks>,
    pub(crate) spent: Spent,
    /// Bytes of one routed expert of one layer.
    expert_bytes: f64,
    /// Experts that were touched before this step.
    touched: u64,
}

impl Meter {
    pub(crate) fn new(rates: Rates) -> Meter {
        let layers = &rates.traffic.experts;
        let (bytes, n) =
            layers.iter().fold((0, 0), |sum, layer| (sum.0 + layer.bytes, sum.1 + layer.n_experts));
        let expert_bytes = bytes as f64 / (n.max(1)) as f64;
        Meter { rates, peaks: None, spent: Spent::default(), expert_bytes, touched: 0 }
    }

    /// Counts a step of `rows` that took so long. `touched` is how many experts were since the
    /// model was loaded. Returns the seconds that a token of a prompt and one of an answer took.
    pub(crate) fn add(
        &mut self,
        rows: &[Row],
        is_answer: impl Fn(&Row) -> bool,
        seconds: f64,
        touched: u64,
    ) -> (f64, f64) {
        let expert_bytes = touched.saturating_sub(self.touched) as f64 * self.expert_bytes;
        self.touched = touched;
        let shape = |row: &Row| RowShape {
            from: row.from as u64,
            n_tokens: row.n_tokens as u64,
            n_logits: row.wants_logits as u64,
        };
        let n_tokens: usize = rows.iter().map(|row| row.n_tokens).sum();
        let part = |answers: bool| {
            let own = rows.iter().filter(|row| is_answer(row) == answers).map(shape);
            let mut work = self.rates.work(own);
            let share = work.n_tokens as f64 / n_tokens.max(1) as f64;
            work.dense_bytes *= share;
            work.expert_bytes = expert_bytes * share;
            let peak_s = self.peaks.map_or(0.0, |peaks| peaks.time(&work).total_s());
            (work, peak_s)
        };
        let (prompts, answers) = (part(false), part(true));
        let (weight_of, total) = match prompts.1 + answers.1 {
            0.0 => ([prompts.0.n_tokens as f64, answers.0.n_tokens as f64], n_tokens.max(1) as f64),
            peak_s => ([prompts.1, answers.1], peak_s),
        };
        self.spent.n_steps += 1;
        let size = STEP_TOKENS.partition_point(|&bound| bound < n_tokens as u64);
        self.spent.steps_by_tokens[size] += 1;
        self.spent.n_rows += rows.len() as u64;
        let sums = [(&mut self.spent.prompts, prompts), (&mut self.spent.answers, answers)];
        let mut a_token = [0.0; 2];
        for (i, (sum, (work, peak_s))) in sums.into_iter().enumerate() {
            let own = seconds * weight_of[i] / total;
            sum.seconds += own;
            sum.peak_s += peak_s;
            sum.work = sum.work.plus(&work);
            a_token[i] = own / work.n_tokens.max(1) as f64;
        }
        (a_token[0], a_token[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedule::SequenceId;
    use spec::Traffic;

    fn meter() -> Meter {
        let traffic = Traffic { always: 1000, experts: Vec::new(), rows: 0, unread: 0, kv: 10 };
        let (body_flops, head_flops, pair_flops) = (100.0, 50.0, 1.0);
        Meter::new(Rates { body_flops, expert_flops: 0.0, head_flops, pair_flops, traffic })
    }

    fn row(id: u64, from: usize, n_tokens: usize) -> Row {
        Row { sequence: SequenceId(id), from, n_tokens, wants_logits: 1 }
    }

    #[test]
    fn a_step_is_shared_out_among_prompts_and_answers() {
        let mut meter = meter();
        let rows = [row(1, 0, 6), row(2, 9, 1), row(3, 4, 1)];
        let (prompt, answer) = meter.add(&rows, |row| row.sequence.0 > 1, 0.8, 0);
        let Spent { n_steps, n_rows, prompts, answers, steps_by_tokens, .. } = meter.spent;
        assert_eq!((n_steps, n_rows), (1, 3));
        assert_eq!(steps_by_tokens[..3], [0, 1, 0], "eight tokens are at most eight");
        // Without peaks by tokens: six of eight.
        assert!((prompts.seconds - 0.6).abs() < 1e-12 && (answers.seconds - 0.2).abs() < 1e-12);
        assert!((prompt - 0.1).abs() < 1e-12 && (answer - 0.1).abs() < 1e-12);
        assert_eq!((prompts.work.n_tokens, answers.work.n_tokens), (6, 2));
        assert_eq!(prompts.work.dense_bytes + answers.work.dense_bytes, 1000.0);
        assert_eq!(answers.work.kv_bytes, 150.0);
        assert_eq!(prompts.share(), None);
    }

    #[test]
    fn guesses_count_by_how_many_in_a_row_were_right() {
        let mut guesses = Guesses::default();
        for (n, right) in [(0, 0), (3, 3), (2, 0), (4, 1)] {
            guesses.note(n, right);
        }
        assert_eq!((guesses.n, guesses.tokens, guesses.right), (3, 9, 4));
        assert_eq!(guesses.right_at, [2, 1, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn with_peaks_the_share_is_their_time_over_what_it_took() {
        let mut meter = meter();
        meter.peaks = Some(Peaks { bytes_per_s: 1000.0, linear_flops: 1e9, attention_flops: 1e9 });
        meter.add(&[row(1, 9, 1)], |_| true, 4.4, 0);
        // 1000 bytes of weights and 100 of the cache at 1000 a second, in 4.4 s.
        let share = meter.spent.answers.share().unwrap();
        assert!((share - 0.25).abs() < 1e-6, "{share}");
        assert_eq!(meter.spent.prompts.share(), None);
    }
}
