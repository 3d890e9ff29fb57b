//! A machine as data: its roofs, its links, its price.

mod built_in;

pub use built_in::{BUILT_IN, built_in};

use std::collections::BTreeMap;

use crate::Error;

/// How wide the numbers are that a product is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    Fp4,
    Int8,
    Fp8,
    Bf16,
    Fp32,
}

impl Precision {
    pub const ALL: [Precision; 5] =
        [Precision::Fp4, Precision::Int8, Precision::Fp8, Precision::Bf16, Precision::Fp32];

    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp4 => "fp4",
            Precision::Fp8 => "fp8",
            Precision::Int8 => "int8",
            Precision::Bf16 => "bf16",
            Precision::Fp32 => "fp32",
        }
    }
}

/// What joins devices, seen from one of them, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub bytes_per_s: f64,
    pub latency_s: f64,
}

/// Which share of the roofs software reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    /// Of the peak FLOPs, by how many tokens are multiplied together: ascending; between two, in
    /// proportion to the logarithm of the tokens; outside, the nearest.
    pub linear: Vec<(f64, f64)>,
    pub attention: f64,
    /// Of the bandwidth, where weights are read.
    pub bandwidth: f64,
    /// Of the bandwidth, where cached keys and values are.
    pub cache: f64,
}

/// What a step takes beside its roofs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overhead {
    pub step_s: f64,
    /// For each layer: launches, or threads that wait for one another.
    pub layer_s: f64,
    /// For each entry of each row of logits: choosing a token.
    pub logit_s: f64,
}

/// One kind of device, as many as wanted in nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    pub name: String,
    /// Peak without sparsity, a device.
    pub flops: BTreeMap<Precision, f64>,
    pub memory_bytes: f64,
    /// Of that memory.
    pub bytes_per_s: f64,
    pub devices_per_node: u32,
    /// Between the devices of a node.
    pub inside: Link,
    /// Between nodes.
    pub between: Link,
    /// Of one device.
    pub usd_per_hour: f64,
    pub reached: Reached,
    pub overhead: Overhead,
    /// Where the figures come from.
    pub source: String,
    pub price_source: String,
}

impl Hardware {
    /// The hardware itself, if it can exist.
    ///
    /// # Errors
    /// [`Error::Hardware`] names the first figure that cannot be.
    pub fn check(self) -> Result<Hardware, Error> {
        let fail = |key, value, expected| {
            Err(Error::Hardware { name: self.name.clone(), key, value, expected })
        };
        let positive = [
            ("memory_bytes", self.memory_bytes),
            ("bytes_per_s", self.bytes_per_s),
            ("devices_per_node", f64::from(self.devices_per_node)),
            ("inside.bytes_per_s", self.inside.bytes_per_s),
            ("between.bytes_per_s", self.between.bytes_per_s),
        ];
        for (key, value) in positive {
            if !(value.is_finite() && value > 0.0) {
                return fail(key, value, "a finite number above 0");
            }
        }
        let not_negative = [
            ("inside.latency_s", self.inside.latency_s),
            ("between.latency_s", self.between.latency_s),
            ("usd_per_hour", self.usd_per_hour),
            ("overhead.step_s", self.overhead.step_s),
            ("overhead.layer_s", self.overhead.layer_s),
            ("overhead.logit_s", self.overhead.logit_s),
        ];
        for (key, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return fail(key, value, "a finite number of at least 0");
            }
        }
        if self.flops.is_empty() {
            return Err(Error::NoFlops { name: self.name });
        }
        for (precision, &flops) in &self.flops {
            if !(flops.is_finite() && flops > 0.0) {
                return fail(precision.name(), flops, "a finite number of FLOPs above 0");
            }
        }
        let shares = self.reached.linear.iter().map(|point| ("reached.linear", point.1)).chain([
            ("reached.attention", self.reached.attention),
            ("reached.bandwidth", self.reached.bandwidth),
            ("reached.cache", self.reached.cache),
        ]);
        for (key, share) in shares {
            if !(share > 0.0 && share <= 1.0) {
                return fail(key, share, "a share above 0 and up to 1");
            }
        }
        let tokens: Vec<f64> = self.reached.linear.iter().map(|point| point.0).collect();
        if tokens.is_empty() || tokens[0] < 1.0 || !tokens.is_sorted_by(|a, b| a < b) {
            let first = tokens.first().copied().unwrap_or(0.0);
            return fail("reached.linear", first, "ascending numbers of tokens from 1 on");
        }
        Ok(self)
    }

    /// Peak FLOPs at `precision`, or at the next wider one that the device has; the widest of all
    /// if it has none.
    pub fn flops_at(&self, precision: Precision) -> (Precision, f64) {
        let wider = self.flops.range(precision..).next();
        let found = wider.or_else(|| self.flops.last_key_value());
        let (precision, flops) = found.expect("checked hardware has FLOPs of some precision");
        (*precision, *flops)
    }
}

