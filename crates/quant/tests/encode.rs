//! Encoding: how far the decoded weights are from the given ones.

use proptest::prelude::*;
use ruminate_quant::{QuantType, Unpacked, decode, encode, pack, unpack};
use std::fs;
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quant").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn encoded(ty: QuantType, weights: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0xAA; ty.row_bytes(weights.len()).expect("whole blocks")];
    encode(ty, weights, &mut bytes);
    bytes
}

fn there_and_back(ty: QuantType, weights: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; weights.len()];
    decode(ty, &encoded(ty, weights), &mut out);
    out
}

/// √(Σ (found − exact)² / Σ exact²)
fn relative_rms(found: &[f32], exact: &[f32]) -> f64 {
    let off = |(f, e): (&f32, &f32)| (f64::from(*f) - f64::from(*e)).powi(2);
    let error: f64 = found.iter().zip(exact).map(off).sum();
    let size: f64 = exact.iter().map(|e| f64::from(*e).powi(2)).sum();
    (error / size).sqrt()
}

/// The relative RMS error that a type may leave on Gaussian rows; what the Python package `gguf`
/// 0.19.0 leaves with its own encoding (`fixtures/make_quant.py` prints it); and what llama.cpp
/// leaves without an importance matrix (`ggml_quantize_chunk` of xllamacpp 2026.10.11549).
struct Bound {
    ty: QuantType,
    ours: f64,
    gguf: Option<f64>,
    llama_cpp: Option<f64>,
}

const fn bound(ty: QuantType, ours: f64, gguf: Option<f64>, llama_cpp: Option<f64>) -> Bound {
    Bound { ty, ours, gguf, llama_cpp }
}

const BOUNDS: [Bound; 16] = [
    bound(QuantType::F32, 0.0, None, None),
    bound(QuantType::F16, 0.000207, Some(0.000206), None),
    bound(QuantType::Bf16, 0.001662, Some(0.001661), None),
    bound(QuantType::F8E4M3, 0.0330, None, None),
    bound(QuantType::Q4_0, 0.0826, Some(0.086869), Some(0.086869)),
    bound(QuantType::Q4_1, 0.0706, Some(0.077895), Some(0.077895)),
    bound(QuantType::Q5_0, 0.0406, Some(0.043056), Some(0.043056)),
    bound(QuantType::Q5_1, 0.0340, Some(0.037312), Some(0.037312)),
    bound(QuantType::Q8_0, 0.00506, Some(0.005414), Some(0.005414)),
    bound(QuantType::Q2K, 0.2700, None, Some(0.298509)),
    bound(QuantType::Q3K, 0.1445, None, Some(0.150042)),
    bound(QuantType::Q4K, 0.0710, None, Some(0.071309)),
    bound(QuantType::Q5K, 0.0348, None, Some(0.036038)),
    bound(QuantType::Q6K, 0.0174, None, Some(0.017812)),
    bound(QuantType::Iq4Nl, 0.0751, None, Some(0.075989)),
    bound(QuantType::Iq4Xs, 0.0756, None, Some(0.076350)),
];

#[test]
fn gaussian_rows_come_back_no_worse_than_from_gguf_or_llama_cpp() {
    assert_eq!(BOUNDS.len(), QuantType::ALL.len());
    let bytes = fixture("gaussian.f32.bin");
    let weights: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    for Bound { ty, ours, gguf, llama_cpp } in BOUNDS {
        let error = relative_rms(&there_and_back(ty, &weights), &weights);
        assert!(error <= ours, "{ty:?}: {error}, {ours} is allowed");
        // Theirs are written with six decimals.
        for theirs in [gguf, llama_cpp].into_iter().flatten() {
            assert!(error <= theirs + 5e-7, "{ty:?}: {error}, {theirs} elsewhere");
        }
    }
}

