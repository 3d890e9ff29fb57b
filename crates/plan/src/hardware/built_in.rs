//! Devices that are planned for by name.
//!
//! Peaks are vendors' figures without sparsity; CPUs' follow from cores, clock and the width of
//! their vectors, as the source says. Reached shares are what published kernels report on the
//! H800, taken for the other GPUs too, and assumptions for the rest. Prices but the H800's and the
//! H100's are assumptions to be replaced by an offer.

use super::{Hardware, Link, Overhead, Precision, Reached};

/// The figures of one kind of device.
struct Row {
    name: &'static str,
    aliases: &'static [&'static str],
    /// In TFLOPS.
    flops: &'static [(Precision, f64)],
    memory_gb: f64,
    gb_per_s: f64,
    devices_per_node: u32,
    /// GB/s and µs, one direction.
    inside: (f64, f64),
    between: (f64, f64),
    usd_per_hour: f64,
    /// Linear, attention, bandwidth.
    reached: (f64, f64, f64),
    /// µs a step and a layer.
    overhead_us: (f64, f64),
    source: &'static str,
    price_source: &'static str,
}

/// Names of all built-in hardware.
pub const BUILT_IN: [&str; 8] = [
    ROWS[0].name,
    ROWS[1].name,
    ROWS[2].name,
    ROWS[3].name,
    ROWS[4].name,
    ROWS[5].name,
    ROWS[6].name,
    ROWS[7].name,
];

/// DeepGEMM's 1550 of 1979 TFLOPS; FlashMLA's 660 of 989.5 TFLOPS and 3000 of 3350 GB/s.
const HOPPER_REACHED: (f64, f64, f64) = (0.78, 0.67, 0.895);
/// Kernels launched as one graph.
const GPU_OVERHEAD_US: (f64, f64) = (500.0, 5.0);
const CPU_OVERHEAD_US: (f64, f64) = (50.0, 20.0);
const ASSUMED: &str = "an assumption: replace it by an offer";

