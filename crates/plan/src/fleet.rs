//! How many instances carry a demand, prompts and answers apart or together.
//!
//! ```text
//! apart      instances = input / rate of prompts      and      output / rate of answers;
//!            every prompt's cache travels from one to the other
//! together   instances = both sums; answers wait while prompts are computed, so that a step may
//!            take the target less that share
//! ```

use crate::error::{not_negative, positive};
use crate::{Deployment, Error};

/// Traffic as steady rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Tokens of prompts a second that are not in the cache.
    pub input_per_s: f64,
    /// Tokens of prompts a second that are.
    pub cached_per_s: f64,
    pub output_per_s: f64,
    /// Tokens of a prompt, cached or not, on average.
    pub prompt: u64,
    /// Tokens in the cache of a stream that answers, on average.
    pub context: u64,
    /// Seconds from token to token at most.
    pub between_s: f64,
}

/// Instances that do the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// As many as the demand takes, not whole.
    pub instances: f64,
    /// Whole ones.
    pub whole: u64,
    /// Devices of all whole ones.
    pub devices: u64,
    /// Streams a rank.
    pub batch: u64,
}

/// What a demand takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fleet {
    /// For prompts; `None` where both are done together.
    pub prefill: Option<Pool>,
    /// For answers, or for both.
    pub decode: Pool,
    pub usd_per_hour: f64,
    /// Seconds that a prompt's cache is under way between the two; 0 together.
    pub transfer_s: f64,
    /// Bytes a second of caches under way, of the whole fleet.
    pub transfer_bytes_per_s: f64,
}

impl Demand {
    fn check(&self) -> Result<(), Error> {
        not_negative("input_per_s", self.input_per_s)?;
        not_negative("cached_per_s", self.cached_per_s)?;
        positive("output_per_s", self.output_per_s)?;
        positive("prompt", self.prompt as f64)?;
        positive("context", self.context as f64)?;
        positive("between_s", self.between_s)?;
        Ok(())
    }

    /// Tokens of the mean prompt that are in the cache.
    fn cached(&self) -> u64 {
        let all = self.input_per_s + self.cached_per_s;
        let share = if all > 0.0 { self.cached_per_s / all } else { 0.0 };
        (self.prompt as f64 * share) as u64
    }
}

fn pool(deployment: &Deployment, instances: f64, batch: u64) -> Pool {
    let whole = (instances.ceil() as u64).max(1);
    Pool { instances, whole, devices: whole * deployment.layout.devices(), batch }
}

fn too_slow(deployment: &Deployment, between_s: f64) -> Error {
    let what = format!("milliseconds between tokens of {}", deployment.model.name);
    let expected = "more than one stream alone takes, and room for its cache";
    Error::Input { what, value: 1e3 * between_s, expected }
}

/// Prompts on instances of `prefill`, answers on instances of `decode`.
///
/// # Errors
/// If the demand cannot be, or one stream alone is slower than it asks.
pub fn apart(demand: &Demand, prefill: &Deployment, decode: &Deployment) -> Result<Fleet, Error> {
    demand.check()?;
    let batch = decode.best_batch(demand.context, demand.between_s);
    let batch = batch.ok_or_else(|| too_slow(decode, demand.between_s))?;
    let prompts = prefill.prefill(demand.prompt, demand.cached());
    let answers = decode.decode(batch, demand.context);
    let first = pool(prefill, demand.input_per_s / prompts.tok_per_s, 1);
    let second = pool(decode, demand.output_per_s / answers.tok_per_s, batch);
    let kv = decode.model.rates.traffic.kv as f64;
    let bytes = demand.prompt as f64 * kv;
    // The devices that hold a stream send their parts side by side.
    let senders = (prefill.layout.tensor * prefill.layout.pipeline) as f64;
    let link = prefill.hardware.between;
    Ok(Fleet {
        prefill: Some(first),
        decode: second,
        usd_per_hour: first.devices as f64 * prefill.hardware.usd_per_hour
            + second.devices as f64 * decode.hardware.usd_per_hour,
        transfer_s: bytes / (senders * link.bytes_per_s) + link.latency_s,
        transfer_bytes_per_s: (demand.input_per_s + demand.cached_per_s) * kv,
    })
}

