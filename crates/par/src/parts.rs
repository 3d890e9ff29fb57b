//! Buffers cut into disjoint parts, one a task.
//!
//! [`Chunks`] cuts a buffer into runs, [`Strips`] a row-major matrix into groups of columns.
//! A pair or triple of them is cut in step.

#![expect(unsafe_code, reason = "hands disjoint parts of one buffer to several threads")]

use std::marker::PhantomData;

/// Something that is cut into parts which do not overlap.
///
/// # Safety
///
/// Parts of different indices below `len()` must not share memory.
pub unsafe trait Parts: Sync {
    /// What a task gets.
    type Part;

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part at `index`.
    ///
    /// # Safety
    ///
    /// `index < len()`, and each index is asked for at most once.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// A buffer in runs of `chunk` elements, the last one maybe shorter.
pub struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk: usize,
    owner: PhantomData<&'a mut [T]>,
}

impl<'a, T: Send> Chunks<'a, T> {
    pub fn new(buffer: &'a mut [T], chunk: usize) -> Self {
        assert!(chunk > 0, "chunks of no elements");
        Chunks { start: buffer.as_mut_ptr(), len: buffer.len(), chunk, owner: PhantomData }
    }
}

// SAFETY: a shared `Chunks` only gives out disjoint `&mut [T]`, which may move if T may.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

// SAFETY: part i covers elements [i·chunk, (i+1)·chunk) of the buffer and no others.
unsafe impl<'a, T: Send> Parts for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn len(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let from = index * self.chunk;
        let len = self.chunk.min(self.len - from);
        // SAFETY: `index < len()` puts `from` inside the buffer that `owner` borrows for 'a.
        let start = unsafe { self.start.add(from) };
        // SAFETY: `len` elements from `start` lie in the buffer; the caller asks once an index.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

/// A matrix (rows, width) in strips of `strip` columns, the last one maybe narrower.
pub struct Strips<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    strip: usize,
    owner: PhantomData<&'a mut [f32]>,
}

impl<'a> Strips<'a> {
    /// Cuts `buffer` (rows, width), row-major.
    pub fn new(buffer: &'a mut [f32], width: usize, strip: usize) -> Self {
        assert!(width > 0 && strip > 0, "strips of a matrix {width} wide, {strip} at a time");
        assert_eq!(buffer.len() % width, 0, "a matrix has whole rows");
        let rows = buffer.len() / width;
        Strips { start: buffer.as_mut_ptr(), rows, width, strip, owner: PhantomData }
    }
}

// SAFETY: a shared `Strips` only gives out `Strip`s of disjoint columns; f32 may move to a thread.
unsafe impl Sync for Strips<'_> {}

// SAFETY: part i covers columns [i·strip, (i+1)·strip) of each row and no others.
unsafe impl<'a> Parts for Strips<'a> {
    type Part = Strip<'a>;

    fn len(&self) -> usize {
        self.width.div_ceil(self.strip)
    }

    unsafe fn part(&self, index: usize) -> Strip<'a> {
        let from = index * self.strip;
        let width = self.strip.min(self.width - from);
        let (start, rows, stride) = (self.start, self.rows, self.width);
        Strip { start, rows, stride, from, width, owner: PhantomData }
    }
}

/// A matrix (rows, width) in tiles: runs of rows crossed with strips of columns.
///
/// Tile `run · n_strips + strip` covers the rows of one run and the columns of one strip.
pub struct Tiles<'a> {
    strips: Strips<'a>,
    /// The row after the last of each run, ascending.
    run_ends: &'a [usize],
}

impl<'a> Tiles<'a> {
    /// Cuts `buffer` (rows, width), row-major, after each of `run_ends` and every `strip` columns.
    pub fn new(buffer: &'a mut [f32], width: usize, strip: usize, run_ends: &'a [usize]) -> Self {
        let strips = Strips::new(buffer, width, strip);
        assert!(run_ends.is_sorted(), "runs of rows follow each other");
        assert!(run_ends.last().is_none_or(|&end| end <= strips.rows), "runs end in the matrix");
        Tiles { strips, run_ends }
    }
}

