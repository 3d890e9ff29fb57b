//! How a model lies over devices: who holds which weights, and what they tell each other.
//!
//! ```text
//! tensor    t   matrices and heads of a layer cut in t; two all-reduces a layer
//! pipeline  p   layers in p stages; a token passes them one after another
//! data      d   d ranks with requests and caches of their own
//! expert    e   experts spread over all t·d devices of a stage (e = t·d), or cut by t (e = 1)
//! ```
//!
//! With e = 1 the data ranks are independent copies. With e > 1 they are one unit: all of them
//! step together, and tokens travel to their experts and back.

use crate::{Error, Hardware, Link, Model};

/// Activations between devices: BF16, and FP8 on the way to experts.
const HALF_BYTES: f64 = 2.0;
const DISPATCH_BYTES: f64 = 1.0;

/// A parallel layout of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    pub tensor: u64,
    pub pipeline: u64,
    pub data: u64,
    pub expert: u64,
    /// Copies of hot experts, a layer, beside the experts themselves.
    pub redundant: u64,
    /// The load of the busiest device over the mean, from `eplb`; 1 for perfect balance.
    pub imbalance: f64,
    /// Two micro-batches, so that one's communication hides behind the other's compute.
    pub overlap: bool,
}

impl Layout {
    pub const SINGLE: Layout = Layout {
        tensor: 1,
        pipeline: 1,
        data: 1,
        expert: 1,
        redundant: 0,
        imbalance: 1.0,
        overlap: false,
    };

    /// Experts over `n` ranks that each attend for themselves.
    pub const fn wide(n: u64, redundant: u64) -> Layout {
        Layout { data: n, expert: n, redundant, overlap: n > 1, ..Layout::SINGLE }
    }

    pub fn devices(&self) -> u64 {
        self.tensor * self.pipeline * self.data
    }

    /// The layout itself, if `model` can be laid out so.
    ///
    /// # Errors
    /// [`Error::Layout`] says what does not go.
    pub fn check(self, model: &Model) -> Result<Layout, Error> {
        let refuse = |what: String| Err(Error::Layout { what });
        let Layout { tensor, pipeline, data, expert, redundant, imbalance, .. } = self;
        if [tensor, pipeline, data, expert].iter().any(|n| !(1..=65_536).contains(n)) {
            return refuse("every part is a number from 1 to 65536".into());
        }
        if pipeline > model.spec.layers.len() as u64 {
            return refuse(format!("{pipeline} stages of {} layers", model.spec.layers.len()));
        }
        if expert > 1 && !model.is_sparse() {
            return refuse(format!("{} has no experts to spread over {expert}", model.name));
        }
        if expert > 1 && expert != tensor * data {
            let all = tensor * data;
            return refuse(format!(
                "experts over {expert} ranks; expected 1 or all {all} of a stage"
            ));
        }
        let slots = model.n_experts() + redundant;
        if expert > 1 && !slots.is_multiple_of(expert) {
            return refuse(format!("{slots} experts with copies do not divide by {expert} ranks"));
        }
        if redundant > 0 && expert == 1 {
            return refuse("copies of experts need experts that are spread".into());
        }
        if !(imbalance.is_finite() && imbalance >= 1.0) {
            return refuse(format!("an imbalance of {imbalance}; expected at least 1"));
        }
        Ok(self)
    }

    /// Routed experts that a device holds of each layer; with `expert` = 1 parts of all of them.
    pub fn expert_slots(&self, n_experts: u64) -> u64 {
        if self.expert == 1 { n_experts } else { (n_experts + self.redundant) / self.expert }
    }

    /// Of the routed experts' bytes, the part that one device holds.
    pub(crate) fn expert_share(&self, n_experts: u64) -> f64 {
        let share = match self.expert {
            1 => 1.0 / self.tensor as f64,
            _ => self.expert_slots(n_experts) as f64 / n_experts.max(1) as f64,
        };
        share / self.pipeline as f64
    }

    /// Of all other weights, the part that one device holds.
    pub(crate) fn dense_share(&self) -> f64 {
        1.0 / (self.tensor * self.pipeline) as f64
    }

    /// Groups of streams that step apart from one another: those of each rank and stage.
    pub fn groups(&self) -> u64 {
        self.data * self.pipeline
    }

    /// Of the cache of one group, the part that weighs on one device. A stage holds a part of the
    /// layers, but for as many groups as there are stages.
    pub(crate) fn kv_share(&self, model: &Model) -> f64 {
        1.0 / self.tensor.min(model.kv_parts()) as f64
    }

    /// Seconds that a device communicates in a step of `n_tokens` a rank, over all stages.
    pub(crate) fn communication_s(&self, model: &Model, hardware: &Hardware, n_tokens: f64) -> f64 {
        let link = |n: u64| match n <= u64::from(hardware.devices_per_node) {
            true => hardware.inside,
            false => hardware.between,
        };
        let dim = model.spec.dim as f64;
        let mut seconds = 0.0;
        if self.tensor > 1 {
            let reduce = all_reduce_s(link(self.tensor), self.tensor, n_tokens * dim * HALF_BYTES);
            // After attention and after the feed-forward part.
            seconds += 2.0 * model.spec.layers.len() as f64 * reduce;
        }
        if self.expert > 1 {
            let away = (self.expert - 1) as f64 / self.expert as f64;
            let link = link(self.expert);
            for layer in &model.rates.traffic.experts {
                // The ranks of a tensor group share their tokens out.
                let copies = n_tokens * layer.n_chosen as f64 * away / self.tensor as f64;
                seconds += exchange_s(link, copies, dim) * self.imbalance + 2.0 * link.latency_s;
            }
        }
        if self.pipeline > 1 {
            let link = link(self.devices());
            let send = n_tokens * dim * HALF_BYTES / self.tensor as f64 / link.bytes_per_s;
            seconds += (self.pipeline - 1) as f64 * (send + link.latency_s);
        }
        seconds
    }
}