impl Reached {
    /// The same share however many tokens.
    pub fn flat(linear: f64, attention: f64, bandwidth: f64) -> Reached {
        Reached { linear: vec![(1.0, linear)], attention, bandwidth, cache: bandwidth }
    }

    /// The share of the peak for `tokens` multiplied together.
    pub fn linear_at(&self, tokens: f64) -> f64 {
        let points = &self.linear;
        let above = points.partition_point(|point| point.0 <= tokens);
        if above == 0 {
            return points[0].1;
        }
        let (from, low) = points[above - 1];
        let Some(&(to, high)) = points.get(above) else { return low };
        low + (high - low) * (tokens / from).ln() / (to / from).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h800() -> Hardware {
        built_in("h800").unwrap()
    }

    #[test]
    fn impossible_hardware_is_named() {
        let message = |hardware: Hardware| hardware.check().unwrap_err().to_string();
        let bad = Hardware { bytes_per_s: 0.0, ..h800() };
        assert_eq!(
            message(bad),
            "hardware H800: bytes_per_s is 0; expected a finite number above 0"
        );
        let bad = Hardware { memory_bytes: f64::NAN, ..h800() };
        assert_eq!(
            message(bad),
            "hardware H800: memory_bytes is NaN; expected a finite number above 0"
        );
        let bad = Hardware { usd_per_hour: -2.0, ..h800() };
        assert_eq!(
            message(bad),
            "hardware H800: usd_per_hour is -2; expected a finite number of at least 0"
        );
        let bad = Hardware { flops: BTreeMap::new(), ..h800() };
        assert_eq!(message(bad), "hardware H800 has no FLOPs of any precision");
        let bad = Hardware { reached: Reached::flat(1.2, 0.5, 0.5), ..h800() };
        assert_eq!(
            message(bad),
            "hardware H800: reached.linear is 1.2; expected a share above 0 and up to 1"
        );
        let unsorted =
            Reached { linear: vec![(8.0, 0.5), (1.0, 0.5)], ..Reached::flat(1., 1., 1.) };
        assert!(Hardware { reached: unsorted, ..h800() }.check().is_err());
    }

    #[test]
    fn a_precision_that_is_missing_is_computed_wider() {
        assert_eq!(h800().flops_at(Precision::Fp4).0, Precision::Fp8);
        assert_eq!(h800().flops_at(Precision::Bf16), (Precision::Bf16, 989.5e12));
        let mac = built_in("m4-max").unwrap();
        assert_eq!(mac.flops_at(Precision::Fp8).0, Precision::Bf16);
    }

    #[test]
    fn the_reached_share_follows_its_points() {
        let reached =
            Reached { linear: vec![(1.0, 0.1), (16.0, 0.5)], ..Reached::flat(1.0, 1.0, 1.0) };
        assert_eq!(reached.linear_at(0.5), 0.1);
        assert!((reached.linear_at(4.0) - 0.3).abs() < 1e-12);
        assert_eq!(reached.linear_at(1000.0), 0.5);
    }
}
