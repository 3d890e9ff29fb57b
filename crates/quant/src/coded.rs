//! Formats whose blocks hold integer codes, and scales to read them with.
//!
//! A block is cut into sub-blocks j of 16 or 32 weights, and in every format
//!
//! ```text
//! w[i] = scale · sub_scales[j] · value(codes[i]) − min · sub_mins[j]
//! ```
//!
//! so a format has only to say where its fields lie ([`Coded`]); decoding is the same for all.

use crate::fit::fit;
use crate::plain::f16_to_f32;

/// What the codes of a format stand for; the same for each of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    /// Weights in a sub-block: 16 or 32.
    pub sub_len: usize,
    /// Bits of a code: it is below `1 << bits`.
    pub bits: u32,
    /// What a code counts for.
    pub value: CodeValue,
    /// Whether the format has mins; without them `min` and `sub_mins` are zero.
    pub has_mins: bool,
    /// The least sub-block scale: 1 where a block is one sub-block, whose scale is always 1.
    pub sub_scale_min: i8,
    /// The greatest sub-block scale, and the greatest min where there are any.
    pub sub_scale_max: i8,
}

/// What a code counts for before its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeValue {
    /// The code less this.
    Offset(u8),
    /// The code's eight bits as an `i8`.
    Signed,
    /// The entry of this table.
    Table(&'static [i8; 16]),
}

impl CodeValue {
    /// The value of one code, before its scale. A code past the table counts modulo 16.
    #[inline(always)]
    pub fn of(self, code: u8) -> i16 {
        match self {
            Self::Offset(offset) => i16::from(code) - i16::from(offset),
            Self::Signed => i16::from(code as i8),
            Self::Table(table) => i16::from(table[usize::from(code & 15)]),
        }
    }
}

/// The fields of one block, whatever its format:
/// `w[i] = scale · sub_scales[j] · value(codes[i]) − min · sub_mins[j]`, with `j = i / sub_len`.
///
/// | format | sub_len | codes | value | sub_scales | min | sub_mins |
/// |---|--:|---|---|---|---|---|
/// | Q4_0 | 32 | 0..=15 | code − 8 | 1 | 0 | 0 |
/// | Q4_1 | 32 | 0..=15 | code | 1 | −m of the file | 1 |
/// | Q5_0 | 32 | 0..=31 | code − 16 | 1 | 0 | 0 |
/// | Q5_1 | 32 | 0..=31 | code | 1 | −m of the file | 1 |
/// | Q8_0 | 32 | 0..=255 | code as i8 | 1 | 0 | 0 |
/// | Q2_K | 16 | 0..=3 | code | 0..=15 | dmin | 0..=15 |
/// | Q3_K | 16 | 0..=7 | code − 4 | −32..=31 | 0 | 0 |
/// | Q4_K | 32 | 0..=15 | code | 0..=63 | dmin | 0..=63 |
/// | Q5_K | 32 | 0..=31 | code | 0..=63 | dmin | 0..=63 |
/// | Q6_K | 16 | 0..=63 | code − 32 | −128..=127 | 0 | 0 |
/// | IQ4_NL | 32 | 0..=15 | [`crate::IQ4_VALUES`] | 1 | 0 | 0 |
/// | IQ4_XS | 32 | 0..=15 | [`crate::IQ4_VALUES`] | −32..=31 | 0 | 0 |
///
/// `scale` is the f16 d of every format. A file may hold any f16 there: negative, infinite, NaN.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpacked {
    /// Factor of the sub-block scales.
    pub scale: f32,
    /// Factor of the sub-block mins; it may be negative.
    pub min: f32,
    /// One a sub-block: the first `block_len / sub_len` count.
    pub sub_scales: [i8; 16],
    /// One a sub-block, as above.
    pub sub_mins: [u8; 16],
    /// One a weight, in the order of the weights: the first `block_len` count.
    pub codes: [u8; 256],
}

impl Default for Unpacked {
    fn default() -> Self {
        Self { scale: 0.0, min: 0.0, sub_scales: [0; 16], sub_mins: [0; 16], codes: [0; 256] }
    }
}

impl Unpacked {
    /// What a format without mins leaves there.
    #[inline(always)]
    pub(crate) fn clear_mins(&mut self) {
        self.min = 0.0;
        self.sub_mins = [0; 16];
    }
}

