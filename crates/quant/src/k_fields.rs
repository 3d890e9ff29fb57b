//! Fields that several formats of 256 weights share.

use crate::coded::{Unpacked, split_nibbles};

/// codes (256) from `bytes` (128): each run of `RUN` bytes is the low halves of as many codes,
/// then the high halves of as many more.
#[inline(always)]
pub(crate) fn split_nibble_runs<const RUN: usize>(bytes: &[u8; 128], codes: &mut [u8; 256]) {
    for (bytes, codes) in bytes.chunks_exact(RUN).zip(codes.chunks_exact_mut(2 * RUN)) {
        split_nibbles(bytes, codes);
    }
}

/// codes (256) from `bytes` (64): each run of 32 bytes is 128 codes of two bits, the lowest pair
/// of every byte first.
#[inline(always)]
pub(crate) fn split_pairs(bytes: &[u8; 64], codes: &mut [u8; 256]) {
    for (bytes, codes) in bytes.as_chunks::<32>().0.iter().zip(codes.as_chunks_mut::<128>().0) {
        for (k, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (code, byte) in codes.iter_mut().zip(bytes) {
                *code = byte >> (2 * k) & 3;
            }
        }
    }
}

/// Sets bit `at` of code 32k + l to bit k of byte l.
#[inline(always)]
pub(crate) fn add_high_bits(bytes: &[u8; 32], at: u32, codes: &mut [u8; 256]) {
    for (k, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= (byte >> k & 1) << at;
        }
    }
}

/// The eight 6-bit scales and mins of Q4_K and Q5_K. The first four of each are the low bits of
/// a byte; the last four are a half byte, and the two bits that those bytes left free.
#[inline(always)]
pub(crate) fn unpack_sub_fields(bytes: &[u8; 12], out: &mut Unpacked) {
    for j in 0..4 {
        let (scale, min, rest) = (bytes[j], bytes[j + 4], bytes[j + 8]);
        out.sub_scales[j] = (scale & 63) as i8;
        out.sub_mins[j] = min & 63;
        out.sub_scales[j + 4] = (rest & 15 | scale >> 6 << 4) as i8;
        out.sub_mins[j + 4] = rest >> 4 | min >> 6 << 4;
    }
}
