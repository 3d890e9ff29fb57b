//! The weights of a model in training: what is learned, and what stays as it was loaded.

use std::ops::Range;

use formats::Tensor;
use panels::{Gemm, Start, View, gemm};
use par::Pool;
use quant::QuantType;
use spec::Slot;

use super::Parameter;
use crate::error::Error;
use crate::weights::{FP8_BLOCK, Loader};

/// All parameters, by number, and room for a frozen matrix in f32.
#[derive(Default)]
pub(super) struct Book {
    pub parameters: Vec<Parameter>,
    decoded: Vec<f32>,
    /// Which frozen matrix that is.
    decoded_is: Option<usize>,
    n_frozen: usize,
    /// Numbers of a product through a low rank.
    low: Vec<f32>,
    /// Buffers that are done with: the system need not bring their pages again.
    free: Vec<Vec<f32>>,
}

/// Buffers that are kept; a layer has fewer at a time.
const FREE_MAX: usize = 16;

/// Which of the book's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(usize);

/// A matrix w (N, K).
pub(super) struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub base: Base,
    pub adapter: Option<Adapter>,
}

pub(super) enum Base {
    Learned(Id),
    Frozen(Frozen),
}

/// A matrix as its file has it.
pub(super) struct Frozen {
    tensor: Tensor,
    /// Which of the tensor's rows are its own.
    from: usize,
    /// Of FP8.
    scales: Vec<f32>,
    number: usize,
}

/// y += scale · B (A x), with A (r, K) and B (N, r).
#[derive(Clone, Copy)]
pub(super) struct Adapter {
    pub a: Id,
    pub b: Id,
    pub rank: usize,
    pub scale: f32,
}

/// A vector: a norm or a bias.
pub(super) enum Vector {
    Learned(Id),
    Frozen(Vec<f32>),
}

impl Book {
    pub(super) fn add(&mut self, name: String, shape: &[usize], value: Vec<f32>) -> Id {
        assert_eq!(shape.iter().product::<usize>(), value.len(), "{name} of shape {shape:?}");
        let gradient = vec![0.0; value.len()];
        self.parameters.push(Parameter { name, shape: shape.to_vec(), value, gradient });
        Id(self.parameters.len() - 1)
    }

    /// Room for n numbers, whichever they are now.
    pub(super) fn take(&mut self, n: usize) -> Vec<f32> {
        let fits =
            |(i, free): (usize, &Vec<f32>)| (free.capacity() >= n).then_some((free.capacity(), i));
        let smallest = self.free.iter().enumerate().filter_map(fits).min();
        let mut room = smallest.map(|(_, i)| self.free.swap_remove(i)).unwrap_or_default();
        room.resize(n, 0.0);
        room
    }

    /// Keeps buffers for whoever takes room next.
    pub(super) fn give(&mut self, buffers: impl IntoIterator<Item = Vec<f32>>) {
        self.free.extend(buffers);
        self.free.truncate(FREE_MAX);
    }

    pub(super) fn get(&self, id: Id) -> &Parameter {
        &self.parameters[id.0]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Parameter {
        &mut self.parameters[id.0]
    }

    /// The numbers of a matrix (N, K); a frozen one's are decoded until another's are asked for.
    pub(super) fn matrix(&mut self, pool: &Pool, w: &Matrix) -> &[f32] {
        match &w.base {
            Base::Learned(id) => &self.parameters[id.0].value,
            Base::Frozen(frozen) => {
                if self.decoded_is.replace(frozen.number) != Some(frozen.number) {
                    self.decoded.resize(w.rows * w.cols, 0.0);
                    frozen.decode(pool, &mut self.decoded, w.cols);
                }
                &self.decoded
            }
        }
    }
}

impl Frozen {
    fn new(
        loader: &Loader<'_>,
        book: &mut Book,
        tensor: Tensor,
        from: usize,
    ) -> Result<Frozen, Error> {
        let scales = match tensor.quant {
            QuantType::F8E4M3 => loader.scales(&tensor)?,
            _ => Vec::new(),
        };
        book.n_frozen += 1;
        Ok(Frozen { tensor, from, scales, number: book.n_frozen })
    }

