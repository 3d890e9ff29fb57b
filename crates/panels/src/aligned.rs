//! Buffers for weights and caches: from a cache line on, and in huge pages where they are long.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `len` elements, the first of which lies at a multiple of 64 bytes: no vector straddles two
/// lines.
#[derive(Debug)]
pub struct Aligned<T> {
    memory: Memory<T>,
    len: usize,
}

#[derive(Debug)]
enum Memory<T> {
    /// Longer than `len` by a line; never grown, so the offset stays true.
    Heap { data: Vec<T>, offset: usize },
    /// Pages of the system's own, which it may make huge ones.
    Map(MmapMut),
}

const LINE_BYTES: usize = 64;
/// What a huge page of x86-64 and of most of ARM holds. What is read from one end to the other
/// misses the TLB at each page: with huge ones a read bandwidth of 16 to 17 GB/s became 26 to 27,
/// and 8 decoded tokens a second of a 8.8 GB model became 9 (two threads, virtual Xeon with AMX).
const HUGE_BYTES: usize = 2 << 20;

impl<T: Copy + Default> Aligned<T> {
    /// Zeros. The system brings the pages when they are first written, by whichever thread.
    pub fn zeros(len: usize) -> Self {
        let memory = match huge(len * size_of::<T>()) {
            Some(map) => Memory::Map(map),
            None => {
                let data = vec![T::default(); len + LINE_BYTES / size_of::<T>()];
                let offset = data.as_ptr().align_offset(LINE_BYTES);
                assert!(offset + len <= data.len(), "the spare line holds the offset");
                Memory::Heap { data, offset }
            }
        };
        Self { memory, len }
    }
}

/// Zeroed pages for so many bytes, huge ones if the system has them; none where they would not
/// pay, or where it refuses: the heap's refusal is the one that is told.
fn huge(bytes: usize) -> Option<MmapMut> {
    if bytes < HUGE_BYTES {
        return None;
    }
    let map = MmapMut::map_anon(bytes).ok()?;
    #[cfg(target_os = "linux")]
    {
        // Small pages hold the same.
        let _ = map.advise(memmap2::Advice::HugePage);
    }
    Some(map)
}

impl<T: FromBytes + Immutable> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Heap { data, offset } => &data[*offset..][..self.len],
            Memory::Map(map) => <[T]>::ref_from_bytes(map).expect("pages hold whole elements"),
        }
    }
}

impl<T: FromBytes + IntoBytes + Immutable> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Heap { data, offset } => &mut data[*offset..][..self.len],
            Memory::Map(map) => <[T]>::mut_from_bytes(map).expect("pages hold whole elements"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_buffers_are_zeros_that_can_be_written() {
        for len in [0, 1, 1000, HUGE_BYTES / 2, HUGE_BYTES / 2 + 7] {
            let mut buffer = Aligned::<u16>::zeros(len);
            assert_eq!((buffer.len(), buffer.as_ptr().align_offset(LINE_BYTES)), (len, 0));
            assert!(buffer.iter().all(|&x| x == 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|&x| x == 7));
        }
    }
}
