//! Products of every type on every ISA: right, and the same bits however they are cut.

use par::Pool;
use quant::{QuantType, Unpacked};
use ruminate_panels::{Activations, Form, Group, Panels, Rows, Start, multiply};
use simd::Best;
use simd::testing::for_each_isa;

const FORMS: [Form; 3] = [Form::F32, Form::Int8Per32, Form::Int8Per256];

/// Numbers in -1..1 that look random, the same in each run.
fn noise(seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}

/// Weights of a file: (rows, cols) blocks of `ty`.
struct File {
    ty: QuantType,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
    /// (⌈rows/128⌉, ⌈cols/128⌉), of FP8.
    scales: Vec<f32>,
}

impl File {
    fn noise(ty: QuantType, rows: usize, cols: usize) -> Self {
        let weights: Vec<f32> = noise(rows as u64 + 31).take(rows * cols).collect();
        let mut bytes = vec![0; ty.row_bytes(cols).expect("whole blocks") * rows];
        quant::encode(ty, &weights, &mut bytes);
        let n_scales = rows.div_ceil(128) * cols.div_ceil(128);
        let scales = noise(77).take(n_scales).collect();
        Self { ty, rows, cols, bytes, scales }
    }

    fn pack(&self, pool: &Pool) -> Panels {
        if self.ty == QuantType::F8E4M3 {
            return Panels::pack_fp8(pool, self.rows, self.cols, &self.bytes, &self.scales);
        }
        Panels::pack(pool, self.ty, self.rows, self.cols, &self.bytes)
    }

    /// Each weight of a row in f64, and the size of what it's the sum of.
    fn row(&self, n: usize) -> Vec<(f64, f64)> {
        let row_bytes = self.ty.row_bytes(self.cols).expect("whole blocks");
        let bytes = &self.bytes[n * row_bytes..][..row_bytes];
        let Some(layout) = self.ty.code_layout() else {
            let mut row = vec![0.0; self.cols];
            quant::decode(self.ty, bytes, &mut row);
            let scale = |k: usize| match self.ty {
                QuantType::F8E4M3 => self.scales[n / 128 * self.cols.div_ceil(128) + k / 128],
                _ => 1.0,
            };
            let row = row.iter().enumerate().map(|(k, &w)| f64::from(w * scale(k)));
            return row.map(|w| (w, w.abs())).collect();
        };
        let mut row = Vec::new();
        let mut fields = Unpacked::default();
        for block in bytes.chunks_exact(self.ty.block_bytes()) {
            quant::unpack(self.ty, block, &mut fields);
            for (k, &code) in fields.codes[..self.ty.block_len()].iter().enumerate() {
                let sub = k / layout.sub_len;
                let value = f64::from(layout.value.of(code));
                let scaled = f64::from(fields.scale) * f64::from(fields.sub_scales[sub]) * value;
                let min = f64::from(fields.min) * f64::from(fields.sub_mins[sub]);
                row.push((scaled - min, scaled.abs() + min.abs()));
            }
        }
        row
    }
}

/// x (T, K), prepared for all types.
fn activations(best: Best, pool: &Pool, x: &[f32], cols: usize) -> Activations {
    let rows = x.len() / cols;
    let mut activations = Activations::new(rows, cols, &FORMS);
    activations.load(x, rows, cols);
    for form in FORMS {
        if form == Form::F32
            || cols.is_multiple_of(256)
            || form == Form::Int8Per32 && cols.is_multiple_of(32)
        {
            activations.prepare_on(best, pool, form);
        }
    }
    activations
}

fn product(best: Best, pool: &Pool, x: &Activations, w: &Panels, rows: Rows<'_>) -> Vec<f32> {
    let len = match rows {
        Rows::All => x.rows(),
        Rows::Picked(rows) => rows.len(),
        Rows::Run { len, .. } => len,
    };
    let mut y = vec![f32::NAN; len * w.rows()];
    multiply(best, pool, &mut y, x, &[Group { w, rows }], Start::Zero);
    y
}

