//! What tokens cost and earn, a million at a time. The server charges by the same [`Prices`].

use crate::Error;
use crate::error::{not_negative, positive};

const MILLION: f64 = 1e6;

/// How many tokens of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Of prompts, computed.
    pub input: f64,
    /// Of prompts, found in the cache.
    pub cached: f64,
    /// Of answers, thinking included.
    pub output: f64,
}

/// US dollars a million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    pub input: f64,
    pub cached: f64,
    pub output: f64,
}

impl Prices {
    /// # Errors
    /// [`Error::Input`] names a price that is negative or no number.
    pub fn check(self) -> Result<Prices, Error> {
        not_negative("the price of input tokens", self.input)?;
        not_negative("the price of cached tokens", self.cached)?;
        not_negative("the price of output tokens", self.output)?;
        Ok(self)
    }

    /// What `tokens` are charged, in US dollars.
    pub fn charge(&self, tokens: &Tokens) -> f64 {
        let sum =
            tokens.input * self.input + tokens.cached * self.cached + tokens.output * self.output;
        sum / MILLION
    }
}

/// What a million tokens cost to make, in US dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    pub input: f64,
    pub cached: f64,
    pub output: f64,
}

impl Costs {
    /// From what an instance costs and makes: prompts, tokens brought from a cache, answers, in
    /// tokens a second.
    ///
    /// # Errors
    /// [`Error::Input`] if one of them is no rate.
    pub fn of(
        usd_per_hour: f64,
        input_per_s: f64,
        cached_per_s: f64,
        output_per_s: f64,
    ) -> Result<Costs, Error> {
        let usd_per_s = not_negative("US dollars an hour", usd_per_hour)? / 3600.0;
        Ok(Costs {
            input: MILLION * usd_per_s / positive("input tokens a second", input_per_s)?,
            cached: MILLION * usd_per_s / positive("cached tokens a second", cached_per_s)?,
            output: MILLION * usd_per_s / positive("output tokens a second", output_per_s)?,
        })
    }

    /// What `tokens` cost, in US dollars.
    pub fn total(&self, tokens: &Tokens) -> f64 {
        let sum =
            tokens.input * self.input + tokens.cached * self.cached + tokens.output * self.output;
        sum / MILLION
    }
}

/// Profit over cost, as DeepSeek counts it: 5.45 is 545 %. `None` where nothing is spent.
pub fn margin(revenue_usd: f64, cost_usd: f64) -> Option<f64> {
    (cost_usd > 0.0).then(|| (revenue_usd - cost_usd) / cost_usd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_prices_are_refused() {
        let prices = Prices { input: 0.55, cached: -0.14, output: 2.19 };
        assert_eq!(
            prices.check().unwrap_err().to_string(),
            "the price of cached tokens is -0.14; expected a finite number of at least 0"
        );
        assert!(Prices { input: f64::NAN, ..prices }.check().is_err());
        assert!(Prices { cached: 0.0, ..prices }.check().is_ok());
    }

    #[test]
    fn an_instance_costs_what_it_makes_in_an_hour() {
        // DeepSeek's node: $16 an hour, 73.7k in or 14.8k out a second.
        let costs = Costs::of(16.0, 73.7e3, 1e9, 14.8e3).unwrap();
        assert!((costs.input - 0.0603).abs() < 5e-5 && (costs.output - 0.300).abs() < 5e-4);
        let million = Tokens { input: 1e6, cached: 0.0, output: 1e6 };
        assert!((costs.total(&million) - costs.input - costs.output).abs() < 1e-12);
        assert!(Costs::of(-1.0, 1.0, 1.0, 1.0).is_err() && Costs::of(1.0, 0.0, 1.0, 1.0).is_err());
    }

    #[test]
    fn a_margin_is_profit_over_cost() {
        assert_eq!(margin(300.0, 100.0), Some(2.0));
        assert_eq!(margin(50.0, 100.0), Some(-0.5));
        assert_eq!(margin(50.0, 0.0), None);
    }
}
