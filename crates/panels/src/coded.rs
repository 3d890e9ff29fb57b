//! Products of coded types with i8 activations.
//!
//! ```text
//! blocks of 32:    acc = fma(Σ q·x · d_w, d_x, acc)
//!                  acc = fma(m_w, -d_x·Σ x, acc)                        with mins
//! blocks of 256:   acc = fma(Σ_sub scale·Σ q·x, d_w·d_x, acc)
//!                  acc = fma(Σ_sub min·Σ x, m_w·-d_x, acc)              with mins
//! ```
//!
//! Codes are unsigned where the type allows, so that many products fit sixteen bits; what they are
//! above their values is taken away through the sums of the activations, in i32.

use std::marker::PhantomData;

use half::f16;
use half::slice::HalfBitsSliceExt;
use quant::CodeValue;
use simd::Isa;

use crate::PANEL_ROWS;
use crate::activations::{Blocks, Per32, Per256};
use crate::format::Format;
use crate::run::{PanelRun, TokenRun};

/// A value for each vector of a panel (one of sixteen lanes, or two of eight) and each token.
pub(crate) type Tile<V, const T: usize> = [[V; T]; 2];

/// Vectors of a panel.
#[inline(always)]
pub(crate) fn vectors<I: Isa>() -> usize {
    PANEL_ROWS / I::LANES
}

/// Repeats a body with `q` in 0..8 a literal, so that shifts and offsets are constants.
macro_rules! unroll_8 {
    ($q:ident => $body:block) => {
        unroll_8!(@ $q $body 0 1 2 3 4 5 6 7)
    };
    (@ $q:ident $body:block $($n:literal)*) => {
        $({
            let $q: usize = $n;
            $body
        })*
    };
}

/// Where codes come from.
pub(crate) trait Codes<F: Format> {
    /// Bytes of a block.
    const BYTES: usize;
    /// Whether `get` is as cheap where `q` is no constant.
    const LOOPED: bool;

    /// The codes of eight quads of one vector of rows at a time: `eight` counts them in a block,
    /// `q` is in 0..8.
    fn get<I: Isa>(isa: I, block: &[u8], eight: usize, q: usize, vector: usize) -> I::Bytes;
}

/// Codes in planes, as they lie in memory.
pub(crate) struct Packed;

impl<F: Format> Codes<F> for Packed {
    const BYTES: usize = F::PLANE_BYTES;
    const LOOPED: bool = false;

    #[inline(always)]
    fn get<I: Isa>(isa: I, block: &[u8], eight: usize, q: usize, vector: usize) -> I::Bytes {
        let low = plane(isa, &block[..F::LOW_BYTES], [F::LOW_BITS, 0], [eight, q, vector]);
        let mut codes = low;
        if F::HIGH_BITS > 0 {
            let high = &block[F::LOW_BYTES..F::PLANE_BYTES];
            let high = plane(isa, high, [F::HIGH_BITS, F::LOW_BITS], [eight, q, vector]);
            codes = isa.or(low, high);
        }
        if let CodeValue::Table(table) = F::LAYOUT.value {
            codes = isa.lookup(table, codes);
        }
        codes
    }
}

/// The bits of a plane of `bits` bits a code, moved left by `left`.
#[inline(always)]
fn plane<I: Isa>(isa: I, plane: &[u8], bits: [usize; 2], at: [usize; 3]) -> I::Bytes {
    let ([bits, left], [eight, q, vector]) = (bits, at);
    let in_byte = 8 / bits;
    let from = (eight * bits + q / in_byte) * VECTOR_BYTES + vector * 4 * I::LANES;
    let shift = (q % in_byte * bits) as i32 - left as i32;
    let mask = (((1u16 << bits) - 1) << left) as u8;
    isa.bits(isa.load_bytes(&plane[from..]), shift, mask)
}

/// Bytes of four k of all rows of a panel.
const VECTOR_BYTES: usize = 4 * PANEL_ROWS;

