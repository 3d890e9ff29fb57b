//! Requests as they come over a day: when, how long, how much of them is known already.

use crate::error::{not_negative, positive, share};
use crate::{Demand, Error, random};

/// Requests of the largest workload.
pub const REQUESTS_MAX: u64 = 1 << 22;
/// Tokens of the longest prompt or answer.
const LENGTH_MAX: u64 = 1 << 24;
const DAY_S: f64 = 86_400.0;
const DAYS_MAX: u64 = 366;

/// How long something is, in tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Length {
    Fixed(u64),
    /// From the first to the second, both included.
    Uniform(u64, u64),
    /// Its logarithm is normal: most are short, some very long.
    LogNormal {
        median: f64,
        sigma: f64,
        max: u64,
    },
    /// One of these, each as likely: lengths of a log.
    OneOf(Vec<u64>),
}

/// What of the answers is thinking.
#[derive(Clone, Debug, PartialEq)]
pub struct Thinking {
    /// Of the requests, those that think before they answer.
    pub share: f64,
    /// How long they think, beside the answer.
    pub tokens: Length,
}

/// What prompts have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Prefixes {
    /// Of the requests, those that begin with a known text.
    pub share: f64,
    /// How many such texts there are.
    pub count: u64,
    /// How long each is. No more of it counts than the prompt has tokens.
    pub tokens: Length,
}

/// Traffic as a law: the same seed gives the same requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub seed: u64,
    /// Mean of the day.
    pub requests_per_s: f64,
    /// How the rate changes over the day, relative: equally long parts from midnight on.
    pub shape: Vec<f64>,
    pub prompt: Length,
    pub answer: Length,
    pub thinking: Thinking,
    pub prefixes: Prefixes,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub at_s: f64,
    /// Tokens, at least 1.
    pub prompt: u64,
    /// Tokens without thinking; with it at least 1.
    pub answer: u64,
    pub thinking: u64,
    /// Which known text the prompt begins with, and for how many tokens.
    pub prefix: Option<(u64, u64)>,
}

impl Request {
    /// Tokens that are generated.
    pub fn output(&self) -> u64 {
        (self.answer + self.thinking).max(1)
    }
}

/// What a draw is for.
#[derive(Clone, Copy)]
enum Purpose {
    Arrival,
    Prompt,
    Answer,
    Thinks,
    Thinking,
    HasPrefix,
    Prefix,
    PrefixLength,
}

impl Length {
    /// # Errors
    /// [`Error::Input`] if `what` could have no length.
    fn check(&self, what: &str) -> Result<(), Error> {
        let within = |n: u64| match n <= LENGTH_MAX {
            true => Ok(()),
            false => Err(Error::TooMany { what: "tokens of a length", found: n, max: LENGTH_MAX }),
        };
        match self {
            Length::Fixed(n) => within(*n),
            Length::Uniform(from, to) => {
                within(*to)?;
                not_negative(&format!("{what}: the range's length"), *to as f64 - *from as f64)?;
                Ok(())
            }
            Length::LogNormal { median, sigma, max } => {
                within(*max)?;
                positive(&format!("{what}.median"), *median)?;
                not_negative(&format!("{what}.sigma"), *sigma)?;
                Ok(())
            }
            Length::OneOf(lengths) => {
                positive(&format!("{what}: the number of lengths"), lengths.len() as f64)?;
                lengths.iter().try_for_each(|&n| within(n))
            }
        }
    }

    fn draw(&self, seed: u64, index: u64, purpose: Purpose) -> u64 {
        let purpose = purpose as u64;
        let pick = |n: u64| {
            // Above 0 and below 1, so that every one of n is as likely.
            ((random::uniform(seed, index, 2 * purpose) * n as f64) as u64).min(n - 1)
        };
        match self {
            Length::Fixed(n) => *n,
            Length::Uniform(from, to) => from + pick(to - from + 1),
            Length::LogNormal { median, sigma, max } => {
                let length = median * (sigma * random::normal(seed, index, purpose)).exp();
                (length.round() as u64).min(*max)
            }
            Length::OneOf(lengths) => lengths[pick(lengths.len() as u64) as usize],
        }
    }

    /// The mean of 4096 draws; exact where all are alike.
    pub fn mean(&self) -> f64 {
        match self {
            Length::Fixed(n) => *n as f64,
            Length::Uniform(from, to) => (*from as f64 + *to as f64) / 2.0,
            Length::OneOf(lengths) => {
                lengths.iter().sum::<u64>() as f64 / lengths.len().max(1) as f64
            }
            Length::LogNormal { .. } => {
                let draws = (0..4096).map(|i| self.draw(0, i, Purpose::Prompt) as f64);
                draws.sum::<f64>() / 4096.0
            }
        }
    }
}

