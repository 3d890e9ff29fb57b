//! Money: what answers cost to make and what is charged for them, by the planner's own formulas.

use engine::Usage;
use plan::{Prices, Tokens, margin};

/// What the machine costs, and what tokens are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Money {
    /// US dollars an hour of the machine.
    pub per_hour: Option<f64>,
    pub prices: Option<Prices>,
}

/// The money of one or several answers, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// Of the engine's time that went into them; idle time is nobody's.
    pub cost: Option<f64>,
    pub revenue: Option<f64>,
}

impl Bill {
    /// Profit over cost.
    pub fn margin(&self) -> Option<f64> {
        margin(self.revenue?, self.cost?)
    }

    pub fn plus(&self, other: &Bill) -> Bill {
        let add = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Bill { cost: add(self.cost, other.cost), revenue: add(self.revenue, other.revenue) }
    }
}

impl Money {
    /// The bill of an answer; `first` if its prompt is charged with it. None without any price.
    pub fn bill(&self, usage: &Usage, first: bool) -> Option<Bill> {
        if *self == Money::default() {
            return None;
        }
        let cost = self.cost_of(usage.compute_us as f64 / 1e6);
        let revenue = self.prices.map(|prices| prices.charge(&tokens(usage, first)));
        Some(Bill { cost, revenue })
    }

    /// What so many seconds of the machine cost.
    pub fn cost_of(&self, seconds: f64) -> Option<f64> {
        self.per_hour.map(|usd| usd * seconds / 3600.0)
    }
}

/// The tokens of an answer as they are charged.
pub(crate) fn tokens(usage: &Usage, first: bool) -> Tokens {
    let of_prompt = |n: usize| if first { n as f64 } else { 0.0 };
    Tokens {
        input: of_prompt(usage.prompt_tokens - usage.cached_tokens.min(usage.prompt_tokens)),
        cached: of_prompt(usage.cached_tokens),
        output: usage.completion_tokens as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage {
        prompt_tokens: 1_000_000,
        cached_tokens: 250_000,
        thinking_tokens: 0,
        completion_tokens: 500_000,
        drafted_tokens: 0,
        accepted_tokens: 0,
        compute_us: 1_800_000_000,
        ended_by: None,
        auto: None,
        queue_us: 0,
        prompt_us: 0,
        decode_us: 0,
    };

    #[test]
    fn half_an_hour_costs_half_a_price_and_tokens_are_charged_by_kind() {
        let prices = Prices { input: 0.4, cached: 0.1, output: 2.0 };
        let money = Money { per_hour: Some(1.5), prices: Some(prices) };
        let bill = money.bill(&USAGE, true).unwrap();
        assert_eq!(bill.cost, Some(0.75));
        assert!((bill.revenue.unwrap() - 1.325).abs() < 1e-12);
        assert!((bill.margin().unwrap() - (1.325 - 0.75) / 0.75).abs() < 1e-12);
        let second = money.bill(&USAGE, false).unwrap();
        assert_eq!(second.revenue, Some(1.0), "a prompt is charged once");
    }

    #[test]
    fn without_prices_there_is_no_bill() {
        assert_eq!(Money::default().bill(&USAGE, true), None);
        let only_cost = Money { per_hour: Some(2.0), prices: None };
        let bill = only_cost.bill(&USAGE, true).unwrap();
        assert_eq!((bill.cost, bill.revenue, bill.margin()), (Some(1.0), None, None));
    }
}
