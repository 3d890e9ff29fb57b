//! `Panels`: a weight matrix in the order in which its products read it.

use half::f16;
use par::{Chunks, Pool};
use quant::{QuantType, Unpacked};

use crate::aligned::Aligned;
use crate::format::Format;
use crate::{Form, PANEL_ROWS, View};

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
    /// Room for a (rows, cols) matrix of blocks of `ty`, which holds zeros until
    /// [`Panels::repack`]. The system brings its memory when it is written.
    ///
    /// Panics if `cols` isn't whole blocks.
    pub fn zeros(ty: QuantType, rows: usize, cols: usize) -> Self {
        assert!(ty.row_bytes(cols).is_some(), "a row of {cols} is whole blocks of {}", ty.name());
        let len = rows.div_ceil(PANEL_ROWS) * PANEL_ROWS * cols;
        let data = match ty {
            QuantType::F32 => Data::F32(Aligned::zeros(len)),
            QuantType::F16 => Data::F16(Aligned::zeros(len)),
            QuantType::Bf16 => Data::Bf16(Aligned::zeros(len)),
            QuantType::F8E4M3 => {
                let scales = vec![1.0; rows.div_ceil(F8_BLOCK) * cols.div_ceil(F8_BLOCK)];
                Data::F8 { codes: Aligned::zeros(len), scales }
            }
            _ => with_format!(ty, F => {
                let blocks = len / PANEL_ROWS / F::BLOCK;
                Data::Coded {
                    planes: Aligned::zeros(blocks * F::PLANE_BYTES),
                    scales: Aligned::zeros(blocks * F::SCALES),
                    subs: Aligned::zeros(blocks * F::SUB_BYTES),
                }
            }),
        };
        Self { rows, cols, ty, data }
    }

    /// Packs `bytes`, the rows of a (rows, cols) matrix as blocks of `ty`, one after another.
    ///
    /// Panics if `cols` isn't whole blocks or `bytes` isn't rows · row_bytes long: whoever reads
    /// a file checks its shapes first. FP8 gets scales of one.
    pub fn pack(pool: &Pool, ty: QuantType, rows: usize, cols: usize, bytes: &[u8]) -> Self {
        let mut packed = Self::zeros(ty, rows, cols);
        packed.repack(pool, bytes);
        packed
    }

    /// Packs FP8 E4M3 weights (rows, cols); `scales` (⌈rows/128⌉, ⌈cols/128⌉) multiply the blocks.
    ///
    /// Panics if a length is not what the shape says.
    pub fn pack_fp8(pool: &Pool, rows: usize, cols: usize, bytes: &[u8], scales: &[f32]) -> Self {
        let mut packed = Self::zeros(QuantType::F8E4M3, rows, cols);
        packed.scales_mut().expect("FP8 has scales").copy_from_slice(scales);
        packed.repack(pool, bytes);
        packed
    }

    /// Packs other weights of the same shape and type in the place of these. Scales of FP8 stay:
    /// [`Panels::scales_mut`] sets them.
    ///
    /// Panics if `bytes` isn't rows · row_bytes long.
    pub fn repack(&mut self, pool: &Pool, bytes: &[u8]) {
        let Self { rows, cols, ty, .. } = *self;
        let row_bytes = ty.row_bytes(cols).expect("checked by `zeros`");
        assert_eq!(bytes.len(), rows * row_bytes, "bytes of {rows} × {cols} in {}", ty.name());
        let source = Source { rows, cols, row_bytes, bytes };
        match &mut self.data {
            Data::F32(w) => source.transpose(pool, w, f32::from_le_bytes),
            Data::F16(w) | Data::Bf16(w) => source.transpose(pool, w, u16::from_le_bytes),
            Data::F8 { codes, .. } => source.transpose(pool, codes, u8::from_le_bytes),
            Data::Coded { planes, scales, subs } => {
                with_format!(ty, F => source.code::<F>(pool, (planes, scales, subs)));
            }
        }
    }

    /// Packs w (rows, cols) in f32 in the place of these weights.
    ///
    /// Panics if these are of another type, or w is smaller.
    pub fn fill(&mut self, pool: &Pool, w: View<'_>) {
        let (rows, cols) = (self.rows, self.cols);
        w.check(rows, cols);
        let Data::F32(panels) = &mut self.data else { panic!("{} is not f32", self.ty.name()) };
        pool.for_chunks(panels, (cols * PANEL_ROWS).max(1), |panel, out| {
            for r in 0..PANEL_ROWS.min(rows - panel * PANEL_ROWS) {
                let row = panel * PANEL_ROWS + r;
                let out = out.iter_mut().skip(r).step_by(PANEL_ROWS);
                out.enumerate().for_each(|(k, out)| *out = w.at(row, k));
            }
        });
    }

    /// The scales of an FP8 matrix, (⌈rows/128⌉, ⌈cols/128⌉); none of another's.
    pub fn scales_mut(&mut self) -> Option<&mut [f32]> {
        match &mut self.data {
            Data::F8 { scales, .. } => Some(scales),
            _ => None,
        }
    }

    /// Bytes that a (rows, cols) matrix of `ty` takes once packed; none if a row isn't whole
    /// blocks.
    pub fn bytes_of(ty: QuantType, rows: usize, cols: usize) -> Option<usize> {
        let row_bytes = ty.row_bytes(cols)?;
        let padded = rows.next_multiple_of(PANEL_ROWS);
        Some(match ty {
            QuantType::F32 | QuantType::F16 | QuantType::Bf16 => padded * row_bytes,
            QuantType::F8E4M3 => {
                padded * row_bytes + 4 * rows.div_ceil(F8_BLOCK) * cols.div_ceil(F8_BLOCK)
            }
            _ => with_format!(ty, F => {
                let block = F::PLANE_BYTES + 2 * F::SCALES + F::SUB_BYTES;
                padded / PANEL_ROWS * (cols / F::BLOCK) * block
            }),
        })
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
        Self::form_of(self.ty)
    }

    /// The same for any matrix of a type.
    pub fn form_of(ty: QuantType) -> Form {
        match ty.block_len() {
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
    /// The rows of one panel, fewer than sixteen in the last one.
    fn rows_of(&self, panel: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let from = panel * PANEL_ROWS;
        let rows = PANEL_ROWS.min(self.rows - from);
        (0..rows).map(move |r| (r, &self.bytes[(from + r) * self.row_bytes..][..self.row_bytes]))
    }

    /// Writes panels of (K, 16); rows past the last stay what they are.
    fn transpose<T, const BYTES: usize>(
        &self,
        pool: &Pool,
        panels: &mut [T],
        read: impl Fn([u8; BYTES]) -> T + Sync,
    ) where
        T: Send,
    {
        pool.for_chunks(panels, (self.cols * PANEL_ROWS).max(1), |panel, out| {
            for (r, row) in self.rows_of(panel) {
                for (&bytes, out) in row.as_chunks().0.iter().zip(out.chunks_exact_mut(PANEL_ROWS))
                {
                    out[r] = read(bytes);
                }
            }
        });
    }

    /// Writes blocks of panels as `Format` says; rows past the last keep scales and codes of zero.
    fn code<F: Format>(
        &self,
        pool: &Pool,
        (planes, scales, subs): (&mut [u8], &mut [u16], &mut [u8]),
    ) {
        let blocks = self.cols / F::BLOCK;
        let plane_chunks = Chunks::new(planes, (blocks * F::PLANE_BYTES).max(1));
        let scale_chunks = Chunks::new(scales, (blocks * F::SCALES).max(1));
        if F::SUB_BYTES == 0 {
            pool.for_parts((plane_chunks, scale_chunks), |panel, (planes, scales)| {
                self.pack_panel::<F>(panel, planes, scales, &mut []);
            });
        } else {
            let sub_chunks = Chunks::new(subs, (blocks * F::SUB_BYTES).max(1));
            pool.for_parts((plane_chunks, scale_chunks, sub_chunks), |panel, (p, s, subs)| {
                self.pack_panel::<F>(panel, p, s, subs);
            });
        }
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

/// Writes the codes of row r into the planes (PLANE_BYTES) of a block.
fn put_codes<F: Format>(r: usize, fields: &Unpacked, planes: &mut [u8]) {
    let (low, high) = planes.split_at_mut(F::LOW_BYTES);
    let codes = &fields.codes[..F::BLOCK];
    put_plane(low, r, codes, [F::LOW_BITS, 0]);
    if F::HIGH_BITS > 0 {
        put_plane(high, r, codes, [F::HIGH_BITS, F::LOW_BITS]);
    }
}

/// Writes `bits` bits of the codes of row r, those from `shift` on, into a plane: a quad at a time.
#[inline(always)]
fn put_plane(plane: &mut [u8], r: usize, codes: &[u8], [bits, shift]: [usize; 2]) {
    let mask = u32::from_le_bytes([((1u16 << bits) - 1) as u8; 4]);
    let in_byte = 8 / bits;
    let quads = codes.as_chunks().0.chunks_exact(in_byte);
    let rows = plane.as_chunks_mut().0.chunks_exact_mut(PANEL_ROWS);
    for (row, quads) in rows.zip(quads) {
        let mut word = 0;
        for (i, &quad) in quads.iter().enumerate() {
            word |= ((u32::from_le_bytes(quad) >> shift) & mask) << (i * bits);
        }
        row[r] = word.to_le_bytes();
    }
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