impl Workload {
    /// # Errors
    /// [`Error::Input`] names what cannot be.
    pub fn check(self) -> Result<Workload, Error> {
        positive("requests_per_s", self.requests_per_s)?;
        for &part in &self.shape {
            not_negative("shape", part)?;
        }
        // The sum of nothing is -0.
        positive("the sum of shape", 0.0 + self.shape.iter().sum::<f64>())?;
        self.prompt.check("prompt")?;
        self.answer.check("answer")?;
        share("thinking.share", self.thinking.share)?;
        self.thinking.tokens.check("thinking.tokens")?;
        share("prefixes.share", self.prefixes.share)?;
        self.prefixes.tokens.check("prefixes.tokens")?;
        if self.prefixes.share > 0.0 {
            positive("prefixes.count", self.prefixes.count as f64)?;
        }
        Ok(self)
    }

    /// Requests a second at each part of the day, from midnight on.
    pub fn rates(&self) -> Vec<f64> {
        let mean = self.shape.iter().sum::<f64>() / self.shape.len() as f64;
        self.shape.iter().map(|part| self.requests_per_s * part / mean).collect()
    }

    /// Tokens of an answer with its thinking, on average.
    pub fn mean_output(&self) -> f64 {
        let thinking = self.thinking.share * self.thinking.tokens.mean();
        (self.answer.mean() + thinking).max(1.0)
    }

    /// The day's mean as steady rates, `hits` of the prompts' tokens in the cache.
    pub fn demand(&self, hits: f64, between_s: f64) -> Demand {
        let prompt = self.prompt.mean().max(1.0);
        let input_per_s = self.requests_per_s * prompt;
        Demand {
            input_per_s: input_per_s * (1.0 - hits),
            cached_per_s: input_per_s * hits,
            output_per_s: self.requests_per_s * self.mean_output(),
            prompt: prompt as u64,
            context: (prompt + self.mean_output() / 2.0) as u64,
            between_s,
        }
    }

    /// The same requests at an even rate.
    #[must_use]
    pub fn even(&self, requests_per_s: f64) -> Workload {
        Workload { requests_per_s, shape: vec![1.0], ..self.clone() }
    }

    /// The requests from midnight on for `duration_s`, over as many days as that takes: arrivals of
    /// a Poisson process whose rate follows the shape.
    ///
    /// # Errors
    /// [`Error::TooMany`] beyond [`REQUESTS_MAX`].
    pub fn requests(&self, duration_s: f64) -> Result<Vec<Request>, Error> {
        let days = (positive("duration_s", duration_s)? / DAY_S) as u64;
        if days > DAYS_MAX {
            return Err(Error::TooMany { what: "days", found: days, max: DAYS_MAX });
        }
        let rates = self.rates();
        let part_s = DAY_S / rates.len() as f64;
        let peak = rates.iter().copied().fold(0.0, f64::max);
        if peak * duration_s > REQUESTS_MAX as f64 {
            let found = (peak * duration_s) as u64;
            return Err(Error::TooMany { what: "requests", found, max: REQUESTS_MAX });
        }
        let mut requests = Vec::new();
        // Unit-rate gaps are stretched by the rate of the part that they fall in.
        let (mut at_s, mut part) = (0.0, 0_usize);
        loop {
            let index = requests.len() as u64;
            let mut gap = -random::uniform(self.seed, index, 2 * Purpose::Arrival as u64).ln();
            loop {
                let (rate, end_s) = (rates[part % rates.len()], (part + 1) as f64 * part_s);
                let room = rate * (end_s - at_s);
                if gap < room {
                    at_s += gap / rate;
                    break;
                }
                (gap, at_s, part) = (gap - room, end_s, part + 1);
                if at_s >= duration_s {
                    return Ok(requests);
                }
            }
            if at_s >= duration_s {
                return Ok(requests);
            }
            requests.push(self.request(index, at_s));
        }
    }

