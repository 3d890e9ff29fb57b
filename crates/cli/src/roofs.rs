//! What this machine reads and multiplies at best: measured in one place, for whoever compares with
//! it.

use panels::Aligned;
use panels::peak::{Peak, read_bandwidth};
use par::Pool;
use plan::Peaks;
use quant::QuantType;
use simd::Best;

/// Numbers that are read for the bandwidth: 256 MiB, more than caches hold.
const READ_LEN: usize = 64 << 20;

/// The roofs of some number of threads.
pub(crate) struct Roofs {
    /// Bytes a second.
    pub(crate) read: f64,
    /// Operations a second, in the order of [`Peak::ALL`].
    pub(crate) peaks: [f64; 3],
}

impl Roofs {
    pub(crate) fn measure(best: Best, pool: &Pool) -> Roofs {
        // As weights lie in memory.
        let mut data = Aligned::zeros(READ_LEN);
        data.fill(1.0);
        let read = read_bandwidth(best, pool, &data);
        Roofs { read, peaks: Peak::ALL.map(|peak| peak.measure(best, pool)) }
    }

    pub(crate) fn peak(&self, peak: Peak) -> f64 {
        let index = Peak::ALL.iter().position(|&other| other == peak);
        self.peaks[index.expect("all peaks are in the list")]
    }

    /// The roofs of a model whose weights are mostly of type `ty`; attention is in floats.
    pub(crate) fn of(&self, ty: QuantType) -> Peaks {
        Peaks {
            bytes_per_s: self.read,
            linear_flops: self.peak(Peak::of(ty)),
            attention_flops: self.peak(Peak::Float),
        }
    }
}
