//! Products of F32, F16, BF16 and FP8 weights with f32 activations.
//!
//! ```text
//! acc = fma(w[k], x[k], acc)        k ascending
//! ```
//!
//! A weight is widened to f32 first, an FP8 one multiplied by the scale of its block, so that it
//! is exactly what it decodes to.

use half::slice::HalfBitsSliceExt;
use simd::Isa;

use crate::PANEL_ROWS;
use crate::coded::{Tile, vectors};
use crate::matrix::F8_BLOCK;
use crate::run::AHEAD_BYTES;
use crate::tile::Columns;

/// A run of k of one panel.
pub(crate) trait Floats: Copy {
    /// How many k.
    fn len(self) -> usize;

    /// k `from..to`.
    fn slice(self, from: usize, to: usize) -> Self;

    /// The weights of one k in one vector of rows.
    fn get<I: Isa>(self, isa: I, k: usize, vector: usize) -> I::F32;

    /// Asks for the weights that lie [`AHEAD_BYTES`] behind those of one k.
    fn prefetch<I: Isa>(self, isa: I, k: usize);

    /// All of it, if it's f32 as it lies.
    #[inline(always)]
    fn columns<'a>(self) -> Option<&'a Columns>
    where
        Self: 'a,
    {
        None
    }
}

/// (K, 16) of f32.
#[derive(Clone, Copy)]
pub(crate) struct Wide<'a>(pub(crate) &'a [[f32; PANEL_ROWS]]);

/// (K, 16) of f16, as bits.
#[derive(Clone, Copy)]
pub(crate) struct Half<'a>(pub(crate) &'a [[u16; PANEL_ROWS]]);

/// (K, 16) of bf16, as bits.
#[derive(Clone, Copy)]
pub(crate) struct Brain<'a>(pub(crate) &'a [[u16; PANEL_ROWS]]);

/// (K, 16) of E4M3, with a scale for each 128 k.
#[derive(Clone, Copy)]
pub(crate) struct Eighth<'a> {
    pub(crate) codes: &'a [[u8; PANEL_ROWS]],
    /// From the scale of the block that holds the first k.
    pub(crate) scales: &'a [f32],
    /// Where in its block the first k lies.
    pub(crate) phase: usize,
}

impl Floats for Wide<'_> {
    #[inline(always)]
    fn columns<'a>(self) -> Option<&'a Columns>
    where
        Self: 'a,
    {
        Some(self.0)
    }

    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn slice(self, from: usize, to: usize) -> Self {
        Self(&self.0[from..to])
    }

    #[inline(always)]
    fn get<I: Isa>(self, isa: I, k: usize, vector: usize) -> I::F32 {
        isa.load(&self.0[k][vector * I::LANES..])
    }

    #[inline(always)]
    fn prefetch<I: Isa>(self, isa: I, k: usize) {
        isa.prefetch(self.0, k + ahead(self.0));
    }
}

impl Floats for Half<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn slice(self, from: usize, to: usize) -> Self {
        Self(&self.0[from..to])
    }

    #[inline(always)]
    fn get<I: Isa>(self, isa: I, k: usize, vector: usize) -> I::F32 {
        isa.load_f16(self.0[k][vector * I::LANES..].reinterpret_cast())
    }

    #[inline(always)]
    fn prefetch<I: Isa>(self, isa: I, k: usize) {
        isa.prefetch(self.0, k + ahead(self.0));
    }
}

impl Floats for Brain<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn slice(self, from: usize, to: usize) -> Self {
        Self(&self.0[from..to])
    }

    #[inline(always)]
    fn get<I: Isa>(self, isa: I, k: usize, vector: usize) -> I::F32 {
        isa.load_bf16(self.0[k][vector * I::LANES..].reinterpret_cast())
    }

    #[inline(always)]
    fn prefetch<I: Isa>(self, isa: I, k: usize) {
        isa.prefetch(self.0, k + ahead(self.0));
    }
}

impl Floats for Eighth<'_> {
    #[inline(always)]
    fn len(self) -> usize {
        self.codes.len()
    }

    #[inline(always)]
    fn slice(self, from: usize, to: usize) -> Self {
        let at = self.phase + from;
        Self {
            codes: &self.codes[from..to],
            scales: &self.scales[at / F8_BLOCK..],
            phase: at % F8_BLOCK,
        }
    }

    #[inline(always)]
    fn get<I: Isa>(self, isa: I, k: usize, vector: usize) -> I::F32 {
        let scale = isa.splat(self.scales[(self.phase + k) / F8_BLOCK]);
        isa.mul(isa.load_e4m3(&self.codes[k][vector * I::LANES..]), scale)
    }

    #[inline(always)]
    fn prefetch<I: Isa>(self, isa: I, k: usize) {
        isa.prefetch(self.codes, k + ahead(self.codes));
    }
}

/// How many k of a panel lie so far behind another.
#[inline(always)]
fn ahead<T>(_: &[[T; PANEL_ROWS]]) -> usize {
    AHEAD_BYTES / size_of::<[T; PANEL_ROWS]>()
}

/// k that are widened at a time; half a run of FP8 scales, so that one scale serves it.
pub(crate) const RUN_LEN: usize = 64;

/// Room for a run in f32: (RUN_LEN, 16).
pub(crate) type Scratch = [[f32; PANEL_ROWS]; RUN_LEN];

/// out (len, 16) = the run in f32.
#[inline(always)]
pub(crate) fn widen<I: Isa, W: Floats>(isa: I, weights: W, out: &mut [[f32; PANEL_ROWS]]) {
    for (k, out) in out[..weights.len()].iter_mut().enumerate() {
        weights.prefetch(isa, k);
        for v in 0..vectors::<I>() {
            isa.store(weights.get(isa, k, v), &mut out[v * I::LANES..]);
        }
    }
}

/// acc[p] += the product of panel p with x (K) of each token.
#[inline(always)]
pub(crate) fn add_to<I: Isa, W: Floats, const P: usize, const T: usize>(
    isa: I,
    weights: [W; P],
    x: [&[f32]; T],
    acc: &mut [Tile<I::F32, T>; P],
) {
    let len = weights[0].len();
    let mut x = x;
    for t in 0..T {
        x[t] = &x[t][..len];
    }
    for k in 0..len {
        for p in 0..P {
            // Of more tokens the first ones have brought what the others read.
            if T <= 2 {
                weights[p].prefetch(isa, k);
            }
            for v in 0..vectors::<I>() {
                let w = weights[p].get(isa, k, v);
                for t in 0..T {
                    acc[p][v][t] = isa.fma(w, isa.splat(x[t][k]), acc[p][v][t]);
                }
            }
        }
    }
}
