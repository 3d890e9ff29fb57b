//! Formats whose blocks hold integer codes, and scales to read them with.
//!
//! A block is cut into sub-blocks j of 16 or 32 weights, and in every format
//!
//! ```text
//! w[i] = scale · sub_scales[j] · value(codes[i]) − min · sub_mins[j]
//! ```
//!
//! so a format has only to say where its fields lie ([`Coded`]); decoding is the same for all.

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

/// The fields of one block, whatever its format; the formula stands at the head of this module.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpacked {
    /// Factor of the sub-block scales.
    pub scale: f32,
    /// Factor of the sub-block mins.
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