/// Codes a byte each, those of a table looked up: (quad, 16, 4).
pub(crate) struct Plain;

impl<F: Format> Codes<F> for Plain {
    const BYTES: usize = F::QUADS * VECTOR_BYTES;
    const LOOPED: bool = true;

    #[inline(always)]
    fn get<I: Isa>(isa: I, block: &[u8], eight: usize, q: usize, vector: usize) -> I::Bytes {
        isa.load_bytes(&block[(eight * 8 + q) * VECTOR_BYTES + vector * 4 * I::LANES..])
    }
}

/// Weights of a row that are expanded at a time: one block of 256 or eight of 32.
pub(crate) const RUN_LEN: usize = 256;

/// Room for the plain codes of a run. No vector straddles two cache lines.
#[repr(align(64))]
pub(crate) struct Scratch(pub(crate) [u8; RUN_LEN * PANEL_ROWS]);

/// out = the codes of a run of blocks, a byte each, less `less`.
#[inline(always)]
pub(crate) fn expand<I: Isa, F: Format>(isa: I, planes: &[u8], out: &mut Scratch, less: u8) {
    let blocks = planes.chunks_exact(F::PLANE_BYTES);
    for (block, out) in blocks.zip(out.0.chunks_exact_mut(F::QUADS * VECTOR_BYTES)) {
        for (eight, out) in out.chunks_exact_mut(8 * VECTOR_BYTES).enumerate() {
            unroll_8!(q => {
                for vector in 0..vectors::<I>() {
                    let codes = <Packed as Codes<F>>::get(isa, block, eight, q, vector);
                    let codes = isa.less(codes, less);
                    isa.store_bytes(codes, &mut out[q * VECTOR_BYTES + vector * 4 * I::LANES..]);
                }
            });
        }
    }
}

/// One block of a panel, the `b`-th of its run.
#[derive(Clone, Copy)]
struct Block<'a> {
    b: usize,
    codes: &'a [u8],
    scales: &'a [u16],
    subs: &'a [u8],
}

/// A tile of outputs: one panel by `T` tokens, over a run of blocks.
pub(crate) struct TileProduct<'a, F, C, const T: usize> {
    /// Codes as `C` says; the planes of `weights` are not read.
    codes: &'a [u8],
    weights: PanelRun<'a>,
    tokens: TokenRun<'a, T>,
    kind: PhantomData<(F, C)>,
}

impl<'a, F: Format, C: Codes<F>, const T: usize> TileProduct<'a, F, C, T> {
    #[inline(always)]
    pub(crate) fn new(codes: &'a [u8], weights: PanelRun<'a>, tokens: TokenRun<'a, T>) -> Self {
        Self { codes, weights, tokens, kind: PhantomData }
    }

    /// acc += the product.
    #[inline(always)]
    pub(crate) fn add_to<I: Isa>(&self, isa: I, acc: &mut Tile<I::F32, T>) {
        let weights = self.weights.scales.chunks_exact(F::SCALES);
        for (b, (codes, scales)) in self.codes.chunks_exact(C::BYTES).zip(weights).enumerate() {
            if !C::LOOPED {
                self.weights.prefetch::<I, F>(isa, b, 1);
            }
            if F::BLOCK == Per32::LEN {
                self.add_block_of_32(isa, Block { b, codes, scales, subs: &[] }, acc);
            } else {
                let subs = &self.weights.subs[b * F::SUB_BYTES..][..F::SUB_BYTES];
                self.add_block_of_256(isa, Block { b, codes, scales, subs }, acc);
            }
        }
    }