/// Seconds of an all-reduce of `bytes` over `n` devices: each sends and receives 2·(n − 1)/n.
fn all_reduce_s(link: Link, n: u64, bytes: f64) -> f64 {
    2.0 * (n - 1) as f64 / n as f64 * bytes / link.bytes_per_s + 2.0 * link.latency_s
}

/// Seconds on the wire of sending `copies` vectors of `dim` to experts (FP8) and back (BF16).
pub(crate) fn exchange_s(link: Link, copies: f64, dim: f64) -> f64 {
    copies * dim * (DISPATCH_BYTES + HALF_BYTES) / link.bytes_per_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{built_in, quant};

    fn model(name: &str) -> Model {
        let built_in = spec::builtin::find(name).unwrap();
        Model::at(name, built_in.spec(), quant("fp8").unwrap(), 2)
    }

    #[test]
    fn deepseeks_units_hold_nine_and_two_routed_experts_a_gpu() {
        let r1 = model("R1");
        let prefill = Layout::wide(32, 32).check(&r1).unwrap();
        assert_eq!(prefill.expert_slots(256), 9);
        let decode = Layout::wide(144, 32).check(&r1).unwrap();
        assert_eq!(decode.expert_slots(256), 2);
        assert_eq!((prefill.devices(), decode.devices()), (4 * 8, 18 * 8));
    }

    #[test]
    fn the_communication_floor_is_that_of_the_insights_paper() {
        // arXiv 2505.09343: 32 tokens, 9 experts, 7K wide.
        let seconds = |gb_per_s: f64| {
            let link = Link { bytes_per_s: gb_per_s * 1e9, latency_s: 0.0 };
            exchange_s(link, 32.0 * 9.0, 7000.0)
        };
        assert!((seconds(50.0) - 120.96e-6).abs() < 1e-9);
        let step = 61.0 * 2.0 * seconds(50.0);
        assert!((step - 14.76e-3).abs() < 5e-6 && (1.0 / step).floor() == 67.0);
        assert!((1.0 / (61.0 * 2.0 * seconds(900.0)) - 1200.0).abs() < 25.0);
    }

    #[test]
    fn what_cannot_be_laid_out_is_said() {
        let refused =
            |layout: Layout, name: &str| layout.check(&model(name)).unwrap_err().to_string();
        let single = Layout::SINGLE;
        assert_eq!(
            refused(Layout::wide(8, 0), "QwQ-32B"),
            "layout: QwQ-32B has no experts to spread over 8"
        );
        assert_eq!(
            refused(Layout::wide(144, 0), "R1"),
            "layout: 256 experts with copies do not divide by 144 ranks"
        );
        assert_eq!(
            refused(Layout { data: 4, expert: 8, ..single }, "R1"),
            "layout: experts over 8 ranks; expected 1 or all 4 of a stage"
        );
        assert_eq!(
            refused(Layout { pipeline: 100, ..single }, "R1"),
            "layout: 100 stages of 61 layers"
        );
        for wrong in [
            Layout { tensor: 0, ..single },
            Layout { redundant: 32, ..single },
            Layout { imbalance: f64::NAN, ..single },
        ] {
            assert!(wrong.check(&model("R1")).is_err());
        }
    }

    #[test]
    fn heads_of_a_cache_can_be_cut_and_a_latent_cannot() {
        let tensor = |tensor| Layout { tensor, ..Layout::SINGLE };
        assert_eq!(tensor(8).kv_share(&model("QwQ-32B")), 1.0 / 8.0);
        assert_eq!(tensor(16).kv_share(&model("QwQ-32B")), 1.0 / 8.0);
        assert_eq!(tensor(8).kv_share(&model("R1")), 1.0);
        let stages = Layout { pipeline: 4, data: 2, ..Layout::SINGLE };
        assert_eq!((stages.kv_share(&model("QwQ-32B")), stages.groups()), (1.0, 8));
    }

    #[test]
    fn communication_is_nothing_alone_and_grows_across_nodes() {
        let (r1, h800) = (model("R1"), built_in("H800").unwrap());
        let seconds = |layout: Layout| layout.communication_s(&r1, &h800, 64.0);
        assert_eq!(seconds(Layout::SINGLE), 0.0);
        let tensor = |tensor| Layout { tensor, ..Layout::SINGLE };
        assert!(seconds(tensor(8)) > 0.0 && seconds(tensor(16)) > 2.0 * seconds(tensor(8)));
        assert!(seconds(Layout::wide(32, 0)) > 3.0 * seconds(Layout::wide(8, 0)));
        let piped = Layout { pipeline: 2, ..Layout::SINGLE };
        assert!(seconds(piped) > 0.0 && seconds(piped) < seconds(tensor(8)));
    }
}
