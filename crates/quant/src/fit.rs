//! The fields of a block that bring it near given weights: what encoding searches for.
//!
//! Each sub-block first gets the real scale (and min) of its own with the least error
//! Σ p·(w − decoded)², where the importance p = rms(w) + |w| lets large weights count a little
//! more. Candidates for the scale spread around the one that just fits the range; each fixes the
//! codes, and least squares then give the best scale for those codes. The block then gets its f16
//! factors, each sub-block the whole multiples of them with the least error among the neighbours
//! of its own scale and min, and each weight the nearest code.

use crate::coded::{CodeLayout, CodeValue, Unpacked};
use crate::plain::f16_to_f32;

const SUB_LEN_MAX: usize = 32;
const N_SUBS_MAX: usize = 16;

const F16_MAX: f32 = 65504.0;

/// Sums run in as many lanes, so that the loops are vectorised.
const LANES: usize = 8;

/// Candidates lie this many steps to either side, the last of them most of a code away.
const N_STEPS: i32 = 9;
const CODE_SPREAD: f32 = 0.9;

/// Fills every field of `out` that counts from `weights`, one block.
///
/// A NaN counts as zero and an infinity as the largest f32. What an f16 scale cannot reach
/// saturates, and what is below its smallest step becomes zero.
#[inline(always)]
pub(crate) fn fit(layout: CodeLayout, weights: &[f32], out: &mut Unpacked) {
    let mut x = [0.0; 256];
    let x = &mut x[..weights.len()];
    for (x, weight) in x.iter_mut().zip(weights) {
        *x = if weight.is_nan() { 0.0 } else { weight.clamp(f32::MIN, f32::MAX) };
    }
    // Squares of weights may leave f32's range; those of weights over the largest do not.
    let unit = largest(x).abs();
    for x in &mut *x {
        *x = if unit == 0.0 { 0.0 } else { *x / unit };
    }
    let (mut scales, mut mins) = ([0.0; N_SUBS_MAX], [0.0; N_SUBS_MAX]);
    for (j, x) in x.chunks_exact(layout.sub_len).enumerate() {
        (scales[j], mins[j]) = if layout.has_mins {
            fit_line(layout, x, &importance(x)[..x.len()])
        } else {
            (fit_scale(layout, x, &importance(x)[..x.len()]), 0.0)
        };
    }
    // The scale of the largest magnitude takes the end of the range that reaches farther.
    let n_subs = weights.len() / layout.sub_len;
    let farthest = if layout.has_mins { layout.sub_scale_max } else { layout.sub_scale_min };
    let shared = layout.sub_scale_min < layout.sub_scale_max;
    let to_f16 = if shared { covering_f16 } else { nearest_f16 };
    out.scale = to_f16(unit * (largest(&scales[..n_subs]) / f32::from(farthest)));
    out.min = to_f16(unit * (largest(&mins[..n_subs]) / f32::from(layout.sub_scale_max)));
    for (j, x) in x.chunks_exact(layout.sub_len).enumerate() {
        let steps = Steps { scale: over(out.scale, unit), min: over(out.min, unit) };
        let (sub_scale, sub_min) = round_sub_fields(layout, x, steps, (scales[j], mins[j]));
        out.sub_scales[j] = sub_scale as i8;
        out.sub_mins[j] = sub_min as u8;
        let by = over(1.0, steps.scale * sub_scale);
        let codes = &mut out.codes[j * layout.sub_len..][..layout.sub_len];
        for (code, x) in codes.iter_mut().zip(x) {
            *code = nearest_code(layout, (x + steps.min * sub_min) * by);
        }
    }
}

/// The factors that the sub-blocks of a block share, over the block's largest weight.
#[derive(Clone, Copy)]
struct Steps {
    scale: f32,
    min: f32,
}

/// How much the error of each weight of a sub-block counts; past its end, zero.
#[inline(always)]
fn importance(x: &[f32]) -> [f32; SUB_LEN_MAX] {
    let rms = (dot(x, x) / x.len() as f32).sqrt();
    let mut importance = [0.0; SUB_LEN_MAX];
    for (importance, x) in importance.iter_mut().zip(x) {
        *importance = rms + x.abs();
    }
    importance
}