    #[inline(always)]
    fn add_block_of_32<I: Isa>(&self, isa: I, block: Block<'_>, acc: &mut Tile<I::F32, T>) {
        let Block { b, codes, scales: weights, .. } = block;
        let quads = self.quads(b, 0);
        let mut totals = [[isa.splat_i32(0); T]; 2];
        for t in 0..T {
            let above = above::<I, F>() * self.tokens.sums[t][b * Per32::SUMS];
            let start = isa.splat_i32(I::TOTAL_START - above);
            for total in &mut totals[..vectors::<I>()] {
                total[t] = start;
            }
        }
        add_eight::<I, F, C, T>(isa, codes, 0, quads, Sink { totals: &mut totals, scales: None });
        for v in 0..vectors::<I>() {
            let scale = isa.scale(isa.load_f16(half_bits(&weights[v * I::LANES..])));
            for t in 0..T {
                let x: [f32; Per32::SCALES] = self.tokens.scales[t].as_chunks().0[b];
                acc[v][t] = isa.fma(isa.scaled(totals[v][t], scale), isa.splat(x[0]), acc[v][t]);
                if F::LAYOUT.has_mins {
                    let min = isa.load_f16(half_bits(&weights[PANEL_ROWS + v * I::LANES..]));
                    acc[v][t] = isa.fma(min, isa.splat(x[1]), acc[v][t]);
                }
            }
        }
    }

    #[inline(always)]
    fn add_block_of_256<I: Isa>(&self, isa: I, block: Block<'_>, acc: &mut Tile<I::F32, T>) {
        let Block { b, scales: weights, .. } = block;
        let mut totals = self.dot_block_of_256(isa, block);
        let above = above::<I, F>();
        if above > 0 {
            let sums = self.dot_sums(isa, block, SubField::Scale);
            for v in 0..vectors::<I>() {
                for t in 0..T {
                    let above = isa.shl_i32(sums[v][t], above.trailing_zeros());
                    totals[v][t] = isa.sub_i32(totals[v][t], above);
                }
            }
        }
        for v in 0..vectors::<I>() {
            let scale = isa.load_f16(half_bits(&weights[v * I::LANES..]));
            for t in 0..T {
                let scale = isa.mul(scale, isa.splat(self.tokens.scales[t][b]));
                acc[v][t] = isa.fma(isa.to_f32(totals[v][t]), scale, acc[v][t]);
            }
        }
        if F::LAYOUT.has_mins {
            let sums = self.dot_sums(isa, block, SubField::Min);
            for v in 0..vectors::<I>() {
                let min = isa.load_f16(half_bits(&weights[PANEL_ROWS + v * I::LANES..]));
                for t in 0..T {
                    let min = isa.mul(min, isa.splat(-self.tokens.scales[t][b]));
                    acc[v][t] = isa.fma(isa.to_f32(sums[v][t]), min, acc[v][t]);
                }
            }
        }
    }

    /// Σ over sub-blocks of scale · Σ q·x.
    #[inline(always)]
    fn dot_block_of_256<I: Isa>(&self, isa: I, block: Block<'_>) -> Tile<I::I32, T> {
        let Block { b, codes, subs, .. } = block;
        let mut totals = [[isa.splat_i32(0); T]; 2];
        // Two sub-blocks, a pair of scales a row, lie in one or two runs of eight quads.
        let eights_in_pair = 2 * F::SUB_QUADS / 8;
        for pair in 0..F::SUBS / 2 {
            let mut scales = [load_subs::<I, F>(isa, subs, pair, 0, SubField::Scale); 2];
            for v in 1..vectors::<I>() {
                scales[v] = load_subs::<I, F>(isa, subs, pair, v, SubField::Scale);
            }
            let eight = pair * eights_in_pair;
            let quads = self.quads(b, eight);
            if eights_in_pair == 1 {
                let sink = Sink { totals: &mut totals, scales: Some((scales, Half::Both)) };
                add_eight::<I, F, C, T>(isa, codes, eight, quads, sink);
            } else {
                let sink = Sink { totals: &mut totals, scales: Some((scales, Half::First)) };
                add_eight::<I, F, C, T>(isa, codes, eight, quads, sink);
                let quads = self.quads(b, eight + 1);
                let sink = Sink { totals: &mut totals, scales: Some((scales, Half::Second)) };
                add_eight::<I, F, C, T>(isa, codes, eight + 1, quads, sink);
            }
        }
        totals
    }

