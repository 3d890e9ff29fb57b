//! `Activations`: rows of inputs, and what quantised weights need of them, made once.

use par::{Chunks, Pool};
use simd::{Best, Isa, Kernel, dispatch};

use crate::Panels;

/// How a weight type reads activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// As they are.
    F32,
    /// As i8 with a scale for 32.
    Int8Per32,
    /// As i8 with a scale for 256.
    Int8Per256,
}

/// Rows of activations x (T, K), owned by whoever runs the step and used again in each.
///
/// Fill [`Activations::resize`]'s rows, then [`Activations::prepare`] them once; every product
/// with the same x shares the result.
pub struct Activations {
    rows: usize,
    cols: usize,
    /// (rows, cols), in the front of what (rows_max · cols_max) brings.
    values: Vec<f32>,
    per_32: Option<Quantised<Per32>>,
    per_256: Option<Quantised<Per256>>,
}

impl Activations {
    /// Room for any rows · cols up to rows_max · cols_max, in the given forms beside f32.
    pub fn new(rows_max: usize, cols_max: usize, forms: &[Form]) -> Self {
        let len = rows_max * cols_max;
        Self {
            rows: 0,
            cols: 0,
            values: vec![0.0; len],
            per_32: forms.contains(&Form::Int8Per32).then(|| Quantised::new(len)),
            per_256: forms.contains(&Form::Int8Per256).then(|| Quantised::new(len)),
        }
    }

    /// Sets the shape and returns the rows (rows, cols) to be filled; they hold old numbers.
    ///
    /// Panics if they don't fit.
    pub fn resize(&mut self, rows: usize, cols: usize) -> &mut [f32] {
        let room = self.values.len();
        assert!(rows * cols <= room, "{rows} × {cols} activations in room for {room}");
        (self.rows, self.cols) = (rows, cols);
        self.per_32.iter_mut().for_each(|q| q.ready = false);
        self.per_256.iter_mut().for_each(|q| q.ready = false);
        &mut self.values[..rows * cols]
    }

    /// Sets the shape and copies x (rows, cols).
    pub fn load(&mut self, x: &[f32], rows: usize, cols: usize) {
        self.resize(rows, cols).copy_from_slice(x);
    }

    /// Rows · cols that there is room for.
    pub fn capacity(&self) -> usize {
        self.values.len()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// x (rows, cols), which no quantised form was made of.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let (rows, cols) = (self.rows, self.cols);
        self.resize(rows, cols)
    }

    /// x (rows, cols)
    pub fn values(&self) -> &[f32] {
        &self.values[..self.rows * self.cols]
    }

    /// Makes one form of the rows, unless it's there already.
    ///
    /// Panics if the form was not named to `new`, or cols isn't whole blocks of it.
    pub fn prepare(&mut self, pool: &Pool, form: Form) {
        self.prepare_on(Best::detect(), pool, form);
    }

    /// Makes every form that one of `weights` reads.
    pub fn prepare_for(&mut self, pool: &Pool, weights: &[&Panels]) {
        weights.iter().for_each(|w| self.prepare(pool, w.form()));
    }

    /// [`Activations::prepare`] on a chosen ISA.
    pub fn prepare_on(&mut self, best: Best, pool: &Pool, form: Form) {
        let x = &self.values[..self.rows * self.cols];
        match form {
            Form::F32 => {}
            Form::Int8Per32 => {
                let quantised = self.per_32.as_mut().expect("`new` was told of this form");
                quantised.fill(best, pool, x, self.cols);
            }
            Form::Int8Per256 => {
                let quantised = self.per_256.as_mut().expect("`new` was told of this form");
                quantised.fill(best, pool, x, self.cols);
            }
        }
    }