/// The whole multiples of `steps` for the scale and min of a sub-block: of those around
/// `exact`, the pair with the least error once the codes are chosen for it.
#[inline(always)]
fn round_sub_fields(layout: CodeLayout, x: &[f32], steps: Steps, exact: (f32, f32)) -> (f32, f32) {
    let (low, high) = (f32::from(layout.sub_scale_min), f32::from(layout.sub_scale_max));
    let scale = round(over(exact.0, steps.scale).clamp(low, high));
    let min = round(over(exact.1, steps.min).clamp(0.0, high));
    if low == high {
        return (scale, min);
    }
    let importance = importance(x);
    let (mut best, mut best_error) = ((scale, min), f32::INFINITY);
    let min_reach = i32::from(layout.has_mins);
    for min_off in -min_reach..=min_reach {
        for scale_off in -1..=1 {
            let scale = (scale + scale_off as f32).clamp(low, high);
            let min = (min + min_off as f32).clamp(0.0, high);
            let (by, times, floor) =
                (over(1.0, steps.scale * scale), steps.scale * scale, steps.min * min);
            let mut error = [0.0; LANES];
            for (x, p) in x.as_chunks::<LANES>().0.iter().zip(importance.as_chunks::<LANES>().0) {
                for i in 0..LANES {
                    let off = times * nearest_value(layout, (x[i] + floor) * by) - floor - x[i];
                    error[i] += p[i] * off * off;
                }
            }
            let error = error.iter().sum();
            if error < best_error {
                (best, best_error) = ((scale, min), error);
            }
        }
    }
    best
}

/// The scale s of x ≈ s · value, for a format without mins.
#[inline(always)]
fn fit_scale(layout: CodeLayout, x: &[f32], importance: &[f32]) -> f32 {
    // The value that the largest weight gets, and how far from it the candidates go.
    let (end, spread) = match layout.value {
        CodeValue::Offset(offset) => (-f32::from(offset), CODE_SPREAD),
        CodeValue::Signed => (127.0, CODE_SPREAD),
        CodeValue::Table(table) => (f32::from(table[0]), 7.0),
    };
    let peak = match layout.value {
        CodeValue::Signed => largest(x).abs(),
        CodeValue::Offset(_) | CodeValue::Table(_) => largest(x),
    };
    let (mut best, mut best_gain) = (0.0, 0.0);
    for step in -N_STEPS..=N_STEPS {
        let by = (end + spread * step as f32 / N_STEPS as f32) * over(1.0, peak);
        let (mut xv, mut vv) = ([0.0; LANES], [0.0; LANES]);
        for (x, p) in x.as_chunks::<LANES>().0.iter().zip(importance.as_chunks::<LANES>().0) {
            for i in 0..LANES {
                let value = nearest_value(layout, x[i] * by);
                xv[i] += p[i] * x[i] * value;
                vv[i] += p[i] * value * value;
            }
        }
        let (xv, vv): (f32, f32) = (xv.iter().sum(), vv.iter().sum());
        // With s = xv / vv the error is Σ p x² − xv² / vv.
        if vv > 0.0 && xv * xv > best_gain * vv {
            (best, best_gain) = (xv / vv, xv * xv / vv);
        }
    }
    best
}

/// The scale s and min m of x ≈ s · code − m. Where sub-blocks share a factor, m is never below
/// zero: a sub-block's own min has no sign.
#[inline(always)]
fn fit_line(layout: CodeLayout, x: &[f32], importance: &[f32]) -> (f32, f32) {
    let shared = layout.sub_scale_max > 1;
    let low = x.iter().copied().fold(if shared { 0.0 } else { f32::INFINITY }, f32::min);
    let high = x.iter().copied().fold(low, f32::max);
    let codes_max = ((1u32 << layout.bits) - 1) as f32;
    let (p_sum, x_sum) = (importance.iter().sum::<f32>(), dot(importance, x));
    let (mut best, mut best_error) = ((0.0, -low), f32::INFINITY);
    if high == low {
        return best;
    }
    let mut codes = [0.0; SUB_LEN_MAX];
    let codes = &mut codes[..x.len()];
    for step in -N_STEPS..=N_STEPS {
        let by = (codes_max + CODE_SPREAD * step as f32 / N_STEPS as f32) / (high - low);
        for (code, x) in codes.iter_mut().zip(x) {
            *code = round(((x - low) * by).clamp(0.0, codes_max));
        }
        let sums = line_sums(codes, x, importance);
        let determinant = p_sum * sums.cc - sums.c * sums.c;
        let mut scale = (p_sum * sums.cx - sums.c * x_sum) / determinant;
        let mut min = (sums.c * sums.cx - sums.cc * x_sum) / determinant;
        // Codes that are all the same leave nothing but rounding in the determinant.
        let flat = determinant <= 4e-6 * p_sum * sums.cc;
        if shared && (min < 0.0 || flat) {
            (scale, min) = (sums.cx / sums.cc, 0.0);
        }
        let error = line_error(codes, x, importance, (scale, min));
        if error < best_error {
            (best, best_error) = ((scale, min), error);
        }
    }
    best
}

