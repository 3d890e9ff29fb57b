//! Decoding: against the package `gguf` on recorded blocks, and on any bytes at all.

use proptest::prelude::*;
use ruminate_quant::{QuantType, Unpacked, decode, unpack};
use std::fs;
use std::path::Path;

fn fixture(ty: QuantType, part: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../fixtures/quant/{}.{part}.bin", ty.name()));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn decoded(ty: QuantType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![0.0; bytes.len() / ty.block_bytes() * ty.block_len()];
    decode(ty, bytes, &mut out);
    out
}

/// The weights of one block by the formula of `Unpacked`, in f64, and the size of what was summed.
fn recombined(ty: QuantType, block: &[u8]) -> Vec<(f64, f64)> {
    let layout = ty.code_layout().expect("a type with codes");
    let mut fields = Unpacked::default();
    unpack(ty, block, &mut fields);
    let weight = |i: usize| {
        let j = i / layout.sub_len;
        let value = f64::from(layout.value.of(fields.codes[i]));
        let product = f64::from(fields.scale) * f64::from(fields.sub_scales[j]) * value;
        let min = f64::from(fields.min) * f64::from(fields.sub_mins[j]);
        (product - min, product.abs() + min.abs())
    };
    (0..ty.block_len()).map(weight).collect()
}

#[test]
fn every_ggml_type_decodes_to_the_bits_of_the_gguf_package() {
    for &ty in QuantType::ALL.iter().filter(|ty| ty.ggml_id().is_some()) {
        let expected = fixture(ty, "f32");
        let found = decoded(ty, &fixture(ty, "blocks"));
        assert_eq!(found.len() * 4, expected.len());
        for (i, (found, expected)) in found.iter().zip(expected.as_chunks::<4>().0).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            let same = found.to_bits() == expected.to_bits();
            assert!(same || found.is_nan() && expected.is_nan(), "{ty:?} {i}: {found} {expected}");
        }
    }
}

#[test]
fn the_unpacked_fields_recombine_to_the_decoded_weights() {
    for &ty in QuantType::ALL.iter().filter(|ty| ty.code_layout().is_some()) {
        let layout = ty.code_layout().unwrap();
        for block in fixture(ty, "blocks").chunks_exact(ty.block_bytes()) {
            for (found, (exact, size)) in decoded(ty, block).iter().zip(recombined(ty, block)) {
                // Three roundings to f32 on the way.
                let error = (f64::from(*found) - exact).abs();
                assert!(
                    error <= 3.0 * size * f64::from(f32::EPSILON) / 2.0,
                    "{ty:?} {found} {exact}"
                );
            }
            let mut fields = Unpacked::default();
            unpack(ty, block, &mut fields);
            assert!(fields.codes.iter().all(|&code| u32::from(code) < 1 << layout.bits));
            assert!(layout.has_mins || fields.min == 0.0 && fields.sub_mins == [0; 16]);
        }
    }
}

#[test]
#[should_panic(expected = "35 bytes of blocks and 32 weights")]
fn half_a_block_is_a_bug_of_the_caller() {
    decode(QuantType::Q8_0, &[0; 35], &mut [0.0; 32]);
}

proptest! {
    #[test]
    fn any_bytes_decode_and_unpack(bytes in prop::collection::vec(any::<u8>(), 3 * 210)) {
        for &ty in QuantType::ALL {
            let blocks = &bytes[..3 * ty.block_bytes()];
            decoded(ty, blocks);
            if ty.code_layout().is_some() {
                unpack(ty, &blocks[..ty.block_bytes()], &mut Unpacked::default());
            }
        }
    }
}