    /// out (N, K)
    fn decode(&self, pool: &Pool, out: &mut [f32], cols: usize) {
        let row_bytes = self.tensor.quant.row_bytes(cols).expect("checked when it was read");
        let scale_cols = cols.div_ceil(FP8_BLOCK);
        pool.for_chunks(out, cols, |i, out| {
            let row = self.from + i;
            let bytes = &self.tensor.bytes[row * row_bytes..][..row_bytes];
            quant::decode(self.tensor.quant, bytes, out);
            if !self.scales.is_empty() {
                let scales = &self.scales[row / FP8_BLOCK * scale_cols..][..scale_cols];
                for (run, scale) in out.chunks_mut(FP8_BLOCK).zip(scales) {
                    run.iter_mut().for_each(|x| *x *= scale);
                }
            }
        });
    }
}

impl Vector {
    pub(super) fn value<'a>(&'a self, book: &'a Book) -> &'a [f32] {
        match self {
            Vector::Learned(id) => &book.get(*id).value,
            Vector::Frozen(value) => value,
        }
    }

    /// Its numbers, and where their gradient is added up.
    pub(super) fn learn<'a>(&'a self, book: &'a mut Book) -> (&'a [f32], Option<&'a mut [f32]>) {
        match self {
            Vector::Learned(id) => {
                let Parameter { value, gradient, .. } = book.get_mut(*id);
                (value, Some(gradient))
            }
            Vector::Frozen(value) => (value, None),
        }
    }
}

impl Matrix {
    /// dx (T, K) = or += dy (T, N) · w, and what dy and x (T, K) bring for the gradient of w.
    pub(super) fn backward(
        &self,
        pool: &Pool,
        book: &mut Book,
        (dx, start): (&mut [f32], Start),
        dy: &[f32],
        x: &[f32],
    ) {
        let sides = (View::rows(dy, self.rows), View::rows(book.matrix(pool, self), self.cols));
        gemm(pool, dx, self.cols, sides, Gemm { k: self.rows, start });
        self.learn(pool, book, dy, x);
        self.adapt(pool, book, dx, dy, x);
    }

    /// The gradient of w += dyᵀ · x, if it learns.
    pub(super) fn learn(&self, pool: &Pool, book: &mut Book, dy: &[f32], x: &[f32]) {
        let Base::Learned(id) = self.base else { return };
        let sides = (View::rows(dy, self.rows).turned(), View::rows(x, self.cols));
        let how = Gemm { k: x.len() / self.cols, start: Start::Kept };
        gemm(pool, &mut book.get_mut(id).gradient, self.cols, sides, how);
    }

    /// What the adapter adds: to its own gradients, and to dx (T, K).
    fn adapt(&self, pool: &Pool, book: &mut Book, dx: &mut [f32], dy: &[f32], x: &[f32]) {
        let Some(adapter) = self.adapter else { return };
        let sides = (View::rows(dy, self.rows), View::rows(x, self.cols));
        let d_low = adapter.backward(pool, book, dx, sides, 0..self.rows);
        adapter.learn_down(pool, book, &d_low, x);
    }
}