/// Σ p·c, Σ p·c² and Σ p·c·x.
struct LineSums {
    c: f32,
    cc: f32,
    cx: f32,
}

#[inline(always)]
fn line_sums(codes: &[f32], x: &[f32], importance: &[f32]) -> LineSums {
    let (mut c, mut cc, mut cx) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let rows = codes.as_chunks::<LANES>().0.iter().zip(x.as_chunks::<LANES>().0);
    for ((codes, x), p) in rows.zip(importance.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let weighted = p[i] * codes[i];
            c[i] += weighted;
            cc[i] += weighted * codes[i];
            cx[i] += weighted * x[i];
        }
    }
    LineSums { c: c.iter().sum(), cc: cc.iter().sum(), cx: cx.iter().sum() }
}

#[inline(always)]
fn line_error(codes: &[f32], x: &[f32], importance: &[f32], (scale, min): (f32, f32)) -> f32 {
    let mut error = [0.0; LANES];
    let rows = codes.as_chunks::<LANES>().0.iter().zip(x.as_chunks::<LANES>().0);
    for ((codes, x), p) in rows.zip(importance.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            let off = scale * codes[i] - min - x[i];
            error[i] += p[i] * off * off;
        }
    }
    error.iter().sum()
}

#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sum = [0.0; LANES];
    for (x, y) in x.as_chunks::<LANES>().0.iter().zip(y.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sum[i] += x[i] * y[i];
        }
    }
    sum.iter().sum()
}

/// The value of a code that lies nearest to `x`.
#[inline(always)]
fn nearest_value(layout: CodeLayout, x: f32) -> f32 {
    match layout.value {
        CodeValue::Offset(offset) => {
            let codes_max = ((1u32 << layout.bits) - 1) as f32;
            let offset = f32::from(offset);
            round(x.clamp(-offset, codes_max - offset))
        }
        // −128 stays unused, so that the range is the same to both sides.
        CodeValue::Signed => round(x.clamp(-127.0, 127.0)),
        // The sum of the steps passed is the entry itself, without a look-up for each element.
        CodeValue::Table(table) => {
            let mut value = f32::from(table[0]);
            for i in 0..15 {
                let (low, high) = (f32::from(table[i]), f32::from(table[i + 1]));
                value += if x > (low + high) / 2.0 { high - low } else { 0.0 };
            }
            value
        }
    }
}

#[inline(always)]
fn nearest_code(layout: CodeLayout, x: f32) -> u8 {
    match layout.value {
        CodeValue::Offset(offset) => (nearest_value(layout, x) + f32::from(offset)) as u8,
        CodeValue::Signed => nearest_value(layout, x) as i8 as u8,
        CodeValue::Table(table) => (0..15)
            .map(|i| u8::from(x > (f32::from(table[i]) + f32::from(table[i + 1])) / 2.0))
            .sum(),
    }
}

/// The element of the largest magnitude, the first of equals.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest: f32, &x| if x.abs() > largest.abs() { x } else { largest })
}

/// x / y, and nothing where there is nothing to divide by.
#[inline(always)]
fn over(x: f32, y: f32) -> f32 {
    if y == 0.0 { 0.0 } else { x / y }
}

/// The nearest whole number, even of two, for |x| < 2²²: from 1.5 · 2²³ on f32 has no fractions.
/// `f32::round` is a call for each element where the CPU has no such instruction.
#[inline(always)]
fn round(x: f32) -> f32 {
    const WHOLE: f32 = 12_582_912.0;
    (x + WHOLE) - WHOLE
}

/// The nearest f16 that is no smaller in magnitude: its multiples reach every sub-block's scale,
/// even where an f16 has few bits left or none.
#[inline(always)]
fn covering_f16(x: f32) -> f32 {
    let nearest = nearest_f16(x);
    let short = nearest.abs() < x.abs() && nearest.abs() < F16_MAX;
    f16_to_f32(half::f16::from_f32(nearest).to_bits() + u16::from(short))
}

/// Never infinite: a scale that overflows would make a block of NaN.
#[inline(always)]
fn nearest_f16(x: f32) -> f32 {
    f16_to_f32(half::f16::from_f32(x.clamp(-F16_MAX, F16_MAX)).to_bits())
}