/// Checks y (T, N) against f64 sums of the weights and of the activations as quantised.
///
/// Each of a chain's steps (one for each block, two with mins) errs by 2⁻²⁴ of the terms so far,
/// twice in scalar code; a block's scale and total err a few times more.
fn check(best: Best, file: &File, x: &Activations, form: Form, y: &[f32]) {
    let steps = file.cols / file.ty.block_len() * if best.name() == "scalar" { 4 } else { 2 };
    for n in 0..file.rows {
        let row = file.row(n);
        for t in 0..x.rows() {
            let x = x.decode_row(form, t);
            let terms =
                row.iter().zip(&x).map(|(w, &x)| (w.0 * f64::from(x), w.1 * f64::from(x.abs())));
            let (expected, size) = terms.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            let bound = (steps + 8) as f64 * 2f64.powi(-24) * size;
            let found = f64::from(y[t * file.rows + n]);
            let error = (found - expected).abs();
            let name = file.ty.name();
            assert!(error <= bound, "{name} y[{t}][{n}] = {found}, {expected} ± {bound} expected");
        }
    }
}

/// Columns that every type takes, and that no run or tile divides.
fn cols_of(ty: QuantType) -> usize {
    match ty.block_len() {
        1 => 203,
        len => 3 * len,
    }
}

#[test]
fn every_type_agrees_with_f64_on_every_isa() {
    let pool = Pool::new(2);
    for &ty in QuantType::ALL {
        let file = File::noise(ty, 37, cols_of(ty));
        let w = file.pack(&pool);
        for tokens in [1, 3, 13] {
            let x: Vec<f32> = noise(5).take(tokens * file.cols).collect();
            for_each_isa(|best| {
                let x = activations(best, &pool, &x, file.cols);
                let y = product(best, &pool, &x, &w, Rows::All);
                check(best, &file, &x, w.form(), &y);
            });
        }
    }
}