impl Adapter {
    /// Through the rows `of` of B: dx (T, K) += …, from dy (T, rows) and x (T, K). Returns the
    /// gradient (T, r) of A x, for [`Adapter::learn_down`].
    pub(super) fn backward(
        &self,
        pool: &Pool,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (View<'_>, View<'_>),
        of: Range<usize>,
    ) -> Vec<f32> {
        let Adapter { a, b, rank, scale } = *self;
        let Book { parameters, low, .. } = book;
        let cols = parameters[a.0].value.len() / rank;
        let n_tokens = dx.len() / cols;
        let mut d_low = vec![0.0; n_tokens * rank];
        low.resize(n_tokens * rank, 0.0);
        let fresh = |k| Gemm { k, start: Start::Zero };
        let added = Gemm { k: n_tokens, start: Start::Kept };
        let down = View::rows(&parameters[a.0].value, cols);
        gemm(pool, low, rank, (x, down.turned()), fresh(cols));
        let up = View::rows(&parameters[b.0].value, rank).from(of.start, 0);
        gemm(pool, &mut d_low, rank, (dy, up), fresh(of.len()));
        low.iter_mut().chain(d_low.iter_mut()).for_each(|x| *x *= scale);
        let sides = (View::rows(&d_low, rank), down);
        gemm(pool, dx, cols, sides, Gemm { k: rank, start: Start::Kept });
        let sides = (dy.turned(), View::rows(low, rank));
        let gradient = &mut parameters[b.0].gradient[of.start * rank..of.end * rank];
        gemm(pool, gradient, rank, sides, added);
        d_low
    }

    /// The gradient of A += d_lowᵀ (r, T) · x (T, K), token after token.
    pub(super) fn learn_down(&self, pool: &Pool, book: &mut Book, d_low: &[f32], x: &[f32]) {
        let n_tokens = d_low.len() / self.rank;
        let cols = x.len() / n_tokens;
        let sides = (View::rows(d_low, self.rank).turned(), View::rows(x, cols));
        let how = Gemm { k: n_tokens, start: Start::Kept };
        gemm(pool, &mut book.get_mut(self.a).gradient, cols, sides, how);
    }

    /// Through the same turned, y = scale · Aᵀ (Bᵀ x) with the rows `of` of B: dx (T, rows) += …,
    /// from dy (T, K) and x (T, rows). Returns what stands in the place of the gradient of A x,
    /// with dy in that of x.
    pub(super) fn backward_turned(
        &self,
        pool: &Pool,
        book: &mut Book,
        dx: &mut [f32],
        (dy, x): (View<'_>, View<'_>),
        of: Range<usize>,
    ) -> Vec<f32> {
        let Adapter { a, b, rank, scale } = *self;
        let Book { parameters, low, .. } = book;
        let cols = parameters[a.0].value.len() / rank;
        let n_tokens = dx.len() / of.len();
        let mut d_low = vec![0.0; n_tokens * rank];
        low.resize(n_tokens * rank, 0.0);
        let fresh = |k| Gemm { k, start: Start::Zero };
        let added = Gemm { k: n_tokens, start: Start::Kept };
        let up = View::rows(&parameters[b.0].value, rank).from(of.start, 0);
        gemm(pool, low, rank, (x, up), fresh(of.len()));
        let down = View::rows(&parameters[a.0].value, cols);
        gemm(pool, &mut d_low, rank, (dy, down.turned()), fresh(cols));
        low.iter_mut().chain(d_low.iter_mut()).for_each(|x| *x *= scale);
        let sides = (View::rows(&d_low, rank), up.turned());
        gemm(pool, dx, of.len(), sides, Gemm { k: rank, start: Start::Kept });
        let gradient = &mut parameters[b.0].gradient[of.start * rank..of.end * rank];
        gemm(pool, gradient, rank, (x.turned(), View::rows(&d_low, rank)), added);
        low.clone()
    }
}

/// Reads weights into a book.
pub(super) struct Reader<'a> {
    pub loader: &'a Loader<'a>,
    pub book: Book,
    /// Rank and scale of adapters and the seed of their first numbers; without, all is learned.
    pub adapters: Option<super::AdapterOptions>,
}

