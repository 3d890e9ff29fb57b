//! Buffers that begin at a cache line, so that no vector of a panel straddles two.

/// `len` elements, the first of which lies at a multiple of 64 bytes.
pub(crate) struct Aligned<T> {
    // Longer than `len` by a line; never grown, so the offset stays true.
    data: Vec<T>,
    offset: usize,
    len: usize,
}

const LINE_BYTES: usize = 64;

impl<T: Copy + Default> Aligned<T> {
    /// Zeros. The system brings the pages when they are first written, by whichever thread.
    pub(crate) fn zeros(len: usize) -> Self {
        let data = vec![T::default(); len + LINE_BYTES / size_of::<T>()];
        let offset = data.as_ptr().align_offset(LINE_BYTES);
        assert!(offset + len <= data.len(), "the spare line holds the offset");
        Self { data, offset, len }
    }
}

impl<T> std::ops::Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.offset..][..self.len]
    }
}

impl<T> std::ops::DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.offset..][..self.len]
    }
}