#[test]
fn packing_is_the_opposite_of_unpacking() {
    for &ty in QuantType::ALL.iter().filter(|ty| ty.code_layout().is_some()) {
        let blocks = fixture(&format!("{}.blocks.bin", ty.name()));
        for block in blocks.chunks_exact(ty.block_bytes()) {
            let mut fields = Unpacked::default();
            let mut again = vec![0xAA; ty.block_bytes()];
            unpack(ty, block, &mut fields);
            pack(ty, &fields, &mut again);
            assert_eq!(again, block, "{ty:?}");
        }
    }
}

/// No block of a type with codes has a weight farther off than this: three codes' worth of the
/// largest weight of the block, and what the coarsest f16 subnormal does to the largest value.
fn allowed(ty: QuantType, largest: f32) -> f32 {
    let bits = ty.code_layout().expect("a type with codes").bits;
    3.0 * largest / (1u32 << bits) as f32 + 128.0 * 2f32.powi(-24)
}

fn coded() -> impl Iterator<Item = QuantType> {
    QuantType::ALL.iter().copied().filter(|ty| ty.code_layout().is_some())
}

#[test]
fn zeros_come_back_as_zeros() {
    for &ty in QuantType::ALL {
        assert!(there_and_back(ty, &[0.0; 256]).iter().all(|&w| w == 0.0), "{ty:?}");
    }
}

#[test]
fn equal_weights_come_back_nearly_equal() {
    for ty in coded() {
        for level in [1.0, -1.0, 0.03, -700.0] {
            for weight in there_and_back(ty, &[level; 256]) {
                assert!((weight - level).abs() <= 0.003 * level.abs(), "{ty:?} {level} {weight}");
            }
        }
    }
}

#[test]
fn weights_that_are_no_numbers_leave_a_block_that_is() {
    let mut weights: Vec<f32> = (0..256).map(|i| (i as f32 * 0.7).sin()).collect();
    let (without, nan) = (weights.clone(), 37);
    weights[nan] = f32::NAN;
    let mut zero = without;
    zero[nan] = 0.0;
    for ty in coded() {
        assert_eq!(encoded(ty, &weights), encoded(ty, &zero), "{ty:?}");
    }
    weights[3] = f32::INFINITY;
    weights[200] = f32::NEG_INFINITY;
    for ty in coded() {
        let back = there_and_back(ty, &weights);
        assert!(back.iter().all(|w| w.is_finite()), "{ty:?}");
        assert!(back[3] > 1e4 && back[200] < -1e4, "{ty:?} {} {}", back[3], back[200]);
    }
}

#[test]
fn small_weights_survive_where_sub_blocks_share_a_scale() {
    // 1e-4 over 32 · 128 is below the least f16: the scale must be rounded up, not away.
    let weights: Vec<f32> = (0..256).map(|i| 1e-4 * (i as f32 * 0.7).sin()).collect();
    for (ty, allowed) in [(QuantType::Q6K, 0.03), (QuantType::Q3K, 0.2)] {
        let error = relative_rms(&there_and_back(ty, &weights), &weights);
        assert!(error < allowed, "{ty:?} {error}");
    }
}

proptest! {
    #[test]
    fn every_magnitude_comes_back_within_the_bound(
        unit in prop::collection::vec(-1f32..1.0, 256),
        exponent in -150i32..128,
        spread in 0i32..20,
    ) {
        // Each run of 32 is 2^spread smaller than the one before it: sub-blocks differ.
        let scaled = |(i, w): (usize, &f32)| {
            (f64::from(*w) * 2f64.powi(exponent - spread * (i as i32 / 32))) as f32
        };
        let weights: Vec<f32> = unit.iter().enumerate().map(scaled).collect();
        for ty in coded() {
            let back = there_and_back(ty, &weights);
            prop_assert!(back.iter().all(|w| w.is_finite()), "{:?}", ty);
            let len = ty.block_len();
            let blocks = weights.chunks_exact(len).zip(back.chunks_exact(len));
            for (weights, back) in blocks {
                let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
                // The min of Q4_1 and Q5_1 is an f16 itself.
                if largest > 65504.0 {
                    continue;
                }
                for (w, b) in weights.iter().zip(back) {
                    prop_assert!((w - b).abs() <= allowed(ty, largest), "{:?} {} {}", ty, w, b);
                }
            }
        }
    }
}
