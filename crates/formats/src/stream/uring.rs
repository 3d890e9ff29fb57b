//! Reads by io_uring: the kernel fills the buffers, no thread of ours waits.

#![expect(unsafe_code, reason = "the kernel writes to buffers that it was given the address of")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, opcode, types};

use super::{Outcome, Reading, Source};

/// Parts of a reading: more than the three matrices of an expert and their scales.
const PARTS_MAX: usize = 64;

pub(super) struct Uring {
    ring: IoUring,
    files: Arc<[Source]>,
    /// Readings that the kernel may be writing to, by the number that its entries carry. A buffer
    /// is neither touched, moved in memory nor freed while it is here.
    flights: Vec<Option<Flight>>,
    landed: VecDeque<(Reading, Outcome)>,
}

struct Flight {
    reading: Reading,
    /// Bytes of each span that have come.
    came: Vec<usize>,
    /// Entries that the kernel has not answered.
    in_kernel: usize,
    outcome: Outcome,
}

impl Uring {
    /// # Errors
    /// If the system has no io_uring, or none for us.
    pub(super) fn new(files: Arc<[Source]>, depth: usize) -> io::Result<Uring> {
        // Three matrices with their scales are six entries; a full queue is emptied on the way.
        let entries = (6 * depth).clamp(8, 1024) as u32;
        let ring = IoUring::builder().dontfork().build(entries)?;
        let flights = Vec::with_capacity(depth);
        Ok(Uring { ring, files, flights, landed: VecDeque::with_capacity(depth) })
    }

    pub(super) fn submit(&mut self, reading: Reading) {
        let n_spans = reading.buffer.spans().len();
        assert!(n_spans <= PARTS_MAX, "{n_spans} parts of one reading");
        let flight = Flight { reading, came: vec![0; n_spans], in_kernel: 0, outcome: Ok(()) };
        let number = self.flights.iter().position(Option::is_none).unwrap_or(self.flights.len());
        if number == self.flights.len() {
            self.flights.push(None);
        }
        self.flights[number] = Some(flight);
        for span in 0..n_spans {
            self.push(number, span);
        }
        self.land_if_done(number);
        self.enter(0);
    }

    pub(super) fn next(&mut self, wait: bool) -> Option<(Reading, Outcome)> {
        loop {
            self.reap();
            let landed = self.landed.pop_front();
            if landed.is_some() || !wait || self.flights.iter().all(Option::is_none) {
                return landed;
            }
            self.enter(1);
        }
    }

    /// Asks the kernel for what has not come of a span.
    fn push(&mut self, number: usize, index: usize) {
        let flight = self.flights[number].as_mut().expect("a reading in flight");
        let came = flight.came[index];
        let (span, memory) = flight.reading.buffer.span_mut(index);
        let memory = &mut memory[came..];
        let fd = types::Fd(self.files[span.file].file.as_raw_fd());
        let len = u32::try_from(memory.len()).unwrap_or(1 << 30);
        let entry = opcode::Read::new(fd, memory.as_mut_ptr(), len)
            .offset(span.offset + came as u64)
            .build()
            .user_data((number * PARTS_MAX + index) as u64);
        flight.in_kernel += 1;
        loop {
            // SAFETY: the address and length are those of memory in the reading's own buffer,
            // which stays in `flights`, unmoved on the heap and untouched, until the kernel has
            // answered this entry; `drop` waits for all answers, or leaks what it has none for.
            // The file stays open in `files` as long.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.enter(0);
        }
    }

    /// Hands new entries to the kernel, and waits for `wanted` answers.
    fn enter(&self, wanted: usize) {
        while let Err(error) = self.ring.submit_and_wait(wanted) {
            match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                Some(rustix::io::Errno::INTR) => {}
                // The kernel is short of something that answers give back.
                Some(rustix::io::Errno::AGAIN | rustix::io::Errno::BUSY) => {
                    std::thread::yield_now();
                    if wanted > 0 {
                        return;
                    }
                }
                _ => panic!("io_uring worked until now: {error}"),
            }
        }
    }

    /// Takes the kernel's answers.
    fn reap(&mut self) {
        loop {
            let answer = self.ring.completion().next();
            let Some(answer) = answer else { return };
            let at = answer.user_data() as usize;
            let (number, index) = (at / PARTS_MAX, at % PARTS_MAX);
            let flight = self.flights[number].as_mut().expect("answers are to readings in flight");
            flight.in_kernel -= 1;
            let span = flight.reading.buffer.spans()[index];
            match answer.result() {
                n if n > 0 => flight.came[index] += n as usize,
                0 => flight.outcome = Err((span.file, io::ErrorKind::UnexpectedEof.into())),
                error => {
                    let error = io::Error::from_raw_os_error(-error);
                    let again = [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock];
                    if !again.contains(&error.kind()) {
                        flight.outcome = Err((span.file, error));
                    }
                }
            }
            if flight.outcome.is_ok() && flight.came[index] < span.needed {
                self.push(number, index);
                self.enter(0);
            }
            self.land_if_done(number);
        }
    }

    /// Gives a reading back once the kernel has answered for all of it.
    fn land_if_done(&mut self, number: usize) {
        if self.flights[number].as_ref().is_some_and(|flight| flight.in_kernel == 0) {
            let Flight { reading, outcome, .. } =
                self.flights[number].take().expect("it was there");
            for span in reading.buffer.spans() {
                self.files[span.file].forget(span);
            }
            self.landed.push_back((reading, outcome));
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        while self.flights.iter().any(Option::is_some) {
            let waited = self.ring.submit_and_wait(1);
            let again =
                [rustix::io::Errno::INTR, rustix::io::Errno::AGAIN, rustix::io::Errno::BUSY];
            let fatal = waited
                .err()
                .and_then(|error| error.raw_os_error())
                .is_some_and(|errno| !again.contains(&rustix::io::Errno::from_raw_os_error(errno)));
            if fatal {
                // The kernel may still write to these: their memory is never used again.
                std::mem::forget(std::mem::take(&mut self.flights));
                return;
            }
            // Spans that came short are asked for again here and waited for as well.
            self.reap();
        }
    }
}
