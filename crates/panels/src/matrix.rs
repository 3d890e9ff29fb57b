//! `Panels`: a weight matrix in the order in which its products read it.

use half::f16;
use par::{Chunks, Pool};
use quant::{QuantType, Unpacked};

use crate::aligned::Aligned;
use crate::format::Format;
use crate::{Form, PANEL_ROWS};

/// A weight matrix w (N, K), rows of outputs by columns of inputs, packed into panels.
pub struct Panels {
    rows: usize,
    cols: usize,
    ty: QuantType,
    pub(crate) data: Data,
}

/// Panels one after another; each is (K, 16) for floats, blocks of `Format` for coded types.
pub(crate) enum Data {
    F32(Aligned<f32>),
    /// Bits of f16.
    F16(Aligned<u16>),
    /// Bits of bf16.
    Bf16(Aligned<u16>),
    F8 {
        codes: Aligned<u8>,
        /// (⌈N/128⌉, ⌈K/128⌉)
        scales: Vec<f32>,
    },
    Coded {
        planes: Aligned<u8>,
        /// Bits of f16.
        scales: Aligned<u16>,
        /// Empty for blocks of one scale.
        subs: Aligned<u8>,
    },
}

/// Rows and columns that share an FP8 scale.
pub(crate) const F8_BLOCK: usize = 128;

impl Panels {
    /// Packs `bytes`, the rows of a (rows, cols) matrix as blocks of `ty`, one after another.
    ///
    /// Panics if `cols` isn't whole blocks or `bytes` isn't rows · row_bytes long: whoever reads
    /// a file checks its shapes first. FP8 gets scales of one.
    pub fn pack(pool: &Pool, ty: QuantType, rows: usize, cols: usize, bytes: &[u8]) -> Self {
        let row_bytes = ty.row_bytes(cols).expect("a row is whole blocks");
        assert_eq!(bytes.len(), rows * row_bytes, "bytes of {rows} × {cols} in {}", ty.name());
        let source = Source { rows, cols, row_bytes, bytes };
        let data = match ty {
            QuantType::F32 => Data::F32(source.transposed(pool, f32::from_le_bytes)),
            QuantType::F16 => Data::F16(source.transposed(pool, u16::from_le_bytes)),
            QuantType::Bf16 => Data::Bf16(source.transposed(pool, u16::from_le_bytes)),
            QuantType::F8E4M3 => {
                let scales = vec![1.0; rows.div_ceil(F8_BLOCK) * cols.div_ceil(F8_BLOCK)];
                Data::F8 { codes: source.transposed(pool, u8::from_le_bytes), scales }
            }
            _ => with_format!(ty, F => source.coded::<F>(pool)),
        };
        Self { rows, cols, ty, data }
    }

    /// Packs FP8 E4M3 weights (rows, cols); `scales` (⌈rows/128⌉, ⌈cols/128⌉) multiply the blocks.
    ///
    /// Panics if a length is not what the shape says.
    pub fn pack_fp8(pool: &Pool, rows: usize, cols: usize, bytes: &[u8], scales: &[f32]) -> Self {
        let n_scales = rows.div_ceil(F8_BLOCK) * cols.div_ceil(F8_BLOCK);
        assert_eq!(scales.len(), n_scales, "block scales of {rows} × {cols}");
        let mut packed = Self::pack(pool, QuantType::F8E4M3, rows, cols, bytes);
        if let Data::F8 { scales: ones, .. } = &mut packed.data {
            ones.copy_from_slice(scales);
        }
        packed
    }

    /// N, the outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K, the inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn quant_type(&self) -> QuantType {
        self.ty
    }

    /// In what form activations must be prepared for this matrix.
    pub fn form(&self) -> Form {
        match self.ty.block_len() {
            32 => Form::Int8Per32,
            256 => Form::Int8Per256,
            _ => Form::F32,
        }
    }

    /// Bytes in memory, which a product reads once.
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(w) => size_of_val::<[f32]>(w),
            Data::F16(w) | Data::Bf16(w) => size_of_val::<[u16]>(w),
            Data::F8 { codes, scales } => codes.len() + size_of_val::<[f32]>(scales),
            Data::Coded { planes, scales, subs } => {
                planes.len() + size_of_val::<[u16]>(scales) + subs.len()
            }
        }
    }

    /// Multiplications and additions of a product with `tokens` rows of activations.
    pub fn ops(&self, tokens: usize) -> u64 {
        2 * (self.rows * self.cols) as u64 * tokens as u64
    }

    pub(crate) fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }
}

/// Rows of a file.
struct Source<'a> {
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// (rows, row_bytes)
    bytes: &'a [u8],
}