/// Prompts and answers on the same instances.
///
/// # Errors
/// As [`apart`].
pub fn together(demand: &Demand, deployment: &Deployment) -> Result<Fleet, Error> {
    demand.check()?;
    let prompts = deployment.prefill(demand.prompt, demand.cached());
    let for_prompts = demand.input_per_s / prompts.tok_per_s;
    // The share of time that prompts take makes steps smaller, which makes the share smaller.
    let mut share = 0.0;
    let mut found = None;
    for _ in 0..64 {
        let target_s = demand.between_s * (1.0 - share);
        let Some(batch) = deployment.best_batch(demand.context, target_s) else { break };
        let answers = deployment.decode(batch, demand.context);
        let for_answers = demand.output_per_s / answers.tok_per_s;
        let next = for_prompts / (for_prompts + for_answers);
        found = Some((for_prompts + for_answers, batch));
        if (next - share).abs() < 1e-6 {
            break;
        }
        share = next;
    }
    let (instances, batch) = found.ok_or_else(|| too_slow(deployment, demand.between_s))?;
    let decode = pool(deployment, instances, batch);
    Ok(Fleet {
        prefill: None,
        decode,
        usd_per_hour: decode.devices as f64 * deployment.hardware.usd_per_hour,
        transfer_s: 0.0,
        transfer_bytes_per_s: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, Model, built_in, quant};

    fn r1(layout: Layout) -> Deployment {
        let spec = spec::builtin::find("R1").unwrap().spec();
        let model = Model::at("R1", spec, quant("fp8").unwrap(), 2);
        Deployment::new(model, built_in("H800").unwrap(), layout).unwrap()
    }

    /// DeepSeek's day 6, even over the day.
    fn day6() -> Demand {
        Demand {
            input_per_s: 266e9 / 86_400.0,
            cached_per_s: 342e9 / 86_400.0,
            output_per_s: 168e9 / 86_400.0,
            prompt: 4000,
            context: 4989,
            between_s: 1.0 / 21.0,
        }
    }

    #[test]
    fn day_6_takes_fewer_nodes_by_the_roofline_than_it_took() {
        let fleet = apart(&day6(), &r1(Layout::wide(32, 32)), &r1(Layout::wide(144, 32))).unwrap();
        let (prefill, decode) = (fleet.prefill.unwrap(), fleet.decode);
        // 23.9 and 7.3 units ran, at 15 and 23 % of their peaks.
        assert!(prefill.instances > 4.0 && prefill.instances < 23.9, "{prefill:?}");
        assert!(decode.instances > 1.0 && decode.instances < 7.3, "{decode:?}");
        assert_eq!(decode.devices, 144 * decode.whole);
        let bytes = (608e9 / 86_400.0) * 70_272.0;
        assert!((fleet.transfer_bytes_per_s / bytes - 1.0).abs() < 1e-9);
        assert!(fleet.transfer_s > 0.005 && fleet.transfer_s < 0.01);
        let usd = 2.0 * (prefill.devices + decode.devices) as f64;
        assert!((fleet.usd_per_hour - usd).abs() < 1e-9);
    }

    #[test]
    fn together_both_share_the_time_and_answers_keep_their_pace() {
        let deployment = r1(Layout::wide(32, 32));
        let demand = day6();
        let fleet = together(&demand, &deployment).unwrap();
        let prompts = demand.input_per_s / deployment.prefill(4000, 2250).tok_per_s;
        let share = prompts / fleet.decode.instances;
        let step_s = deployment.decode(fleet.decode.batch, 4989).step.total_s();
        assert!(share > 0.0 && share < 1.0 && step_s <= demand.between_s * (1.0 - share) * 1.001);
        assert_eq!(fleet.transfer_s, 0.0);
    }

    #[test]
    fn a_pace_that_no_stream_has_is_refused() {
        let demand = Demand { between_s: 1e-3, ..day6() };
        let deployment = r1(Layout::wide(32, 32));
        let message = together(&demand, &deployment).unwrap_err().to_string();
        assert!(
            message.starts_with("milliseconds between tokens of R1 is 1; expected"),
            "{message}"
        );
        assert!(apart(&demand, &deployment, &deployment).is_err());
        let demand = Demand { output_per_s: f64::NAN, ..day6() };
        assert!(together(&demand, &deployment).is_err());
    }
}