impl Reader<'_> {
    pub(super) fn vector(&mut self, slot: Slot, layer: usize, n: usize) -> Result<Vector, Error> {
        let value = self.loader.vector(slot, layer, n)?;
        if self.adapters.is_some() {
            return Ok(Vector::Frozen(value));
        }
        let name = self.loader.hugging_face_name(slot, layer, 0);
        Ok(Vector::Learned(self.book.add(name, &[n], value)))
    }

    pub(super) fn matrix(
        &mut self,
        slot: Slot,
        layer: usize,
        (rows, cols): (usize, usize),
    ) -> Result<Matrix, Error> {
        let tensor = self.loader.tensor(slot, layer, &[rows, cols])?;
        let name = self.loader.hugging_face_name(slot, layer, 0);
        self.enter(name, tensor, 0, (rows, cols))
    }

    /// A matrix beside which there are no adapters: the embedding, the head, a router.
    pub(super) fn frozen_by_adapters(
        &mut self,
        slot: Slot,
        layer: usize,
        (rows, cols): (usize, usize),
    ) -> Result<Matrix, Error> {
        if self.adapters.is_none() {
            return self.matrix(slot, layer, (rows, cols));
        }
        let tensor = self.loader.tensor(slot, layer, &[rows, cols])?;
        let base = Base::Frozen(Frozen::new(self.loader, &mut self.book, tensor, 0)?);
        Ok(Matrix { rows, cols, base, adapter: None })
    }

    /// The matrices (rows, cols) of all experts of a layer.
    pub(super) fn experts(
        &mut self,
        slot: Slot,
        layer: usize,
        (n, rows, cols): (usize, usize, usize),
    ) -> Result<Vec<Matrix>, Error> {
        let loader = self.loader;
        let tensors = loader.expert_tensors(slot, layer, (n, rows, cols))?;
        let matrices = tensors.into_iter().enumerate().map(|(expert, (tensor, from))| {
            let name = loader.hugging_face_name(slot, layer, expert);
            self.enter(name, tensor, from, (rows, cols))
        });
        matrices.collect()
    }

    /// Rows `from..from + rows` of a tensor.
    pub(super) fn enter(
        &mut self,
        name: String,
        tensor: Tensor,
        from: usize,
        (rows, cols): (usize, usize),
    ) -> Result<Matrix, Error> {
        let frozen = Frozen::new(self.loader, &mut self.book, tensor, from)?;
        let Some(options) = self.adapters else {
            let mut value = vec![0.0; rows * cols];
            frozen.decode(self.loader.pool, &mut value, cols);
            let base = Base::Learned(self.book.add(name, &[rows, cols], value));
            return Ok(Matrix { rows, cols, base, adapter: None });
        };
        let adapter = Some(self.adapter(&name, (rows, cols), options));
        Ok(Matrix { rows, cols, base: Base::Frozen(frozen), adapter })
    }

    fn adapter(
        &mut self,
        name: &str,
        (rows, cols): (usize, usize),
        options: super::AdapterOptions,
    ) -> Adapter {
        let super::AdapterOptions { rank, alpha, seed } = options;
        let module = name.strip_suffix(".weight").unwrap_or(name);
        let name = |part| format!("base_model.model.{module}.{part}.weight");
        let a = self.book.add(name("lora_A"), &[rank, cols], uniform(seed, module, rank, cols));
        let b = self.book.add(name("lora_B"), &[rows, rank], vec![0.0; rows * rank]);
        Adapter { a, b, rank, scale: alpha / rank as f32 }
    }
}

/// A (r, K): uniform within 1/√K, as PEFT begins. A function of the seed and the module's name.
fn uniform(seed: u64, module: &str, rank: usize, cols: usize) -> Vec<f32> {
    let bound = 1.0 / (cols as f32).sqrt();
    let mut state = module.bytes().fold(seed, |state, byte| scramble(state ^ u64::from(byte)));
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        // The upper 24 bits, as a number in [-1, 1).
        bound * ((scramble(state) >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..rank * cols).map(|_| next()).collect()
}

/// The finaliser of splitmix64.
fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
