//! The memory that parts of files are read into.

use std::ops::Range;

use super::Extent;

/// What offsets, lengths and addresses of direct reads are multiples of: no disk asks for more.
pub(super) const SECTOR: usize = 4096;

/// Memory for one reading. Each part lies in whole sectors of its own.
#[derive(Debug)]
pub struct ReadBuffer {
    /// Longer than `len` by a sector; never grown, so the offset stays true.
    memory: Vec<u8>,
    offset: usize,
    len: usize,
    /// Where in the aligned memory each part lies.
    parts: Vec<Range<usize>>,
    spans: Vec<Span>,
}

/// Whole sectors of a file that hold a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) file: usize,
    pub(super) offset: u64,
    /// Where they go in the aligned memory.
    pub(super) at: usize,
    pub(super) len: usize,
    /// Bytes that must come: the last sector of a file may be short.
    pub(super) needed: usize,
}

impl ReadBuffer {
    /// Room for `len` bytes, rounded up to sectors. The system brings the memory when it is first
    /// written.
    pub fn new(len: usize) -> ReadBuffer {
        let len = len.next_multiple_of(SECTOR);
        let memory = vec![0; len + SECTOR];
        let offset = memory.as_ptr().align_offset(SECTOR);
        assert!(offset <= SECTOR, "bytes can be aligned");
        ReadBuffer { memory, offset, len, parts: Vec::new(), spans: Vec::new() }
    }

    /// Bytes of memory that a buffer for `extents` takes.
    pub fn room_for(extents: &[Extent]) -> usize {
        let sectors = |extent: &Extent| {
            let end = (extent.offset + extent.len as u64).next_multiple_of(SECTOR as u64);
            (end - sector(extent.offset)) as usize
        };
        extents.iter().map(sectors).sum()
    }

    /// The bytes of the extent `index` of those that were read.
    pub fn part(&self, index: usize) -> &[u8] {
        &self.memory[self.offset..][self.parts[index].clone()]
    }

    /// Makes room for `extents`, one after another.
    pub(super) fn lay_out(&mut self, extents: &[Extent]) {
        let room = ReadBuffer::room_for(extents);
        assert!(room <= self.len, "{room} bytes read into room for {}", self.len);
        self.parts.clear();
        self.spans.clear();
        let mut at = 0;
        for extent in extents {
            let offset = sector(extent.offset);
            let before = (extent.offset - offset) as usize;
            let needed = before + extent.len;
            let len = needed.next_multiple_of(SECTOR);
            self.parts.push(at + before..at + needed);
            self.spans.push(Span { file: extent.file, offset, at, len, needed });
            at += len;
        }
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The aligned memory. (len)
    pub(super) fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.offset..][..self.len]
    }

    /// The sectors of a span, for whoever reads them, and what to read.
    pub(super) fn span_mut(&mut self, index: usize) -> (Span, &mut [u8]) {
        let span = self.spans[index];
        (span, &mut self.memory[self.offset + span.at..][..span.len])
    }
}

fn sector(offset: u64) -> u64 {
    offset / SECTOR as u64 * SECTOR as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_in_sectors_of_their_own() {
        let extents = [
            Extent { file: 0, offset: 4000, len: 200 },
            Extent { file: 1, offset: 8192, len: 4096 },
            Extent { file: 0, offset: 5, len: 1 },
        ];
        assert_eq!(ReadBuffer::room_for(&extents), 4 * SECTOR);
        let mut buffer = ReadBuffer::new(4 * SECTOR);
        assert_eq!(buffer.memory_mut().as_ptr().align_offset(SECTOR), 0);
        buffer.lay_out(&extents);
        let ats: Vec<_> = buffer.spans.iter().map(|s| (s.offset, s.at, s.len, s.needed)).collect();
        assert_eq!(ats, [(0, 0, 8192, 4200), (8192, 8192, 4096, 4096), (0, 12288, 4096, 6)]);
        assert_eq!(buffer.parts, [4000..4200, 8192..12288, 12293..12294]);
    }

    #[test]
    #[should_panic(expected = "8192 bytes read into room for 4096")]
    fn a_buffer_is_never_too_small() {
        ReadBuffer::new(4096).lay_out(&[Extent { file: 0, offset: 4095, len: 2 }]);
    }
}
