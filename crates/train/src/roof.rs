//! Tokens a second beside what this machine could compute.

use panels::peak::Peak;
use simd::Best;

use crate::report::Report;
use crate::trainee::Trainee;

/// What a token costs, and what the machine could do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roof {
    /// Operations of one token's matrix products, forward.
    token_flops: f64,
    /// Operations a second in f32, by all threads.
    flops: f64,
}

impl Roof {
    /// Measures the machine: some tenths of a second.
    pub(crate) fn measure(trainee: &mut Trainee) -> Roof {
        let token_flops = trainee.spec.cost().linear_flops() as f64;
        let (pool, _) = trainee.core.model_mut();
        Roof { token_flops, flops: Peak::Float.measure(Best::detect(), pool) }
    }

    /// Tells of `rollout` or `training`, whose backward pass is twice its forward one.
    pub(crate) fn tell(&self, report: &mut Report, what: &str, n_tokens: usize, seconds: f64) {
        let passes = if what == "training" { 3.0 } else { 1.0 };
        let rate = n_tokens as f64 / seconds.max(1e-9);
        report.add(format!("tokens/s {what}"), rate);
        report.add(format!("roof {what}"), rate * passes * self.token_flops / self.flops);
    }
}