    /// Eight quads of block b of each token.
    #[inline(always)]
    fn quads(&self, b: usize, eight: usize) -> [&'a [i32; 8]; T] {
        self.tokens.quads.map(
            #[inline(always)]
            |quads| &quads[b * F::QUADS / 8 + eight],
        )
    }

    /// Σ over sub-blocks of scale (or min) · Σ x.
    #[inline(always)]
    fn dot_sums<I: Isa>(&self, isa: I, block: Block<'_>, field: SubField) -> Tile<I::I32, T> {
        let mut totals = [[isa.splat_i32(0); T]; 2];
        let first = if F::SUB_QUADS == 8 { Per256::SUMS_OF_32 } else { 0 };
        let sums: [&[i32; Per256::SUMS]; T] = std::array::from_fn(
            #[inline(always)]
            |t| &self.tokens.sums[t].as_chunks().0[block.b],
        );
        for pair in 0..F::SUBS / 2 {
            for v in 0..vectors::<I>() {
                let fields = load_subs::<I, F>(isa, block.subs, pair, v, field);
                for t in 0..T {
                    totals[v][t] = isa.dot_pairs(totals[v][t], fields, sums[t][first + pair]);
                }
            }
        }
        totals
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SubField {
    Scale,
    Min,
}

/// The scales or mins of two sub-blocks, of one vector of rows.
#[inline(always)]
fn load_subs<I: Isa, F: Format>(
    isa: I,
    subs: &[u8],
    pair: usize,
    vector: usize,
    field: SubField,
) -> I::Pairs {
    let at = 2 * (pair * PANEL_ROWS + vector * I::LANES);
    match field {
        SubField::Scale if F::SUB_NIBBLES => isa.load_pairs_low(&subs[at..]),
        SubField::Scale => isa.load_pairs_i8(&subs[at..]),
        SubField::Min if F::SUB_NIBBLES => isa.load_pairs_high(&subs[at..]),
        SubField::Min => isa.load_pairs_u8(&subs[PANEL_ROWS * F::SUBS + at..]),
    }
}

/// Which of a pair of scales eight quads belong to; with `Both`, four and four.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    First,
    Second,
    Both,
}

/// Where the sums of eight quads go: to totals, scaled for blocks of 256.
struct Sink<'a, I: Isa, const T: usize> {
    totals: &'a mut Tile<I::I32, T>,
    scales: Option<([I::Pairs; 2], Half)>,
}

impl<I: Isa, const T: usize> Sink<'_, I, T> {
    /// Adds the sum of some of the quads of sub-block `sub` of the eight.
    #[inline(always)]
    fn add(&mut self, isa: I, sum: I::Sum, [v, t]: [usize; 2], sub: usize) {
        let total = &mut self.totals[v][t];
        *total = match self.scales {
            None => isa.add_sum(*total, sum),
            Some((scales, Half::First)) => isa.add_scaled_first(*total, sum, scales[v]),
            Some((scales, Half::Both)) if sub == 0 => isa.add_scaled_first(*total, sum, scales[v]),
            Some((scales, _)) => isa.add_scaled_second(*total, sum, scales[v]),
        };
    }
}