impl Source<'_> {
    fn n_panels(&self) -> usize {
        self.rows.div_ceil(PANEL_ROWS)
    }

    /// The rows of one panel, fewer than sixteen in the last one.
    fn rows_of(&self, panel: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let from = panel * PANEL_ROWS;
        let rows = PANEL_ROWS.min(self.rows - from);
        (0..rows).map(move |r| (r, &self.bytes[(from + r) * self.row_bytes..][..self.row_bytes]))
    }

    /// Panels of (K, 16); rows past the last are zeros.
    fn transposed<T, const BYTES: usize>(
        &self,
        pool: &Pool,
        read: impl Fn([u8; BYTES]) -> T + Sync,
    ) -> Aligned<T>
    where
        T: Copy + Default + Send,
    {
        let mut panels = Aligned::zeros(self.n_panels() * self.cols * PANEL_ROWS);
        pool.for_chunks(&mut panels, (self.cols * PANEL_ROWS).max(1), |panel, out| {
            for (r, row) in self.rows_of(panel) {
                for (&bytes, out) in row.as_chunks().0.iter().zip(out.chunks_exact_mut(PANEL_ROWS))
                {
                    out[r] = read(bytes);
                }
            }
        });
        panels
    }

    /// Blocks of panels as `Format` says; rows past the last have scales and codes of zero.
    fn coded<F: Format>(&self, pool: &Pool) -> Data {
        let blocks = self.cols / F::BLOCK;
        let n = self.n_panels();
        let mut planes = Aligned::zeros(n * blocks * F::PLANE_BYTES);
        let mut scales = Aligned::zeros(n * blocks * F::SCALES);
        let mut subs = Aligned::zeros(n * blocks * F::SUB_BYTES);
        let plane_chunks = Chunks::new(&mut planes, (blocks * F::PLANE_BYTES).max(1));
        let scale_chunks = Chunks::new(&mut scales, (blocks * F::SCALES).max(1));
        if F::SUB_BYTES == 0 {
            pool.for_parts((plane_chunks, scale_chunks), |panel, (planes, scales)| {
                self.pack_panel::<F>(panel, planes, scales, &mut []);
            });
        } else {
            let sub_chunks = Chunks::new(&mut subs, (blocks * F::SUB_BYTES).max(1));
            pool.for_parts((plane_chunks, scale_chunks, sub_chunks), |panel, (p, s, subs)| {
                self.pack_panel::<F>(panel, p, s, subs);
            });
        }
        Data::Coded { planes, scales, subs }
    }

    fn pack_panel<F: Format>(
        &self,
        panel: usize,
        planes: &mut [u8],
        scales: &mut [u16],
        subs: &mut [u8],
    ) {
        let mut fields = Unpacked::default();
        let block_bytes = F::TYPE.block_bytes();
        for (r, row) in self.rows_of(panel) {
            for (b, block) in row.chunks_exact(block_bytes).enumerate() {
                quant::unpack(F::TYPE, block, &mut fields);
                let planes = &mut planes[b * F::PLANE_BYTES..][..F::PLANE_BYTES];
                put_codes::<F>(r, &fields, planes);
                let scales = &mut scales[b * F::SCALES..][..F::SCALES];
                scales[r] = f16::from_f32(fields.scale).to_bits();
                if F::LAYOUT.has_mins {
                    scales[PANEL_ROWS + r] = f16::from_f32(fields.min).to_bits();
                }
                put_subs::<F>(r, &fields, &mut subs[b * F::SUB_BYTES..][..F::SUB_BYTES]);
            }
        }
    }
}

/// Writes the codes of row r into the planes (PLANE_BYTES) of a block that holds zeros there.
fn put_codes<F: Format>(r: usize, fields: &Unpacked, planes: &mut [u8]) {
    let (low, high) = planes.split_at_mut(F::LOW_BYTES);
    let low_mask = ((1u16 << F::LOW_BITS) - 1) as u8;
    for (k, &code) in fields.codes[..F::BLOCK].iter().enumerate() {
        put(low, F::LOW_BITS, r, k, code & low_mask);
        if F::HIGH_BITS > 0 {
            put(high, F::HIGH_BITS, r, k, code >> F::LOW_BITS);
        }
    }
}

/// Adds `bits` bits of the code of row r at k to a plane.
fn put(plane: &mut [u8], bits: usize, r: usize, k: usize, value: u8) {
    let (quad, in_quad) = (k / 4, k % 4);
    let quads_in_byte = 8 / bits;
    let at = (quad / quads_in_byte * PANEL_ROWS + r) * 4 + in_quad;
    plane[at] |= value << (quad % quads_in_byte * bits);
}

/// Writes the sub-block scales and mins of row r: pairs of sub-blocks by (pair, 16, 2), mins after
/// all scales, or in the high half of the same byte.
fn put_subs<F: Format>(r: usize, fields: &Unpacked, subs: &mut [u8]) {
    if F::SUB_BYTES == 0 {
        return;
    }
    let mins_at = PANEL_ROWS * F::SUBS;
    for j in 0..F::SUBS {
        let at = (j / 2 * PANEL_ROWS + r) * 2 + j % 2;
        subs[at] = fields.sub_scales[j] as u8;
        if F::SUB_NIBBLES {
            subs[at] |= fields.sub_mins[j] << 4;
        } else if F::LAYOUT.has_mins {
            subs[mins_at + at] = fields.sub_mins[j];
        }
    }
}