// SAFETY: runs do not share rows (their ends ascend) and strips do not share columns.
unsafe impl<'a> Parts for Tiles<'a> {
    type Part = Strip<'a>;

    fn len(&self) -> usize {
        self.run_ends.len() * self.strips.len()
    }

    unsafe fn part(&self, index: usize) -> Strip<'a> {
        let (run, strip) = (index / self.strips.len(), index % self.strips.len());
        let first = if run == 0 { 0 } else { self.run_ends[run - 1] };
        // SAFETY: `strip < strips.len()`; the rows of two strips of one number are cut apart below.
        let whole = unsafe { self.strips.part(strip) };
        // SAFETY: `first` is at most the number of rows, so the offset stays within the matrix.
        let start = unsafe { whole.start.add(first * whole.stride) };
        Strip { start, rows: self.run_ends[run] - first, ..whole }
    }
}

/// The columns [`from`, `from + width`) of a matrix, for one task to write.
pub struct Strip<'a> {
    start: *mut f32,
    rows: usize,
    stride: usize,
    from: usize,
    width: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Strip` is the only way to its columns, as a `&mut` would be.
unsafe impl Send for Strip<'_> {}

impl<'a> Strip<'a> {
    /// All columns of a matrix (rows, width), row-major: for one task that needs no cutting.
    pub fn whole(buffer: &'a mut [f32], width: usize) -> Strip<'a> {
        assert!(width > 0 && buffer.len().is_multiple_of(width), "a matrix has whole rows");
        let (start, rows) = (buffer.as_mut_ptr(), buffer.len() / width);
        Strip { start, rows, stride: width, from: 0, width, owner: PhantomData }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The first column of the strip in the whole matrix.
    pub fn from(&self) -> usize {
        self.from
    }

    /// How many columns the strip has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows `from..from + rows` of the strip, as a strip of their own.
    pub fn part(&mut self, from: usize, rows: usize) -> Strip<'_> {
        assert!(from + rows <= self.rows, "rows {from} to {} of {}", from + rows, self.rows);
        // SAFETY: `from <= rows`, so the offset stays within the matrix or at its end.
        let start = unsafe { self.start.add(from * self.stride) };
        Strip { start, rows, ..*self }
    }

    /// Row `t` of the strip (width()).
    #[inline]
    pub fn row_mut(&mut self, t: usize) -> &mut [f32] {
        assert!(t < self.rows, "row {t} of {}", self.rows);
        // SAFETY: `t < rows` and `from < stride`, so the offset lies inside the matrix.
        let start = unsafe { self.start.add(t * self.stride + self.from) };
        // SAFETY: `from + width <= stride`: the run stays in row t; only this strip reaches it.
        unsafe { std::slice::from_raw_parts_mut(start, self.width) }
    }
}

// SAFETY: both sides give disjoint parts for different indices.
unsafe impl<A: Parts, B: Parts> Parts for (A, B) {
    type Part = (A::Part, B::Part);

    fn len(&self) -> usize {
        assert_eq!(self.0.len(), self.1.len(), "buffers cut in step have as many parts");
        self.0.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: handed on from the caller.
        let a = unsafe { self.0.part(index) };
        // SAFETY: handed on from the caller.
        let b = unsafe { self.1.part(index) };
        (a, b)
    }
}

// SAFETY: all three sides give disjoint parts for different indices.
unsafe impl<A: Parts, B: Parts, C: Parts> Parts for (A, B, C) {
    type Part = (A::Part, B::Part, C::Part);

    fn len(&self) -> usize {
        assert_eq!(self.0.len(), self.1.len(), "buffers cut in step have as many parts");
        assert_eq!(self.0.len(), self.2.len(), "buffers cut in step have as many parts");
        self.0.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: handed on from the caller.
        let a = unsafe { self.0.part(index) };
        // SAFETY: handed on from the caller.
        let b = unsafe { self.1.part(index) };
        // SAFETY: handed on from the caller.
        let c = unsafe { self.2.part(index) };
        (a, b, c)
    }
}
