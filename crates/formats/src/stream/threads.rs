//! Positioned reads by a few threads: works wherever files do.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::{Outcome, Reading, Source};

/// More than a disk needs to be busy.
const THREADS_MAX: usize = 8;
/// These threads call `pread` and little else.
const STACK_BYTES: usize = 128 << 10;

pub(super) struct Threads {
    /// None once it closes.
    jobs: Option<Sender<Reading>>,
    done: Receiver<(Reading, Outcome)>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new(files: &Arc<[Source]>, depth: usize) -> Threads {
        let (jobs, queue) = mpsc::channel::<Reading>();
        let (finished, done) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..depth.clamp(1, THREADS_MAX))
            .map(|index| {
                let (files, queue) = (Arc::clone(files), Arc::clone(&queue));
                let finished = finished.clone();
                thread::Builder::new()
                    .name(format!("ruminate-read-{index}"))
                    .stack_size(STACK_BYTES)
                    .spawn(move || serve(&files, &queue, &finished))
                    .expect("the system starts a thread")
            })
            .collect();
        Threads { jobs: Some(jobs), done, threads }
    }

    pub(super) fn submit(&mut self, reading: Reading) {
        let jobs = self.jobs.as_ref().expect("only `drop` closes the queue");
        jobs.send(reading).expect("the threads live as long as the queue");
    }

    pub(super) fn next(&mut self, wait: bool) -> Option<(Reading, Outcome)> {
        if wait { self.done.recv().ok() } else { self.done.try_recv().ok() }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to give.
            let _ = thread.join();
        }
    }
}

fn serve(
    files: &[Source],
    queue: &Mutex<Receiver<Reading>>,
    finished: &Sender<(Reading, Outcome)>,
) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut reading) = job else { return };
        let outcome = read(files, &mut reading);
        if finished.send((reading, outcome)).is_err() {
            return;
        }
    }
}

fn read(files: &[Source], reading: &mut Reading) -> Outcome {
    for index in 0..reading.buffer.spans().len() {
        let (span, memory) = reading.buffer.span_mut(index);
        let source = &files[span.file];
        let mut done = 0;
        while done < span.needed {
            match source.file.read_at(&mut memory[done..], span.offset + done as u64) {
                Ok(0) => return Err((span.file, io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((span.file, error)),
            }
        }
        source.forget(&span);
    }
    Ok(())
}
