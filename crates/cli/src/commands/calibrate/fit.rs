//! Thresholds that would have taken the fewest tokens, losing no more right answers than allowed.
//!
//! A search over the values that were seen, since nothing changes between two of them: first for
//! the trials, which may lose half of what may be lost, then for the short answers.

use engine::Thresholds;

use super::measure::Measured;

/// Values of a signal that are tried, evenly spread over those that were seen.
const VALUES_MAX: usize = 24;
/// Trials in a row that are tried.
const AGREE: std::ops::RangeInclusive<u32> = 2..=5;

/// How a way of answering does: shares of questions, tokens a question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) right: f64,
    pub(super) tokens: f64,
    /// Answered without thinking.
    pub(super) fast: f64,
}

/// What was chosen, and how it does.
pub(super) struct Fitted {
    pub(super) thresholds: Thresholds,
    pub(super) outcome: Outcome,
}

/// Finds thresholds by which at most a share of `loss` more answers are wrong than by thinking.
pub(super) fn fit(measured: &[Measured], from: &Thresholds, loss: f64) -> Fitted {
    let slow = always(measured, true).right;
    // Rounding must not forbid what loses nothing.
    let allowed = |loss: f64| slow - loss - 1e-9;
    let never = Thresholds {
        ends_at_once: f32::INFINITY,
        short_mean: f32::INFINITY,
        short_min: f32::NEG_INFINITY,
        trials_agree: 0,
        ..*from
    };
    let mut best = Fitted { thresholds: never, outcome: outcome(measured, &never) };
    let means = measured.iter().flat_map(|it| &it.trials).map(|trial| trial.mean);
    for trial_mean in values(means) {
        for trials_agree in AGREE {
            let thresholds = Thresholds { trial_mean, trials_agree, ..never };
            best.improve(measured, thresholds, allowed(loss / 2.0));
        }
    }
    let short = measured.iter().filter(|it| it.short.finished).map(|it| it.short);
    let means = values(short.clone().map(|short| short.mean));
    let mins = values(short.map(|short| short.min));
    let with_trials = best.thresholds;
    for ends_at_once in values(measured.iter().map(|it| it.p_end)) {
        for &short_mean in &means {
            for &short_min in &mins {
                let signals = Thresholds { ends_at_once, short_mean, short_min, ..with_trials };
                best.improve(measured, signals, allowed(loss));
            }
        }
    }
    best
}

impl Fitted {
    fn improve(&mut self, measured: &[Measured], thresholds: Thresholds, least: f64) {
        let outcome = outcome(measured, &thresholds);
        let better = (outcome.tokens, -outcome.right) < (self.outcome.tokens, -self.outcome.right);
        if outcome.right >= least && better {
            *self = Fitted { thresholds, outcome };
        }
    }
}

/// Some of the values that were seen, ascending, and one above all.
fn values(seen: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut seen: Vec<f32> = seen.collect();
    seen.sort_by(f32::total_cmp);
    seen.dedup();
    let n = seen.len();
    let spread = (0..n.min(VALUES_MAX)).map(|i| seen[i * n / n.min(VALUES_MAX)]);
    spread.chain([f32::INFINITY]).collect()
}

/// How always answering fast, or always thinking to the end, does.
pub(super) fn always(measured: &[Measured], thinks: bool) -> Outcome {
    mean(measured.iter().map(|it| match thinks {
        true => (it.slow_right, it.slow_tokens, false),
        false => (it.fast_right, it.fast_tokens, true),
    }))
}

/// How `auto` would do by `thresholds`.
pub(super) fn outcome(measured: &[Measured], thresholds: &Thresholds) -> Outcome {
    mean(measured.iter().map(|it| one(it, thresholds)))
}

/// Whether one answer is right, what it takes, and whether it is a fast one.
fn one(it: &Measured, thresholds: &Thresholds) -> (bool, usize, bool) {
    let short = &it.short;
    let sure =
        short.finished && short.mean >= thresholds.short_mean && short.min >= thresholds.short_min;
    if it.p_end >= thresholds.ends_at_once || sure {
        return (it.fast_right, it.fast_tokens, true);
    }
    // The short answer that was given up.
    let lost = if thresholds.tries_short() { short.tokens as usize } else { 0 };
    match agreed(it, thresholds) {
        None => (it.slow_right, lost + it.slow_tokens, false),
        Some((after, right)) => {
            let answer = it.slow_tokens.saturating_sub(it.thinking_tokens);
            (right, lost + after + answer, false)
        }
    }
}

