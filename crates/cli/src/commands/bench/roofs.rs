//! What this machine reads and multiplies at best.

use panels::peak::Peak;
use simd::Best;

use super::cases::Measured;
pub(super) use crate::roofs::Roofs;

/// Which roof a case is nearest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Memory,
    Compute,
}

impl Bound {
    pub(super) fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
        }
    }
}

impl Roofs {
    /// The least seconds that the bytes and the operations of a case could take, and which of both.
    pub(super) fn least_seconds(&self, measured: &Measured) -> (f64, Bound) {
        let memory = measured.bytes() as f64 / self.read;
        let products = measured.ops.iter().map(|&(ty, n)| n as f64 / self.peak(Peak::of(ty)));
        let attention = measured.attention_ops as f64 / self.peak(Peak::Float);
        let compute = products.sum::<f64>() + attention;
        if memory >= compute { (memory, Bound::Memory) } else { (compute, Bound::Compute) }
    }

    pub(super) fn line(&self, best: Best, threads: usize) -> String {
        let peaks = Peak::ALL.map(|peak| format!("{} {:.0}", peak.name(), self.peak(peak) / 1e9));
        format!(
            "{:12} {:12} t={threads:<3} {:7} reads {:.1} GB/s, multiplies and adds {} GOP/s",
            "roofs",
            "",
            best.name(),
            self.read / 1e9,
            peaks.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quant::QuantType;

    #[test]
    fn the_slower_of_both_roofs_binds() {
        let roofs = Roofs { read: 100.0, peaks: [10.0, 20.0, 40.0] };
        let mut measured = Measured {
            seconds: 4.0,
            runs: vec![4.0],
            n_tokens: 8,
            weights_bytes: 150,
            kv_bytes: 50,
            ops: vec![(QuantType::Q4_0, 40), (QuantType::Q8_0, 10)],
            attention_ops: 4,
        };
        // 2 s of bytes; 1 s + 0.5 s + 0.4 s of operations.
        assert_eq!(roofs.least_seconds(&measured), (2.0, Bound::Memory));
        measured.attention_ops = 10;
        assert_eq!(roofs.least_seconds(&measured), (2.5, Bound::Compute));
    }
}