    fn request(&self, index: u64, at_s: f64) -> Request {
        let chance = |purpose: Purpose| random::uniform(self.seed, index, 2 * purpose as u64);
        let draw = |length: &Length, purpose| length.draw(self.seed, index, purpose);
        let prompt = draw(&self.prompt, Purpose::Prompt).max(1);
        let thinks = chance(Purpose::Thinks) < self.thinking.share;
        let prefix = (chance(Purpose::HasPrefix) < self.prefixes.share).then(|| {
            let id = (chance(Purpose::Prefix) * self.prefixes.count as f64) as u64;
            // A text has its length whoever asks.
            let len = self.prefixes.tokens.draw(self.seed, id, Purpose::PrefixLength);
            (id, len.min(prompt))
        });
        Request {
            at_s,
            prompt,
            answer: draw(&self.answer, Purpose::Answer),
            thinking: if thinks { draw(&self.thinking.tokens, Purpose::Thinking) } else { 0 },
            prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload() -> Workload {
        Workload {
            seed: 7,
            requests_per_s: 0.1,
            shape: vec![0.5, 1.0, 2.0, 0.5],
            prompt: Length::LogNormal { median: 500.0, sigma: 1.0, max: 8000 },
            answer: Length::Uniform(10, 30),
            thinking: Thinking { share: 0.25, tokens: Length::Fixed(1000) },
            prefixes: Prefixes { share: 0.5, count: 3, tokens: Length::OneOf(vec![64, 128]) },
        }
    }

    #[test]
    fn arrivals_follow_the_day() {
        let requests = workload().requests(DAY_S).unwrap();
        let n = requests.len() as f64;
        assert!((n / 8640.0 - 1.0).abs() < 0.05, "{n}");
        assert!(requests.is_sorted_by(|a, b| a.at_s <= b.at_s));
        for (part, expected) in [0.125, 0.25, 0.5, 0.125].into_iter().enumerate() {
            let inside =
                requests.iter().filter(|request| (request.at_s / 21_600.0) as usize == part);
            let found = inside.count() as f64 / n;
            assert!((found - expected).abs() < 0.02, "part {part}: {found}");
        }
        assert_eq!(requests, workload().requests(DAY_S).unwrap());
        let half = workload().requests(DAY_S / 2.0).unwrap();
        assert_eq!(half[..], requests[..half.len()]);
    }

    #[test]
    fn lengths_follow_their_laws() {
        let requests = workload().requests(DAY_S).unwrap();
        let n = requests.len();
        let mut prompts: Vec<u64> = requests.iter().map(|request| request.prompt).collect();
        prompts.sort_unstable();
        assert!((prompts[n / 2] as f64 / 500.0 - 1.0).abs() < 0.05, "{}", prompts[n / 2]);
        assert!(requests.iter().all(|request| (10..=30).contains(&request.answer)));
        let thinking = requests.iter().filter(|request| request.thinking == 1000).count();
        assert!((thinking as f64 / n as f64 - 0.25).abs() < 0.02);
        let known: Vec<(u64, u64)> = requests.iter().filter_map(|request| request.prefix).collect();
        assert!((known.len() as f64 / n as f64 - 0.5).abs() < 0.02);
        assert!(known.iter().all(|&(id, len)| id < 3 && len <= 128));
        assert!((workload().prompt.mean() / (500.0 * 0.5_f64.exp()) - 1.0).abs() < 0.1);
    }

    #[test]
    fn an_hour_without_requests_is_passed_over() {
        let night = Workload { shape: vec![0.0, 1.0], ..workload() };
        let requests = night.requests(DAY_S).unwrap();
        assert!(requests[0].at_s >= DAY_S / 2.0 && !requests.is_empty());
    }

    #[test]
    fn impossible_traffic_is_named() {
        let message = |workload: Workload| workload.check().unwrap_err().to_string();
        let bad = Workload { requests_per_s: 0.0, ..workload() };
        assert_eq!(message(bad), "requests_per_s is 0; expected a finite number above 0");
        let thinking = Thinking { share: 1.5, ..workload().thinking };
        let bad = Workload { thinking, ..workload() };
        assert_eq!(message(bad), "thinking.share is 1.5; expected a share from 0 to 1");
        let bad = Workload { shape: vec![], ..workload() };
        assert_eq!(message(bad), "the sum of shape is 0; expected a finite number above 0");
        assert!(Workload { prompt: Length::Uniform(9, 3), ..workload() }.check().is_err());
        assert!(Workload { answer: Length::OneOf(vec![]), ..workload() }.check().is_err());
        assert!(Workload { answer: Length::Fixed(u64::MAX), ..workload() }.check().is_err());
        let flood = Workload { requests_per_s: 1e6, ..workload() };
        assert!(matches!(flood.requests(DAY_S), Err(Error::TooMany { .. })));
    }
}
