//! Fields that several formats of 256 weights share.

use crate::coded::{Unpacked, join_nibbles, split_nibbles};

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

/// The opposite of [`split_nibble_runs`]; bits of a code above its fourth are left out.
#[inline(always)]
pub(crate) fn join_nibble_runs<const RUN: usize>(codes: &[u8; 256], bytes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact_mut(RUN).zip(codes.chunks_exact(2 * RUN)) {
        join_nibbles(codes, bytes);
    }
}

/// The opposite of [`split_pairs`], of the two bits of each code from bit `at` on.
#[inline(always)]
pub(crate) fn join_pairs(codes: &[u8; 256], at: u32) -> [u8; 64] {
    std::array::from_fn(|i| {
        let first = i / 32 * 128 + i % 32;
        (0..4).fold(0, |byte, k| byte | (codes[first + 32 * k] >> at & 3) << (2 * k))
    })
}

/// The opposite of [`add_high_bits`].
#[inline(always)]
pub(crate) fn high_bits(codes: &[u8; 256], at: u32) -> [u8; 32] {
    std::array::from_fn(|l| (0..8).fold(0, |byte, k| byte | (codes[32 * k + l] >> at & 1) << k))
}

/// The opposite of [`unpack_sub_fields`].
#[inline(always)]
pub(crate) fn pack_sub_fields(fields: &Unpacked) -> [u8; 12] {
    let mut bytes = [0; 12];
    for j in 0..4 {
        let (scale, min) = (fields.sub_scales[j + 4] as u8, fields.sub_mins[j + 4]);
        bytes[j] = fields.sub_scales[j] as u8 | scale >> 4 << 6;
        bytes[j + 4] = fields.sub_mins[j] | min >> 4 << 6;
        bytes[j + 8] = scale & 15 | min << 4;
    }
    bytes
}