const ROWS: [Row; 8] = [
    Row {
        name: "H800",
        aliases: &[],
        flops: &[(Precision::Fp8, 1979.0), (Precision::Bf16, 989.5)],
        memory_gb: 80.0,
        gb_per_s: 3350.0,
        devices_per_node: 8,
        inside: (200.0, 3.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.0,
        reached: HOPPER_REACHED,
        overhead_us: GPU_OVERHEAD_US,
        source: "NVIDIA H100 SXM data sheet with NVLink cut to 400 GB/s both ways; DeepSeek \
                 arXiv 2505.09343: CX7 400 Gb/s a GPU; reached: DeepGEMM and FlashMLA READMEs",
        price_source: "DeepSeek open-infra-index day 6",
    },
    Row {
        name: "H100",
        aliases: &["H100-SXM"],
        flops: &[(Precision::Fp8, 1979.0), (Precision::Bf16, 989.5)],
        memory_gb: 80.0,
        gb_per_s: 3350.0,
        devices_per_node: 8,
        inside: (450.0, 3.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.0,
        reached: HOPPER_REACHED,
        overhead_us: GPU_OVERHEAD_US,
        source: "NVIDIA H100 SXM data sheet; reached: DeepGEMM and FlashMLA READMEs (H800)",
        price_source: "what SGLang's $0.20 a million tokens at 22.3k tok/s a node implies",
    },
    Row {
        name: "H200",
        aliases: &["H200-SXM"],
        flops: &[(Precision::Fp8, 1979.0), (Precision::Bf16, 989.5)],
        memory_gb: 141.0,
        gb_per_s: 4800.0,
        devices_per_node: 8,
        inside: (450.0, 3.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.8,
        reached: HOPPER_REACHED,
        overhead_us: GPU_OVERHEAD_US,
        source: "NVIDIA H200 data sheet; reached: as on the H800",
        price_source: ASSUMED,
    },
    Row {
        name: "B200",
        aliases: &["HGX-B200"],
        flops: &[(Precision::Fp4, 9000.0), (Precision::Fp8, 4500.0), (Precision::Bf16, 2250.0)],
        memory_gb: 180.0,
        gb_per_s: 8000.0,
        devices_per_node: 8,
        inside: (900.0, 3.0),
        between: (50.0, 15.0),
        usd_per_hour: 4.5,
        reached: HOPPER_REACHED,
        overhead_us: GPU_OVERHEAD_US,
        source: "NVIDIA HGX B200 data sheet (1,000 W); reached: as on the H800",
        price_source: ASSUMED,
    },
    Row {
        name: "MI300X",
        aliases: &[],
        flops: &[(Precision::Fp8, 2614.9), (Precision::Bf16, 1307.4)],
        memory_gb: 192.0,
        gb_per_s: 5300.0,
        devices_per_node: 8,
        inside: (448.0, 5.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.5,
        reached: (0.6, 0.5, 0.8),
        overhead_us: GPU_OVERHEAD_US,
        source: "AMD Instinct MI300X data sheet; reached: an assumption",
        price_source: ASSUMED,
    },
    Row {
        name: "dual-EPYC-9005",
        aliases: &["epyc", "dual EPYC 9005", "epyc-9005"],
        flops: &[(Precision::Int8, 177.0), (Precision::Bf16, 88.5), (Precision::Fp32, 44.2)],
        memory_gb: 1536.0,
        gb_per_s: 1228.8,
        devices_per_node: 1,
        inside: (1228.8, 1.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.4,
        reached: (0.6, 0.5, 0.8),
        overhead_us: CPU_OVERHEAD_US,
        source: "AMD EPYC 9755: 2 sockets x 128 cores x 2.7 GHz base x 64 FP32 FLOP a cycle (2 x \
                 512-bit FMA), x2 BF16, x4 INT8; 2 x 12 channels of DDR5-6400, 24 x 64 GB; \
                 reached: an assumption",
        price_source: ASSUMED,
    },
    Row {
        name: "dual-Xeon-6",
        aliases: &["xeon", "dual Xeon 6", "xeon-6"],
        flops: &[(Precision::Int8, 1048.6), (Precision::Bf16, 524.3), (Precision::Fp32, 32.8)],
        memory_gb: 1536.0,
        gb_per_s: 1689.6,
        devices_per_node: 1,
        inside: (1689.6, 1.0),
        between: (50.0, 15.0),
        usd_per_hour: 2.6,
        reached: (0.5, 0.4, 0.8),
        overhead_us: CPU_OVERHEAD_US,
        source: "Intel Xeon 6980P: 2 sockets x 128 cores x 2.0 GHz base x 1024 BF16 FLOP a cycle \
                 (AMX), x2 INT8, 64 FP32; 2 x 12 channels of MRDIMM-8800, 24 x 64 GB; reached: an \
                 assumption",
        price_source: ASSUMED,
    },
    Row {
        name: "M4-Max",
        aliases: &["Apple M4 Max", "apple-m4-max"],
        flops: &[(Precision::Bf16, 34.0), (Precision::Fp32, 17.0)],
        memory_gb: 128.0,
        gb_per_s: 546.0,
        devices_per_node: 1,
        inside: (546.0, 1.0),
        between: (12.5, 50.0),
        usd_per_hour: 0.2,
        reached: (0.7, 0.5, 0.85),
        overhead_us: (200.0, 10.0),
        source: "Apple M4 Max newsroom (546 GB/s, 128 GB, 40-core GPU); FLOPs as third parties \
                 report them; between: Thunderbolt 5; reached: an assumption",
        price_source: ASSUMED,
    },
];

/// The built-in hardware that `name` means, in any case.
pub fn built_in(name: &str) -> Option<Hardware> {
    let row = ROWS.iter().find(|row| {
        let mut names = std::iter::once(&row.name).chain(row.aliases);
        names.any(|known| known.eq_ignore_ascii_case(name))
    })?;
    let link =
        |(gb_per_s, us): (f64, f64)| Link { bytes_per_s: gb_per_s * 1e9, latency_s: us * 1e-6 };
    let (linear, attention, bandwidth) = row.reached;
    Some(Hardware {
        name: row.name.into(),
        flops: row.flops.iter().map(|&(precision, tera)| (precision, tera * 1e12)).collect(),
        memory_bytes: row.memory_gb * 1e9,
        bytes_per_s: row.gb_per_s * 1e9,
        devices_per_node: row.devices_per_node,
        inside: link(row.inside),
        between: link(row.between),
        usd_per_hour: row.usd_per_hour,
        reached: Reached::flat(linear, attention, bandwidth),
        overhead: Overhead {
            step_s: row.overhead_us.0 * 1e-6,
            layer_s: row.overhead_us.1 * 1e-6,
            logit_s: 0.0,
        },
        source: row.source.into(),
        price_source: row.price_source.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_can_exist_and_is_found_by_every_name() {
        for row in &ROWS {
            for name in std::iter::once(&row.name).chain(row.aliases) {
                let found = built_in(&name.to_lowercase()).unwrap();
                assert_eq!(found.name, row.name);
                assert!(found.check().is_ok(), "{name}");
            }
        }
        assert_eq!(built_in("abacus"), None);
    }

    #[test]
    fn peaks_of_processors_are_their_cores_clock_and_width() {
        let epyc = built_in("epyc").unwrap();
        let fp32 = epyc.flops[&Precision::Fp32];
        assert!((fp32 / (2.0 * 128.0 * 2.7e9 * 64.0) - 1.0).abs() < 0.01);
        assert!((epyc.bytes_per_s - 2.0 * 12.0 * 6400e6 * 8.0).abs() < 1.0);
        let xeon = built_in("xeon").unwrap();
        assert!((xeon.flops[&Precision::Bf16] / (2.0 * 128.0 * 2.0e9 * 1024.0) - 1.0).abs() < 0.01);
        assert!((xeon.bytes_per_s - 2.0 * 12.0 * 8800e6 * 8.0).abs() < 1.0);
    }
}
