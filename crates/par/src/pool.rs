//! A fixed pool of pinned threads that run the tasks of one job at a time.
//!
//! Between jobs a thread spins for a moment and then sleeps: a decode step is a few hundred short
//! jobs in a row, and waking a thread costs more than many of them.

#![expect(unsafe_code, reason = "lends a job on the caller's stack to the pool's threads")]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};

use crate::{Chunks, Parts, Strip, Strips};

/// How often a waiting thread looks again before it sleeps: some 100 µs.
const SPINS_BEFORE_SLEEP: usize = 4_000;
/// How often the caller looks again before it lets others run.
const SPINS_BEFORE_YIELD: usize = 2_000;

type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// What the caller and the threads share.
struct Shared {
    /// Changes when a job is published; odd or even has no meaning.
    epoch: AtomicUsize,
    /// The job of this epoch, written before `epoch` changes and read after.
    job: UnsafeCell<Option<&'static Job<'static>>>,
    n_tasks: AtomicUsize,
    next_task: AtomicUsize,
    /// Threads that have not finished this epoch.
    busy: AtomicUsize,
    panicked: AtomicBool,
    closing: AtomicBool,
}

// SAFETY: `job` is written only by the caller that holds `Pool::turn` while `busy` is 0, and read
// only by threads that saw the new epoch and count in `busy`; the other fields are atomics.
unsafe impl Sync for Shared {}

impl Shared {
    fn claim(&self) -> Option<usize> {
        let task = self.next_task.fetch_add(1, Ordering::Relaxed);
        (task < self.n_tasks.load(Ordering::Relaxed)).then_some(task)
    }

    /// Runs tasks until none is left; a panic is kept for the caller.
    fn work(&self, job: &Job<'_>) -> Result<(), Box<dyn std::any::Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| {
            while let Some(task) = self.claim() {
                job(task);
            }
        }))
    }
}

struct Member {
    thread: Thread,
    asleep: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
}