    /// The rows in a quantised form, which must have been prepared.
    pub(crate) fn quantised(&self, form: Form) -> QuantisedRows<'_> {
        let rows = match form {
            Form::F32 => None,
            Form::Int8Per32 => self.per_32.as_ref().and_then(Quantised::rows),
            Form::Int8Per256 => self.per_256.as_ref().and_then(Quantised::rows),
        };
        rows.unwrap_or_else(|| panic!("activations are not prepared as {form:?}"))
    }

    /// Row t as the i8 codes and the scales of a form, in f32: what a product really multiplies.
    pub fn decode_row(&self, form: Form, t: usize) -> Vec<f32> {
        let values = &self.values()[t * self.cols..][..self.cols];
        let (block_len, n_scales) = match form {
            Form::F32 => return values.to_vec(),
            Form::Int8Per32 => (Per32::LEN, Per32::SCALES),
            Form::Int8Per256 => (Per256::LEN, Per256::SCALES),
        };
        let rows = self.quantised(form);
        let codes = rows.quads[t * self.cols / 4..].iter().flat_map(|q| q.to_le_bytes());
        let scales = &rows.scales[t * self.cols / block_len * n_scales..];
        let decoded = codes.enumerate().take(self.cols);
        decoded.map(|(k, x)| scales[k / block_len * n_scales] * f32::from(x as i8)).collect()
    }
}

/// The quantised rows that one form holds.
#[derive(Clone, Copy)]
pub(crate) struct QuantisedRows<'a> {
    pub(crate) quads: &'a [i32],
    pub(crate) scales: &'a [f32],
    pub(crate) sums: &'a [i32],
}

/// A way to cut rows into blocks with a scale each.
pub(crate) trait Blocks: Sync {
    /// Elements of a block.
    const LEN: usize;
    /// f32 of a block: the scale, then what this kind derives from it.
    const SCALES: usize;
    /// i32 of a block: sums of codes.
    const SUMS: usize;

    /// scales (SCALES) and sums (SUMS) from a block's scale and the sums of its runs of sixteen.
    fn derive(scale: f32, sums_of_16: &[i32], scales: &mut [f32], sums: &mut [i32]);
}

/// Scale, and minus the scaled sum, which meets mins; the sum.
pub(crate) struct Per32;

impl Blocks for Per32 {
    const LEN: usize = 32;
    const SCALES: usize = 2;
    const SUMS: usize = 1;

    #[inline(always)]
    fn derive(scale: f32, sums_of_16: &[i32], scales: &mut [f32], sums: &mut [i32]) {
        sums[0] = sums_of_16[0] + sums_of_16[1];
        scales[0] = scale;
        scales[1] = -(scale * sums[0] as f32);
    }
}

/// Scale; sums of sixteen as eight pairs of i16, then sums of 32 as four pairs.
pub(crate) struct Per256;

impl Per256 {
    /// Where the pairs of sums of 32 begin.
    pub(crate) const SUMS_OF_32: usize = 8;
}

impl Blocks for Per256 {
    const LEN: usize = 256;
    const SCALES: usize = 1;
    const SUMS: usize = 12;

    #[inline(always)]
    fn derive(scale: f32, sums_of_16: &[i32], scales: &mut [f32], sums: &mut [i32]) {
        // A sum of 32 codes is at most 32 · 128, which an i16 holds.
        let pair = |a: i32, b: i32| (a & 0xffff) | b << 16;
        scales[0] = scale;
        for (i, s) in sums_of_16.chunks_exact(2).enumerate() {
            sums[i] = pair(s[0], s[1]);
        }
        for (i, s) in sums_of_16.chunks_exact(4).enumerate() {
            sums[Self::SUMS_OF_32 + i] = pair(s[0] + s[1], s[2] + s[3]);
        }
    }
}

/// Rows as i8: x[k] ≈ scale of its block · code[k].
struct Quantised<B> {
    /// Four codes each, the first one in the lowest byte. (rows, K / 4)
    quads: Vec<i32>,
    /// (rows, K / LEN, SCALES)
    scales: Vec<f32>,
    /// (rows, K / LEN, SUMS)
    sums: Vec<i32>,
    ready: bool,
    blocks: std::marker::PhantomData<B>,
}