/// The tokens of thinking after which trials agree, and whether on the right answer.
fn agreed(it: &Measured, thresholds: &Thresholds) -> Option<(usize, bool)> {
    if thresholds.trials_agree == 0 {
        return None;
    }
    let mut in_a_row = 0;
    let mut last = None;
    for trial in &it.trials {
        let counts = trial.line.is_some() && trial.mean >= thresholds.trial_mean;
        in_a_row = match counts {
            true if last == trial.line.as_ref() => in_a_row + 1,
            counts => u32::from(counts),
        };
        last = trial.line.as_ref().filter(|_| counts);
        if in_a_row >= thresholds.trials_agree {
            return Some((trial.after as usize, trial.right));
        }
    }
    None
}

fn mean(each: impl Iterator<Item = (bool, usize, bool)>) -> Outcome {
    let mut sum = Outcome::default();
    let mut n = 0.0;
    for (right, tokens, fast) in each {
        sum.right += f64::from(u8::from(right));
        sum.tokens += tokens as f64;
        sum.fast += f64::from(u8::from(fast));
        n += 1.0;
    }
    Outcome { right: sum.right / n, tokens: sum.tokens / n, fast: sum.fast / n }
}

#[cfg(test)]
mod tests {
    use engine::ShortAnswer;

    use super::super::measure::Tried;
    use super::*;

    /// A question that is easy if its short answer has a mean of -0.1 or more.
    fn question(mean: f32, p_end: f32) -> Measured {
        let easy = mean >= -0.1;
        let trial = |(i, line): (u32, &str)| Tried {
            after: 128 * (i + 1),
            line: Some(line.into()),
            mean: -0.01,
            right: line == "4",
        };
        Measured {
            p_end,
            short: ShortAnswer { tokens: 10, mean, min: 2.0 * mean, finished: true },
            fast_right: easy,
            fast_tokens: 10,
            slow_right: true,
            slow_tokens: 1020,
            thinking_tokens: 1000,
            trials: (0..).zip(["5", "5", "4", "4", "4", "4", "4"]).map(trial).collect(),
        }
    }

    fn questions() -> Vec<Measured> {
        (0..40).map(|i| question(-0.01 * i as f32, 0.0)).collect()
    }

    #[test]
    fn what_loses_nothing_and_saves_most_is_found() {
        let found = fit(&questions(), &Thresholds::default(), 0.0);
        assert_eq!(found.outcome.right, 1.0);
        // Two trials agree on what is wrong, three are right, the first of them after 640 tokens.
        assert_eq!(found.thresholds.trials_agree, 3);
        // Only values that were seen are tried, so an easy one or two may be missed.
        assert!((8.0 / 40.0..=11.0 / 40.0).contains(&found.outcome.fast), "{:?}", found.outcome);
        let (fast, slow) = (found.outcome.fast, 1.0 - found.outcome.fast);
        let tokens = fast * 10.0 + slow * (10.0 + 640.0 + 20.0);
        assert!((found.outcome.tokens - tokens).abs() < 1e-9, "{:?}", found.outcome);
    }

    #[test]
    fn a_loss_that_is_allowed_is_used_and_no_more() {
        let strict = fit(&questions(), &Thresholds::default(), 0.0).outcome;
        let lax = fit(&questions(), &Thresholds::default(), 0.2).outcome;
        assert!(lax.tokens < strict.tokens && lax.right >= 0.8 - 1e-9, "{lax:?}");
    }

    #[test]
    fn signals_that_say_nothing_leave_thinking_on() {
        // Sure and wrong: no threshold tells them from those that are sure and right.
        let all: Vec<Measured> = (0..40)
            .map(|i: u32| (i.is_multiple_of(2), question(-0.05, 0.5)))
            .map(|(fast_right, it)| Measured { fast_right, trials: Vec::new(), ..it })
            .collect();
        let found = fit(&all, &Thresholds::default(), 0.01);
        assert_eq!((found.outcome.fast, found.outcome.right), (0.0, 1.0));
        assert_eq!(found.thresholds.trials_agree, 0);
    }
}