/// A fixed number of threads, the caller's among them.
pub struct Pool {
    shared: Arc<Shared>,
    members: Vec<Member>,
    /// Held while a job runs. A job started from within a job finds it taken and runs alone.
    turn: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads (at least one: the caller's own), pinned where the system lets
    /// them be.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            n_tasks: AtomicUsize::new(0),
            next_task: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        });
        let cpus = allowed_cpus();
        let members = (1..threads.max(1))
            .map(|index| {
                let asleep = Arc::new(AtomicBool::new(false));
                // More threads than processors are left to the system to place.
                let cpu = (threads <= cpus.len()).then(|| cpus[index]);
                let (shared, flag) = (Arc::clone(&shared), Arc::clone(&asleep));
                let handle = thread::Builder::new()
                    .name(format!("ruminate-{index}"))
                    .spawn(move || serve(&shared, &flag, cpu))
                    .expect("the system starts a thread");
                Member { thread: handle.thread().clone(), asleep, handle: Some(handle) }
            })
            .collect();
        Pool { shared, members, turn: Mutex::new(()) }
    }

    /// As many threads as there are processors that this process may use.
    pub fn threads_available() -> usize {
        allowed_cpus().len().max(1)
    }

    pub fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Runs `task(0)` … `task(n_tasks − 1)`, each once, on any thread in any order.
    ///
    /// # Panics
    ///
    /// If a task panics, after all threads have stopped.
    pub fn run(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        let turn =
            if self.members.is_empty() || n_tasks <= 1 { None } else { self.turn.try_lock().ok() };
        if turn.is_none() {
            return (0..n_tasks).for_each(task);
        }
        let mine = self.publish_and_work(n_tasks, &task);
        drop(turn);
        if let Err(panic) = mine {
            resume_unwind(panic);
        }
        assert!(!self.shared.panicked.swap(false, Ordering::Relaxed), "a task panicked");
    }

    fn publish_and_work(
        &self,
        n_tasks: usize,
        task: &Job<'_>,
    ) -> Result<(), Box<dyn std::any::Any + Send>> {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. This function does not return, nor unwind, before
        // `busy` is 0 again, and after that no thread holds the reference.
        let job = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(task) };
        let slot = shared.job.get();
        // SAFETY: the caller holds `turn` and `busy` is 0: no thread reads the slot now.
        unsafe { *slot = Some(job) };
        shared.n_tasks.store(n_tasks, Ordering::Relaxed);
        shared.next_task.store(0, Ordering::Relaxed);
        shared.busy.store(self.members.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for member in &self.members {
            if member.asleep.load(Ordering::SeqCst) {
                member.thread.unpark();
            }
        }
        let mine = shared.work(task);
        let mut spins = 0;
        while shared.busy.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < SPINS_BEFORE_YIELD {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        mine
    }

    /// Gives each part of `parts` to one task.
    pub fn for_parts<P: Parts>(&self, parts: P, task: impl Fn(usize, P::Part) + Sync) {
        self.run(parts.len(), |index| {
            // SAFETY: `run` calls each index below `len()` exactly once.
            let part = unsafe { parts.part(index) };
            task(index, part);
        });
    }

    /// Gives each run of `chunk` elements of `buffer` to one task.
    pub fn for_chunks<T: Send>(
        &self,
        buffer: &mut [T],
        chunk: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        self.for_parts(Chunks::new(buffer, chunk), task);
    }

    /// Gives each group of `strip` columns of `y` (rows, width) to one task.
    pub fn for_strips(
        &self,
        y: &mut [f32],
        width: usize,
        strip: usize,
        task: impl Fn(usize, Strip<'_>) + Sync,
    ) {
        self.for_parts(Strips::new(y, width, strip), task);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        for member in &mut self.members {
            member.thread.unpark();
            if let Some(handle) = member.handle.take() {
                // A task's panic was reported by `run`; the thread itself never panics.
                let _ = handle.join();
            }
        }
    }
}

/// The life of a member thread: wait for a new epoch, work, report.
fn serve(shared: &Shared, asleep: &AtomicBool, cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        pin(cpu);
    }
    let mut seen = 0;
    while let Some(epoch) = next_epoch(shared, asleep, seen) {
        seen = epoch;
        let slot = shared.job.get();
        // SAFETY: the job was written before the epoch that this thread has just seen, and is not
        // written again until this thread has left `busy`.
        let job = unsafe { *slot };
        if shared.work(job.expect("an epoch has a job")).is_err() {
            shared.panicked.store(true, Ordering::Relaxed);
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

/// Waits until the epoch is not `seen`; `None` when the pool closes.
fn next_epoch(shared: &Shared, asleep: &AtomicBool, seen: usize) -> Option<usize> {
    let changed = || {
        let epoch = shared.epoch.load(Ordering::SeqCst);
        (epoch != seen).then_some(epoch)
    };
    for _ in 0..SPINS_BEFORE_SLEEP {
        if let Some(epoch) = changed() {
            return Some(epoch);
        }
        std::hint::spin_loop();
    }
    asleep.store(true, Ordering::SeqCst);
    let epoch = loop {
        if let Some(epoch) = changed() {
            break Some(epoch);
        }
        if shared.closing.load(Ordering::SeqCst) {
            break None;
        }
        thread::park();
    };
    asleep.store(false, Ordering::SeqCst);
    epoch
}

/// The processors that this process may run on, ascending; empty where the system does not say.
fn allowed_cpus() -> Vec<usize> {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Keeps this thread on one processor. A refusal costs speed only, so it is not an error.
fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_exactly_once() {
        for threads in [1, 2, 3, 5] {
            let pool = Pool::new(threads);
            for n in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.run(n, |i| {
                    counts[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn chunks_and_strips_cover_a_buffer() {
        let pool = Pool::new(3);
        let mut y = vec![0.0; 5 * 37];
        pool.for_strips(&mut y, 37, 16, |_, mut strip| {
            for t in 0..strip.rows() {
                let from = strip.from();
                for (i, y) in strip.row_mut(t).iter_mut().enumerate() {
                    *y += (t * 37 + from + i) as f32;
                }
            }
        });
        assert!(y.iter().enumerate().all(|(i, &y)| y == i as f32));
        pool.for_chunks(&mut y, 10, |i, chunk| chunk.fill(i as f32));
        assert!(y.iter().enumerate().all(|(i, &y)| y == (i / 10) as f32));
    }

    #[test]
    fn tiles_cover_the_rows_of_their_runs_once() {
        let pool = Pool::new(2);
        let mut y = vec![0.0; 7 * 10];
        let run_ends = [2, 2, 6];
        pool.for_parts(crate::Tiles::new(&mut y, 10, 4, &run_ends), |i, mut tile| {
            for t in 0..tile.rows() {
                tile.row_mut(t).iter_mut().for_each(|y| *y += i as f32 + 1.0);
            }
        });
        for (i, &y) in y.iter().enumerate() {
            let (row, strip) = (i / 10, i % 10 / 4);
            let run = [0, 0, 2, 2, 2, 2].get(row);
            assert_eq!(y, run.map_or(0.0, |run| (run * 3 + strip) as f32 + 1.0), "{row} {strip}");
        }
    }

    #[test]
    fn a_job_within_a_job_runs_alone() {
        let pool = Pool::new(2);
        let total = AtomicUsize::new(0);
        pool.run(4, |_| {
            pool.run(4, |_| {
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 16);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(64, |i| assert_ne!(i, 33))));
        assert!(caught.is_err());
        let total = AtomicUsize::new(0);
        pool.run(64, |_| {
            total.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), 64);
    }

    #[test]
    fn sleeping_threads_wake_for_the_next_job() {
        let pool = Pool::new(2);
        let done = AtomicUsize::new(0);
        for _ in 0..3 {
            // Longer than the spin, so that the member sleeps; the job needs both threads.
            while !pool.members[0].asleep.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let started = AtomicUsize::new(0);
            pool.run(2, |_| {
                started.fetch_add(1, Ordering::SeqCst);
                while started.load(Ordering::SeqCst) < 2 {
                    std::hint::spin_loop();
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        assert_eq!(done.into_inner(), 6);
    }
}