/// A format of `LEN` weights in `BYTES` bytes.
pub(crate) trait Coded<const LEN: usize, const BYTES: usize> {
    const LAYOUT: CodeLayout;

    /// Writes every field of `out` that counts, and zeros to mins that the format lacks.
    fn unpack(block: &[u8; BYTES], out: &mut Unpacked);

    /// Writes every byte of `block`; the opposite of `unpack`.
    fn pack(fields: &Unpacked, block: &mut [u8; BYTES]);
}

/// out (N · LEN) = the weights in `bytes` (N · BYTES).
pub(crate) fn decode<B, const LEN: usize, const BYTES: usize>(bytes: &[u8], out: &mut [f32])
where
    B: Coded<LEN, BYTES>,
{
    let sizes = (bytes.len(), out.len());
    let (blocks, rest) = bytes.as_chunks::<BYTES>();
    let (out, out_rest) = out.as_chunks_mut::<LEN>();
    let whole = rest.is_empty() && out_rest.is_empty() && blocks.len() == out.len();
    assert!(whole, "{} bytes of blocks and {} weights do not match", sizes.0, sizes.1);
    let mut fields = Unpacked::default();
    for (block, out) in blocks.iter().zip(out) {
        B::unpack(block, &mut fields);
        scale_codes::<LEN>(B::LAYOUT, &fields, out);
    }
}

/// out (N · BYTES) = blocks near `weights` (N · LEN).
pub(crate) fn encode<B, const LEN: usize, const BYTES: usize>(weights: &[f32], out: &mut [u8])
where
    B: Coded<LEN, BYTES>,
{
    let sizes = (weights.len(), out.len());
    let (weights, rest) = weights.as_chunks::<LEN>();
    let (blocks, out_rest) = out.as_chunks_mut::<BYTES>();
    let whole = rest.is_empty() && out_rest.is_empty() && blocks.len() == weights.len();
    assert!(whole, "{} weights and {} bytes of blocks do not match", sizes.0, sizes.1);
    let mut fields = Unpacked::default();
    for (weights, block) in weights.iter().zip(blocks) {
        fit(B::LAYOUT, weights, &mut fields);
        B::pack(&fields, block);
    }
}

/// In ggml's order: the scale of the sub-block is rounded to f32 first, then its product with
/// the value, then the difference.
#[inline(always)]
fn scale_codes<const LEN: usize>(layout: CodeLayout, fields: &Unpacked, out: &mut [f32; LEN]) {
    let subs = out.chunks_exact_mut(layout.sub_len).zip(fields.codes.chunks_exact(layout.sub_len));
    for (j, (out, codes)) in subs.enumerate() {
        let scale = fields.scale * f32::from(fields.sub_scales[j]);
        let min = fields.min * f32::from(fields.sub_mins[j]);
        for (out, &code) in out.iter_mut().zip(codes) {
            let product = scale * f32::from(layout.value.of(code));
            *out = if layout.has_mins { product - min } else { product };
        }
    }
}

/// The `N` bytes of a block from `at` on.
#[inline(always)]
pub(crate) fn bytes_at<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the field lies inside the block")
}

/// The f16 of a block at `at`.
#[inline(always)]
pub(crate) fn f16_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes(*bytes_at(block, at)))
}

/// codes (2N) = the low halves of `bytes` (N), then the high ones.
#[inline(always)]
pub(crate) fn split_nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

/// Sets the bytes of a block from `at` on.
#[inline(always)]
pub(crate) fn put_bytes<const N: usize>(block: &mut [u8], at: usize, bytes: [u8; N]) {
    block[at..][..N].copy_from_slice(&bytes);
}

/// Sets the f16 of a block at `at`; `value` is one that an f16 holds.
#[inline(always)]
pub(crate) fn put_f16(block: &mut [u8], at: usize, value: f32) {
    put_bytes(block, at, half::f16::from_f32(value).to_le_bytes());
}

/// The opposite of [`split_nibbles`]: bytes (N) from codes (2N).
#[inline(always)]
pub(crate) fn join_nibbles(codes: &[u8], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(bytes.len());
    for ((low, high), byte) in low.iter().zip(high).zip(bytes) {
        *byte = (low & 15) | (high << 4);
    }
}
