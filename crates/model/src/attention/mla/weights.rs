//! The up-projection of the latent, head by head, from the tensors that files have.

use panels::Panels;
use par::Pool;
use quant::QuantType;
use spec::{MlaSpec, Slot};

use crate::error::Error;
use crate::weights::{FP8_BLOCK, Loader};

/// The latent-to-key and latent-to-value matrices of each head, from the two tensors of newer GGUF
/// files or the merged one of all others.
pub(super) fn latent_up(
    loader: &Loader<'_>,
    layer: usize,
    spec: &MlaSpec,
) -> Result<(Vec<Panels>, Vec<Panels>), Error> {
    let MlaSpec { n_heads, latent_rank, nope_dim, value_dim, .. } = *spec;
    if loader.contains_split_latent_up(layer) {
        let key = (n_heads, latent_rank, nope_dim);
        let value = (n_heads, value_dim, latent_rank);
        return Ok((
            loader.experts(Slot::LatentUpKey, layer, key)?,
            loader.experts(Slot::LatentUpValue, layer, value)?,
        ));
    }
    let head_rows = nope_dim + value_dim;
    let tensor = loader.tensor(Slot::LatentUp, layer, &[n_heads * head_rows, latent_rank])?;
    let row_bytes = tensor.quant.row_bytes(latent_rank).expect("checked when it was read");
    let scales = match tensor.quant {
        QuantType::F8E4M3 => loader.scales(&tensor)?,
        _ => Vec::new(),
    };
    // A head's FP8 rows keep their codes and scales where they begin with a block of scales or lie
    // within one; what the scales cross is decoded.
    let aligned = |from: usize, rows: usize| {
        from.is_multiple_of(FP8_BLOCK) || from % FP8_BLOCK + rows <= FP8_BLOCK
    };
    let scale_cols = latent_rank.div_ceil(FP8_BLOCK);
    let mut decoded = Vec::new();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for head in 0..n_heads {
        let key_from = head * head_rows;
        let value_from = key_from + nope_dim;
        let bytes =
            |from: usize, rows: usize| &tensor.bytes[from * row_bytes..][..rows * row_bytes];
        let (key, value) = (bytes(key_from, nope_dim), bytes(value_from, value_dim));
        let fp8 = tensor.quant == QuantType::F8E4M3;
        if fp8 && aligned(key_from, nope_dim) && aligned(value_from, value_dim) {
            let scales = |from: usize, rows: usize| {
                &scales[from / FP8_BLOCK * scale_cols..][..rows.div_ceil(FP8_BLOCK) * scale_cols]
            };
            let codes = transposed(key, nope_dim, 1);
            let key_scales = scales(key_from, nope_dim);
            let key_scales = transposed(key_scales, nope_dim.div_ceil(FP8_BLOCK), 1);
            keys.push(Panels::pack_fp8(loader.pool, latent_rank, nope_dim, &codes, &key_scales));
            let value_scales = scales(value_from, value_dim);
            values.push(Panels::pack_fp8(loader.pool, value_dim, latent_rank, value, value_scales));
            continue;
        }
        match tensor.quant {
            // Plain types stay what they are.
            QuantType::F32 | QuantType::F16 | QuantType::Bf16 => {
                let turned = transposed(key, nope_dim, tensor.quant.block_bytes());
                let ty = tensor.quant;
                keys.push(Panels::pack(loader.pool, ty, latent_rank, nope_dim, &turned));
            }
            // Blocks run along the latent, which is now the output: they cannot be kept.
            _ => {
                decoded.resize(nope_dim * latent_rank, 0.0);
                quant::decode(tensor.quant, key, &mut decoded);
                scale_rows(&mut decoded, key_from, latent_rank, &scales);
                keys.push(pack_f32(loader.pool, &transposed(&decoded, nope_dim, 1), nope_dim));
            }
        }
        if fp8 {
            decoded.resize(value_dim * latent_rank, 0.0);
            quant::decode(tensor.quant, value, &mut decoded);
            scale_rows(&mut decoded, value_from, latent_rank, &scales);
            values.push(pack_f32(loader.pool, &decoded, latent_rank));
        } else {
            values.push(Panels::pack(loader.pool, tensor.quant, value_dim, latent_rank, value));
        }
    }
    Ok((keys, values))
}

/// Multiplies rows (n, cols), the first of which is row `from` of a matrix with FP8 `scales`.
fn scale_rows(rows: &mut [f32], from: usize, cols: usize, scales: &[f32]) {
    if scales.is_empty() {
        return;
    }
    let scale_cols = cols.div_ceil(FP8_BLOCK);
    for (i, row) in rows.chunks_exact_mut(cols).enumerate() {
        let scales = &scales[(from + i) / FP8_BLOCK * scale_cols..][..scale_cols];
        for (run, scale) in row.chunks_mut(FP8_BLOCK).zip(scales) {
            run.iter_mut().for_each(|x| *x *= scale);
        }
    }
}

fn pack_f32(pool: &Pool, matrix: &[f32], cols: usize) -> Panels {
    let bytes: Vec<u8> = matrix.iter().flat_map(|x| x.to_le_bytes()).collect();
    Panels::pack(pool, QuantType::F32, matrix.len() / cols, cols, &bytes)
}

/// (rows, n) to (n, rows), of items of `item` elements each.
fn transposed<T: Copy + Default>(matrix: &[T], rows: usize, item: usize) -> Vec<T> {
    let cols = matrix.len() / rows / item;
    let mut out = vec![T::default(); matrix.len()];
    for r in 0..rows {
        for c in 0..cols {
            out[(c * rows + r) * item..][..item]
                .copy_from_slice(&matrix[(r * cols + c) * item..][..item]);
        }
    }
    out
}

/// The latent-to-key matrix of each head the other way round, (nope, R): for the plain form.
pub(super) fn plain_keys(
    loader: &Loader<'_>,
    layer: usize,
    spec: &MlaSpec,
) -> Result<Vec<Panels>, Error> {
    let MlaSpec { n_heads, latent_rank, nope_dim, value_dim, .. } = *spec;
    if loader.contains_split_latent_up(layer) {
        let shape = [n_heads, latent_rank, nope_dim];
        let all = loader.tensor(Slot::LatentUpKey, layer, &shape)?.to_f32();
        let heads = all.chunks_exact(latent_rank * nope_dim);
        let turned = heads.map(|head| transposed(head, latent_rank, 1));
        return Ok(turned.map(|head| pack_f32(loader.pool, &head, latent_rank)).collect());
    }
    let head_rows = nope_dim + value_dim;
    let tensor = loader.tensor(Slot::LatentUp, layer, &[n_heads * head_rows, latent_rank])?;
    let row_bytes = tensor.quant.row_bytes(latent_rank).expect("checked when it was read");
    let scales = match tensor.quant {
        QuantType::F8E4M3 => loader.scales(&tensor)?,
        _ => Vec::new(),
    };
    let mut decoded = vec![0.0; nope_dim * latent_rank];
    let head = |head: usize| {
        let from = head * head_rows;
        let bytes = &tensor.bytes[from * row_bytes..][..nope_dim * row_bytes];
        if scales.is_empty() {
            return Panels::pack(loader.pool, tensor.quant, nope_dim, latent_rank, bytes);
        }
        quant::decode(tensor.quant, bytes, &mut decoded);
        scale_rows(&mut decoded, from, latent_rank, &scales);
        pack_f32(loader.pool, &decoded, latent_rank)
    };
    Ok((0..n_heads).map(head).collect())
}