impl<B: Blocks> Quantised<B> {
    fn new(len: usize) -> Self {
        let blocks = len.div_ceil(B::LEN);
        Self {
            quads: vec![0; len.div_ceil(4)],
            scales: vec![0.0; blocks * B::SCALES],
            sums: vec![0; blocks * B::SUMS],
            ready: false,
            blocks: std::marker::PhantomData,
        }
    }

    /// Quantises x (rows, cols), a row a task.
    fn fill(&mut self, best: Best, pool: &Pool, x: &[f32], cols: usize) {
        assert_eq!(cols % B::LEN, 0, "a row of activations is whole blocks");
        if self.ready || x.is_empty() {
            self.ready = true;
            return;
        }
        let (rows, blocks) = (x.len() / cols, cols / B::LEN);
        let quads = &mut self.quads[..rows * cols / 4];
        let scales = &mut self.scales[..rows * blocks * B::SCALES];
        let sums = &mut self.sums[..rows * blocks * B::SUMS];
        let parts = (
            Chunks::new(quads, cols / 4),
            Chunks::new(scales, blocks * B::SCALES),
            Chunks::new(sums, blocks * B::SUMS),
        );
        pool.for_parts(parts, |t, (quads, scales, sums)| {
            let x = &x[t * cols..][..cols];
            dispatch(best, QuantiseRow::<B> { x, quads, scales, sums, blocks: self.blocks });
        });
        self.ready = true;
    }

    fn rows(&self) -> Option<QuantisedRows<'_>> {
        let Self { quads, scales, sums, ready, .. } = self;
        ready.then_some(QuantisedRows { quads, scales, sums })
    }
}

struct QuantiseRow<'a, B> {
    /// (K)
    x: &'a [f32],
    quads: &'a mut [i32],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
    blocks: std::marker::PhantomData<B>,
}

impl<B: Blocks> Kernel for QuantiseRow<'_, B> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let blocks = self.x.chunks_exact(B::LEN).zip(self.quads.chunks_exact_mut(B::LEN / 4));
        let derived =
            self.scales.chunks_exact_mut(B::SCALES).zip(self.sums.chunks_exact_mut(B::SUMS));
        for ((x, quads), (scales, sums)) in blocks.zip(derived) {
            let scale = quantise_block(isa, x, quads);
            let mut sums_of_16 = [0; 16];
            for (quads, sum) in quads.chunks_exact(4).zip(&mut sums_of_16) {
                let codes = quads.iter().flat_map(|q| q.to_le_bytes());
                *sum = codes.map(|x| i32::from(x as i8)).sum();
            }
            B::derive(scale, &sums_of_16[..B::LEN / 16], scales, sums);
        }
    }
}

/// Below this the inverse of a scale would overflow: such a block counts as zeros.
const LARGEST_MIN: f32 = 1e-30;

/// quads (N / 4) = x (N) / scale, rounded; returns the scale, amax / 127, NaN if x isn't finite.
#[inline(always)]
fn quantise_block<I: Isa>(isa: I, x: &[f32], quads: &mut [i32]) -> f32 {
    let zero = isa.splat(0.0);
    let (mut largest, mut poison) = (zero, zero);
    for x in x.chunks_exact(I::LANES) {
        let x = isa.load(x);
        largest = isa.max(largest, isa.abs(x));
        // Comparisons pass NaN over: 0 · NaN keeps it.
        poison = isa.add(poison, isa.mul(x, zero));
    }
    let largest = isa.max_lane(largest);
    let (scale, inverse) =
        if largest < LARGEST_MIN { (0.0, 0.0) } else { (largest / 127.0, 127.0 / largest) };
    let inverse = isa.splat(inverse);
    for (x, quads) in x.chunks_exact(I::LANES).zip(quads.chunks_exact_mut(I::LANES / 4)) {
        isa.store_quads(isa.mul(isa.load(x), inverse), quads);
    }
    scale + isa.sum(poison)
}