#[test]
fn a_long_row_agrees_with_f64() {
    let pool = Pool::new(2);
    for ty in [QuantType::Q8_0, QuantType::Q4K, QuantType::Q6K, QuantType::F8E4M3] {
        let file = File::noise(ty, 130, 1_024);
        let w = file.pack(&pool);
        let x: Vec<f32> = noise(6).take(5 * file.cols).collect();
        for_each_isa(|best| {
            let x = activations(best, &pool, &x, file.cols);
            check(best, &file, &x, w.form(), &product(best, &pool, &x, &w, Rows::All));
        });
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_any_crowd() {
    let pool = Pool::new(2);
    for &ty in QuantType::ALL {
        let file = File::noise(ty, 21, cols_of(ty));
        let w = file.pack(&pool);
        let x: Vec<f32> = noise(8).take(150 * file.cols).collect();
        for_each_isa(|best| {
            let all = activations(best, &pool, &x, file.cols);
            let expected = product(best, &pool, &all, &w, Rows::All);
            for (from, len) in
                [(0, 1), (149, 1), (3, 2), (40, 3), (11, 5), (7, 8), (130, 17), (64, 64)]
            {
                let part =
                    activations(best, &pool, &x[from * file.cols..][..len * file.cols], file.cols);
                let found = product(best, &pool, &part, &w, Rows::All);
                assert_eq!(found, expected[from * 21..][..len * 21], "{} {from} {len}", ty.name());
                let found = product(best, &pool, &all, &w, Rows::Run { from, len });
                assert_eq!(found, expected[from * 21..][..len * 21], "{} {from} {len}", ty.name());
            }
        });
    }
}

#[test]
fn an_output_does_not_depend_on_its_neighbours_in_the_matrix() {
    let pool = Pool::new(1);
    for &ty in QuantType::ALL {
        let file = File::noise(ty, 40, cols_of(ty));
        let row_bytes = file.bytes.len() / 40;
        let one = File {
            ty,
            rows: 1,
            cols: file.cols,
            bytes: file.bytes[29 * row_bytes..30 * row_bytes].to_vec(),
            scales: file.scales[..file.cols.div_ceil(128)].to_vec(),
        };
        let (all, one) = (file.pack(&pool), one.pack(&pool));
        let x: Vec<f32> = noise(9).take(7 * file.cols).collect();
        for_each_isa(|best| {
            let x = activations(best, &pool, &x, file.cols);
            let all = product(best, &pool, &x, &all, Rows::All);
            let one = product(best, &pool, &x, &one, Rows::All);
            assert!(
                (0..7).all(|t| all[t * 40 + 29].to_bits() == one[t].to_bits()),
                "{}",
                ty.name()
            );
        });
    }
}

#[test]
fn threads_change_nothing() {
    for &ty in QuantType::ALL {
        let file = File::noise(ty, 300, cols_of(ty));
        let x: Vec<f32> = noise(10).take(9 * file.cols).collect();
        for_each_isa(|best| {
            let results = [1, 2, 3].map(|threads| {
                let pool = Pool::new(threads);
                let x = activations(best, &pool, &x, file.cols);
                product(best, &pool, &x, &file.pack(&pool), Rows::All)
            });
            assert_eq!(results[0], results[1], "{}", ty.name());
            assert_eq!(results[0], results[2], "{}", ty.name());
        });
    }
}

#[test]
fn avx2_and_avx512_agree_bit_for_bit() {
    let (Some(avx2), Some(avx512)) = (Best::named("avx2"), Best::named("avx512")) else { return };
    let pool = Pool::new(2);
    for &ty in QuantType::ALL {
        let file = File::noise(ty, 70, cols_of(ty));
        let w = file.pack(&pool);
        for tokens in [1, 4, 31] {
            let x: Vec<f32> = noise(11).take(tokens * file.cols).collect();
            let [a, b] = [avx2, avx512].map(|best| {
                product(best, &pool, &activations(best, &pool, &x, file.cols), &w, Rows::All)
            });
            assert_eq!(a, b, "{}", ty.name());
        }
    }
}

#[test]
fn many_tokens_have_the_bits_of_each_alone_on_avx512_with_and_without_tiles() {
    let Some(plain) = Best::named("avx512") else { return };
    let pool = Pool::new(1);
    for &ty in QuantType::ALL.iter().filter(|ty| ty.code_layout().is_some()) {
        // More panels than one pass takes, more than one run and part of another.
        let file = File::noise(ty, 37 * 16 + 5, 256 + ty.block_len());
        let w = file.pack(&pool);
        let x: Vec<f32> = noise(15).take(83 * file.cols).collect();
        let alone: Vec<f32> = x
            .chunks(file.cols)
            .flat_map(|x| {
                product(plain, &pool, &activations(plain, &pool, x, file.cols), &w, Rows::All)
            })
            .collect();
        for best in [Some(plain), Best::named("amx")].into_iter().flatten() {
            let found =
                product(best, &pool, &activations(best, &pool, &x, file.cols), &w, Rows::All);
            assert!(
                found.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{} on {}",
                ty.name(),
                best.name()
            );
        }
    }
}

/// Blocks with every code and every sub-block field at one end of its range.
fn extreme_file(ty: QuantType, top: bool) -> File {
    let layout = ty.code_layout().expect("a coded type");
    let mut fields = Unpacked { scale: 1.0, ..Unpacked::default() };
    let code = match (layout.value, top) {
        (quant::CodeValue::Signed, false) => 0x80,
        (quant::CodeValue::Signed, true) => 0x7f,
        (_, false) => 0,
        (_, true) => (1u16 << layout.bits) as u8 - 1,
    };
    let sub_scale = if top { layout.sub_scale_max } else { layout.sub_scale_min };
    fields.sub_scales = [if layout.sub_len == ty.block_len() { 1 } else { sub_scale }; 16];
    if layout.has_mins {
        fields.min = 1.0;
        fields.sub_mins = [layout.sub_scale_max as u8; 16];
    }
    fields.codes = [code; 256];
    let mut block = vec![0; ty.block_bytes()];
    quant::pack(ty, &fields, &mut block);
    let cols = 2 * ty.block_len();
    File { ty, rows: 17, cols, bytes: block.repeat(34), scales: Vec::new() }
}

#[test]
fn nothing_saturates_at_the_extremes() {
    let pool = Pool::new(1);
    for &ty in QuantType::ALL.iter().filter(|ty| ty.code_layout().is_some()) {
        for top in [false, true] {
            let file = extreme_file(ty, top);
            let w = file.pack(&pool);
            let signs: [fn(usize) -> f32; 4] =
                [|_| 1.0, |_| -1.0, |k| [1.0, -1.0][k % 2], |k| [1.0, -1.0][k / 16 % 2]];
            for sign in signs {
                let x: Vec<f32> = (0..6 * file.cols).map(|i| sign(i % file.cols)).collect();
                for_each_isa(|best| {
                    let x = activations(best, &pool, &x, file.cols);
                    for rows in [Rows::All, Rows::Run { from: 0, len: 1 }] {
                        let mut y = product(best, &pool, &x, &w, rows);
                        if let Rows::Run { .. } = rows {
                            y = y.repeat(6);
                        }
                        check(best, &file, &x, w.form(), &y);
                    }
                });
            }
        }
    }
}

#[test]
fn picked_rows_are_the_plain_ones_and_groups_lie_below_one_another() {
    let pool = Pool::new(2);
    for ty in [QuantType::F16, QuantType::Q4_0, QuantType::Q6K] {
        let cols = cols_of(ty);
        let experts = [50, 51].map(|seed| {
            let mut file = File::noise(ty, 50, cols);
            let weights: Vec<f32> = noise(seed).take(50 * cols).collect();
            quant::encode(ty, &weights, &mut file.bytes);
            file.pack(&pool)
        });
        let x: Vec<f32> = noise(12).take(20 * cols).collect();
        let picked: [&[u32]; 2] = [&[3, 3, 19, 0, 7, 12], &[5]];
        for_each_isa(|best| {
            let x = activations(best, &pool, &x, cols);
            let mut y = vec![f32::NAN; 7 * 50];
            let groups: [_; 2] =
                std::array::from_fn(|e| Group { w: &experts[e], rows: Rows::Picked(picked[e]) });
            multiply(best, &pool, &mut y, &x, &groups, Start::Zero);
            let plain = [0, 1].map(|e| product(best, &pool, &x, &experts[e], Rows::All));
            let expected = (0..2).flat_map(|e| picked[e].iter().map(move |&t| (e, t as usize)));
            for ((e, t), y) in expected.zip(y.chunks_exact(50)) {
                assert_eq!(y, &plain[e][t * 50..][..50], "{} expert {e} row {t}", ty.name());
            }
        });
    }
}

#[test]
fn a_chain_can_begin_with_what_y_holds() {
    let pool = Pool::new(2);
    for tokens in [1, 9] {
        let file = File::noise(QuantType::F32, 19, 1);
        let w = file.pack(&pool);
        let x: Vec<f32> = noise(13).take(tokens).collect();
        for_each_isa(|best| {
            let x = activations(best, &pool, &x, 1);
            let mut y = vec![0.75; tokens * 19];
            multiply(best, &pool, &mut y, &x, &[Group { w: &w, rows: Rows::All }], Start::Kept);
            for (t, y) in y.chunks_exact(19).enumerate() {
                for (n, &y) in y.iter().enumerate() {
                    let w = f32::from_le_bytes(file.bytes[4 * n..][..4].try_into().unwrap());
                    let x = x.values()[t];
                    assert!(y == w.mul_add(x, 0.75) || y == w * x + 0.75);
                }
            }
        });
    }
}

#[test]
fn numbers_that_are_not_finite_stay_so() {
    let pool = Pool::new(1);
    for ty in [QuantType::F32, QuantType::Q4_0, QuantType::Q4K] {
        let file = File::noise(ty, 16, cols_of(ty));
        let w = file.pack(&pool);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x: Vec<f32> = noise(14).take(2 * file.cols).collect();
            x[17] = bad;
            for_each_isa(|best| {
                let x = activations(best, &pool, &x, file.cols);
                let y = product(best, &pool, &x, &w, Rows::All);
                assert!(y[..16].iter().all(|y| !y.is_finite()), "{} of {bad}", ty.name());
                assert!(y[16..].iter().all(|y| y.is_finite()), "{} of {bad}", ty.name());
            });
        }
    }
}

#[test]
fn packed_weights_take_little_more_than_the_file() {
    let pool = Pool::new(1);
    for &ty in QuantType::ALL {
        let cols = 512;
        let file = File::noise(ty, 64, cols);
        let share = file.pack(&pool).bytes() as f64 / file.bytes.len() as f64;
        assert!((1.0..1.04).contains(&share), "{}: {share}", ty.name());
    }
}
