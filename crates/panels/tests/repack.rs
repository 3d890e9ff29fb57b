//! Weights packed over others in the same memory, as a cache of experts does.

use par::Pool;
use quant::QuantType;
use ruminate_panels::{Activations, Form, Panels, matmul};

/// Odd rows, so that the last panel is padded.
const ROWS: usize = 147;
const COLS: usize = 256;

/// The rows of a file, (ROWS, COLS) of `ty`.
fn file(ty: QuantType, seed: usize) -> Vec<u8> {
    let weights: Vec<f32> = (0..ROWS * COLS)
        .map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 499.0 - 1.0)
        .collect();
    let mut bytes = vec![0; ROWS * ty.row_bytes(COLS).expect("whole blocks")];
    quant::encode(ty, &weights, &mut bytes);
    bytes
}

/// The bits of x · wᵀ for one x.
fn product(pool: &Pool, w: &Panels) -> Vec<u32> {
    let x: Vec<f32> = (0..COLS).map(|k| (k as f32 * 0.37).sin()).collect();
    let mut activations = Activations::new(1, COLS, &[Form::Int8Per32, Form::Int8Per256]);
    activations.load(&x, 1, COLS);
    activations.prepare_for(pool, &[w]);
    let mut y = vec![0.0; ROWS];
    matmul(pool, &mut y, &activations, w);
    y.into_iter().map(f32::to_bits).collect()
}

#[test]
fn weights_packed_over_others_leave_no_trace_of_them() {
    let pool = Pool::new(2);
    for &ty in QuantType::ALL {
        let (old, new) = (file(ty, 1), file(ty, 2));
        let fresh = Panels::pack(&pool, ty, ROWS, COLS, &new);
        let mut reused = Panels::pack(&pool, ty, ROWS, COLS, &old);
        assert_ne!(product(&pool, &reused), product(&pool, &fresh), "{}", ty.name());
        reused.repack(&pool, &new);
        assert_eq!(product(&pool, &reused), product(&pool, &fresh), "{}", ty.name());
    }
}

#[test]
fn scales_of_fp8_are_replaced_apart() {
    let pool = Pool::new(1);
    let bytes = file(QuantType::F8E4M3, 1);
    let scales = [0.5, 2.0, 4.0, 0.25];
    let fresh = Panels::pack_fp8(&pool, ROWS, COLS, &bytes, &scales);
    let mut reused = Panels::pack_fp8(&pool, ROWS, COLS, &bytes, &[1.0; 4]);
    reused.scales_mut().expect("FP8 has scales").copy_from_slice(&scales);
    assert_eq!(product(&pool, &reused), product(&pool, &fresh));
    assert!(Panels::zeros(QuantType::Q4_0, 16, 32).scales_mut().is_none());
}

#[test]
fn the_bytes_of_a_packed_matrix_are_known_before_it_is_packed() {
    for &ty in QuantType::ALL {
        let packed = Panels::zeros(ty, ROWS, COLS);
        assert_eq!(Panels::bytes_of(ty, ROWS, COLS), Some(packed.bytes()), "{}", ty.name());
    }
    assert_eq!(Panels::bytes_of(QuantType::Q4K, ROWS, 255), None);
}
