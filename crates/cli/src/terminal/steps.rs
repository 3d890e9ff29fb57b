//! The steps of a training run: a line for each, and on a terminal how far it is.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

use indicatif::ProgressBar;
use train::report::{Report, shown};

use super::{bars, notice};

/// Steps whose reward or loss is drawn.
const DRAWN: usize = 32;
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is shown while a model trains.
pub(crate) struct Steps {
    steps: u64,
    names: &'static [&'static str],
    bar: Option<ProgressBar>,
    drawn: RefCell<Vec<f64>>,
}

impl Steps {
    /// Of `steps` in all, of which `done` were done before; lines tell the numbers of these names.
    pub(crate) fn new(steps: u64, done: u64, names: &'static [&'static str]) -> Steps {
        let on_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        let bar = on_terminal.then(|| bars::steps(steps, done));
        Steps { steps, names, bar, drawn: RefCell::default() }
    }

    pub(crate) fn tell(&self, report: &Report) {
        let line = report.line(self.steps, self.names);
        let Some(bar) = &self.bar else {
            // Nobody is left to hear that stdout is gone; the logs go on.
            let _ = writeln!(io::stdout(), "{line}");
            return;
        };
        bar.println(line);
        bar.set_position(report.step);
        let name = if report.get("reward").is_some() { "reward" } else { "loss" };
        if let Some(number) = report.get(name) {
            let mut drawn = self.drawn.borrow_mut();
            drawn.push(number);
            let from = drawn.len().saturating_sub(DRAWN);
            bar.set_message(format!("{name} {} {}", curve(&drawn[from..]), shown(number)));
        }
    }

    /// One line about something that happened once.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| notice(text)),
            None => notice(text),
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// Numbers as heights, the lowest and the highest of them at the ends.
fn curve(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |number: &f64| {
        let share = if high > low { (number - low) / (high - low) } else { 0.0 };
        HEIGHTS[((share * 7.0).round() as usize).min(7)]
    };
    numbers.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_reaches_from_the_lowest_to_the_highest() {
        assert_eq!(curve(&[0.0, 0.5, 1.0]), "▁▅█");
        assert_eq!(curve(&[2.0, 2.0]), "▁▁");
        assert_eq!(curve(&[]), "");
    }
}