/// sink += the products of eight quads of a panel with those of `T` tokens.
#[inline(always)]
fn add_eight<I: Isa, F: Format, C: Codes<F>, const T: usize>(
    isa: I,
    codes: &[u8],
    eight: usize,
    quads: [&[i32; 8]; T],
    mut sink: Sink<'_, I, T>,
) {
    let in_sum = isa.quads_in_sum(F::MAX_CODE).min(F::SUB_QUADS);
    if C::LOOPED {
        for sub in 0..8 / F::SUB_QUADS {
            if in_sum <= 2 {
                add_short_sums::<I, F, C, T>(isa, codes, [eight, sub], quads, &mut sink);
            } else {
                add_long_sums::<I, F, C, T>(isa, codes, [eight, sub], quads, &mut sink);
            }
        }
        return;
    }
    let mut sums = [[isa.zero_sum(); T]; 2];
    unroll_8!(q => {
        for v in 0..vectors::<I>() {
            let codes = C::get(isa, codes, eight, q, v);
            for t in 0..T {
                sums[v][t] = dot::<I, F>(isa, sums[v][t], codes, quads[t][q]);
            }
        }
        if (q + 1).is_multiple_of(in_sum) {
            for v in 0..vectors::<I>() {
                for t in 0..T {
                    sink.add(isa, sums[v][t], [v, t], q / F::SUB_QUADS);
                    sums[v][t] = isa.zero_sum();
                }
            }
        }
    });
}

/// The sub-block `sub` of eight quads, where sums hold one or two quads: totals stay in registers.
#[inline(always)]
fn add_short_sums<I: Isa, F: Format, C: Codes<F>, const T: usize>(
    isa: I,
    codes: &[u8],
    [eight, sub]: [usize; 2],
    quads: [&[i32; 8]; T],
    sink: &mut Sink<'_, I, T>,
) {
    let in_sum = isa.quads_in_sum(F::MAX_CODE).min(2);
    for group in 0..isa.hide(F::SUB_QUADS / in_sum) {
        let mut sums = [[isa.zero_sum(); T]; 2];
        for i in 0..in_sum {
            let q = (sub * F::SUB_QUADS + group * in_sum + i) % 8;
            for v in 0..vectors::<I>() {
                let codes = C::get(isa, codes, eight, q, v);
                for t in 0..T {
                    sums[v][t] = dot::<I, F>(isa, sums[v][t], codes, quads[t][q]);
                }
            }
        }
        for v in 0..vectors::<I>() {
            for t in 0..T {
                sink.add(isa, sums[v][t], [v, t], sub);
            }
        }
    }
}

/// The same where sums hold four quads or more, and stay in registers themselves.
#[inline(always)]
fn add_long_sums<I: Isa, F: Format, C: Codes<F>, const T: usize>(
    isa: I,
    codes: &[u8],
    [eight, sub]: [usize; 2],
    quads: [&[i32; 8]; T],
    sink: &mut Sink<'_, I, T>,
) {
    let in_sum = isa.quads_in_sum(F::MAX_CODE).min(F::SUB_QUADS);
    for group in 0..F::SUB_QUADS / in_sum {
        let mut sums = [[isa.zero_sum(); T]; 2];
        for i in 0..isa.hide(in_sum) {
            let q = (sub * F::SUB_QUADS + group * in_sum + i) % 8;
            for v in 0..vectors::<I>() {
                let codes = C::get(isa, codes, eight, q, v);
                for t in 0..T {
                    sums[v][t] = dot::<I, F>(isa, sums[v][t], codes, quads[t][q]);
                }
            }
        }
        for v in 0..vectors::<I>() {
            for t in 0..T {
                sink.add(isa, sums[v][t], [v, t], sub);
            }
        }
    }
}

#[inline(always)]
fn dot<I: Isa, F: Format>(isa: I, sum: I::Sum, codes: I::Bytes, quad: i32) -> I::Sum {
    let quad = isa.splat_quad(quad);
    if F::SIGNED { isa.dot_signed(sum, isa.signed(codes), quad) } else { isa.dot(sum, codes, quad) }
}

/// How much the codes that are multiplied are above their values.
#[inline(always)]
pub(crate) fn above<I: Isa, F: Format>() -> i32 {
    i32::from(if F::SIGNED { I::SIGNED_BIAS } else { F::OFFSET })
}

#[inline(always)]
pub(crate) fn half_bits(bits: &[u16]) -> &[f16] {
    bits.reinterpret_cast()
}
