//! What a step was: numbers by name, and some of what was written.

use crate::experts::{self, ExpertLoads, LayerShares};

/// One step, told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The first is 1.
    pub step: u64,
    /// In the order in which they are told.
    pub numbers: Vec<(String, f64)>,
    pub samples: Vec<Sample>,
    /// Of a sparse model.
    pub experts: Vec<LayerShares>,
}

/// An answer with its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub prompt: String,
    pub text: String,
    pub reward: f64,
    pub why: String,
    pub difficulty: Option<i64>,
    /// Tokens of the answer.
    pub n_tokens: usize,
}

impl Report {
    pub fn new(step: u64) -> Report {
        Report { step, ..Report::default() }
    }

    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.numbers.push((name.into(), value));
    }

    /// What experts were chosen, and how unevenly.
    pub fn tell_experts(&mut self, loads: &ExpertLoads) {
        self.experts = loads.shares();
        if let Some(imbalance) = experts::imbalance(&self.experts) {
            self.add("expert imbalance", imbalance);
        }
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.numbers.iter().find(|number| number.0 == name).map(|number| number.1)
    }

    /// One line for a person, of the numbers that were named.
    pub fn line(&self, steps: u64, names: &[&str]) -> String {
        let part = |name: &&str| Some(format!("{name} {}", shown(self.get(name)?)));
        let parts: Vec<String> = names.iter().filter_map(part).collect();
        format!("step {} of {steps}: {}", self.step, parts.join(", "))
    }
}

/// A number with as many digits as tell something; 0 only if it is.
pub fn shown(x: f64) -> String {
    let size = x.abs();
    if x == 0.0 || (x.fract() == 0.0 && size < 1e9) {
        format!("{x}")
    } else if (1e-3..1e6).contains(&size) {
        let digits = (3 - size.log10().floor() as i32).clamp(0, 6) as usize;
        format!("{x:.digits$}")
    } else {
        format!("{x:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_there() {
        let mut report = Report::new(7);
        report.add("loss", 0.123_456);
        report.add("rate", 1e-6);
        report.add("dead groups", 3.0);
        report.add("tokens/s", 12_345.678);
        let line = report.line(9, &["loss", "rate", "nothing", "dead groups", "tokens/s"]);
        assert_eq!(line, "step 7 of 9: loss 0.1235, rate 1.000e-6, dead groups 3, tokens/s 12346");
    }
}
