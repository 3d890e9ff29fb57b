//! Experts in a cache, and their way there from the files.
//!
//! ```text
//! begin   the router has chosen: what is missing is asked for, all at once
//! guess   what the next layer may choose is asked for too, where there are buffers left
//! gather  what has come is packed into slots: as many as can be computed together
//! ```
//!
//! The files are read while other experts are computed and packed. Memory is taken once, at load.

use std::time::{Duration, Instant};

use formats::{Finished, ReadBuffer, Stream};
use par::Pool;

use super::cache::{Cache, Key};
use super::sources::{LayerSource, Shape, Sources};
use super::{Expert, ExpertStatistics, Guess};
use crate::error::Error;

/// Guesses after which it is asked whether they pay.
const GUESSES_JUDGED: u64 = 128;
/// Guessing can save what steps wait for the disk: it's tried where that is this part of their time
/// or more. Below it a wrong guess only takes the disk and a buffer.
const WAITING_WORTH: u32 = 20;
/// Of the cache, the part that buffers for reading may take: one in so many.
const BUFFERS_SHARE: u64 = 8;
/// What is read at load to see how fast the disk is: so many experts, for so long.
const PROBE_READINGS: usize = 256;
const PROBE_TIME: Duration = Duration::from_millis(250);

/// The routed experts of a model that are not all in memory.
pub(crate) struct Store {
    sources: Sources,
    /// One a shape.
    shelves: Vec<Shelf>,
    stream: Stream,
    idle: Vec<ReadBuffer>,
    /// What the other buffers are for.
    staged: Vec<Staged>,
    next_ticket: u64,
    /// Experts of the layer under way that are to be read, and how many have been asked for.
    missing: Vec<u32>,
    n_asked: usize,
    guess: Guess,
    statistics: ExpertStatistics,
}

/// The slots of a shape.
struct Shelf {
    shape: Shape,
    experts: Vec<Expert>,
    cache: Cache,
}

/// An expert that is on its way, or in a buffer.
struct Staged {
    ticket: u64,
    layer: usize,
    expert: u32,
    is_guess: bool,
    /// Nobody wants it any more.
    is_stale: bool,
    /// None while it is read.
    buffer: Option<ReadBuffer>,
}

impl Store {
    /// A cache that takes at most `bytes`, empty.
    ///
    /// # Errors
    /// [`Error::ExpertMemory`] if that is too little; files that cannot be opened.
    pub(crate) fn open(sources: Sources, bytes: u64, guess: Guess) -> Result<Store, Error> {
        let least = sources.cache_bytes_min();
        if bytes < least {
            return Err(Error::ExpertMemory { bytes, least });
        }
        let n_chosen = sources.layers.iter().flatten().map(|layer| layer.n_chosen).max();
        let buffers_max = 2 * n_chosen.unwrap_or(1) as u64;
        let buffer_cost = sources.buffer_cost();
        let n_buffers = (bytes / BUFFERS_SHARE / buffer_cost).clamp(1, buffers_max);
        let shelves = shelves(&sources, bytes - n_buffers * buffer_cost);
        let buffer = |_| ReadBuffer::new(sources.buffer_bytes());
        let idle: Vec<_> = (0..n_buffers).map(buffer).collect();
        let stream = Stream::open(&sources.paths, n_buffers as usize)?;
        let cost = |shelf: &Shelf| shelf.experts.len() as u64 * shelf.shape.cost();
        let statistics = ExpertStatistics {
            slots: shelves.iter().map(|shelf| shelf.experts.len()).sum(),
            experts: sources.layers.iter().flatten().map(|layer| layer.n_experts).sum(),
            bytes: shelves.iter().map(cost).sum::<u64>() + n_buffers * buffer_cost,
            hits: 0,
            misses: 0,
            bytes_read: 0,
            guesses: 0,
            guesses_right: 0,
            is_guessing: guess != Guess::Never,
            time: Duration::ZERO,
            waiting: Duration::ZERO,
            disk_bandwidth: 0.0,
            method: stream.method(),
            is_direct: stream.is_direct(),
        };
        let missing = Vec::new();
        let mut store = Store {
            sources,
            shelves,
            stream,
            idle,
            staged: Vec::with_capacity(n_buffers as usize),
            next_ticket: 0,
            missing,
            n_asked: 0,
            guess,
            statistics,
        };
        store.statistics.disk_bandwidth = store.probe()?;
        Ok(store)
    }

    pub(crate) fn statistics(&self) -> ExpertStatistics {
        ExpertStatistics { is_guessing: self.guess != Guess::Never, ..self.statistics }
    }

    /// Notes that a step took so long.
    pub(crate) fn end_step(&mut self, time: Duration) {
        self.statistics.time += time;
        self.shelves.iter_mut().for_each(|shelf| shelf.cache.age());
    }

    /// Orders the experts `used` of a layer, those in the cache first, and asks for the others.
    /// How many are in the cache.
    pub(crate) fn begin(&mut self, layer: usize, used: &mut [u32]) -> usize {
        self.dismiss(layer, used);
        let source = self.sources.layers[layer].as_ref().expect("a sparse layer");
        let shelf = &mut self.shelves[source.shape];
        shelf.cache.unpin();
        for &expert in &*used {
            shelf.cache.touch(source.key(expert));
        }
        let is_missing = |expert: u32| shelf.cache.find(source.key(expert)).is_none();
        // Those that are on their way already come before those that are not.
        let staged = &self.staged;
        let is_staged = |expert: u32| staged.iter().any(|s| !s.is_stale && s.expert == expert);
        used.sort_unstable_by_key(|&e| (is_missing(e), !is_staged(e), e));
        let n_hits = used.partition_point(|&expert| !is_missing(expert));
        self.statistics.hits += n_hits as u64;
        self.statistics.misses += (used.len() - n_hits) as u64;
        self.missing.clear();
        self.missing.extend_from_slice(&used[n_hits..]);
        self.n_asked = 0;
        self.ask(layer);
        n_hits
    }

    /// Asks for experts that a layer may choose, most wanted first, in buffers that nobody needs.
    pub(crate) fn guess(&mut self, layer: usize, experts: &[u32]) {
        if self.n_asked < self.missing.len() || !self.is_guessing() {
            return;
        }
        for &expert in experts {
            let source = self.sources.layers[layer].as_ref().expect("a sparse layer");
            let is_cached = self.shelves[source.shape].cache.find(source.key(expert)).is_some();
            if is_cached || self.staging(layer, expert).is_some() {
                continue;
            }
            let Some(buffer) = self.idle.pop() else { return };
            self.submit(layer, expert, buffer, true);
        }
    }

    /// Whether [`Store::guess`] would do anything.
    pub(crate) fn is_guessing(&self) -> bool {
        let ExpertStatistics { waiting, time, .. } = self.statistics;
        let pays = match self.guess {
            Guess::Never => false,
            Guess::WhileRight => waiting * WAITING_WORTH > time,
            Guess::Always => true,
        };
        pays && !self.idle.is_empty()
    }

    /// Brings the first of `experts` of a layer, none of which is in the cache, into slots, and as
    /// many more as have come and as there is room for. How many.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn gather(
        &mut self,
        pool: &Pool,
        layer: usize,
        experts: &[u32],
    ) -> Result<usize, Error> {
        let shape = self.source(layer).shape;
        self.shelves[shape].cache.unpin();
        for (n, &expert) in experts.iter().enumerate() {
            let Some(buffer) = self.take(layer, expert, n == 0)? else { return Ok(n) };
            let key = self.source(layer).key(expert);
            let Shelf { shape, experts, cache } = &mut self.shelves[shape];
            let Some(slot) = cache.claim(key) else {
                self.put_back(layer, expert, buffer);
                return Ok(n);
            };
            experts[slot].repack(pool, &buffer, shape);
            self.idle.push(buffer);
            self.ask(layer);
        }
        Ok(experts.len())
    }

    /// An expert that is in the cache.
    pub(crate) fn expert(&self, layer: usize, expert: u32) -> &Expert {
        let source = self.source(layer);
        let shelf = &self.shelves[source.shape];
        let slot = shelf.cache.find(source.key(expert)).expect("`gather` brought the expert");
        &shelf.experts[slot]
    }

    fn source(&self, layer: usize) -> &LayerSource {
        self.sources.layers[layer].as_ref().expect("a sparse layer")
    }

    fn staging(&self, layer: usize, expert: u32) -> Option<usize> {
        let wanted = |s: &Staged| !s.is_stale && s.layer == layer && s.expert == expert;
        self.staged.iter().position(wanted)
    }

    /// Asks for what is missing, as far as there are buffers.
    fn ask(&mut self, layer: usize) {
        while let Some(&expert) = self.missing.get(self.n_asked) {
            if self.staging(layer, expert).is_none() {
                let Some(buffer) = self.idle.pop() else { return };
                self.submit(layer, expert, buffer, false);
            }
            self.n_asked += 1;
        }
    }

    fn submit(&mut self, layer: usize, expert: u32, buffer: ReadBuffer, is_guess: bool) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.staged.push(Staged { ticket, layer, expert, is_guess, is_stale: false, buffer: None });
        self.statistics.guesses += u64::from(is_guess);
        let source = self.sources.layers[layer].as_ref().expect("a sparse layer");
        let extents = source.extents(expert as usize);
        self.statistics.bytes_read += extents.iter().map(|e| e.len as u64).sum::<u64>();
        self.stream.submit(ticket, buffer, extents);
    }

    /// The buffer that holds an expert; waits for it if `wait`.
    fn take(&mut self, layer: usize, expert: u32, wait: bool) -> Result<Option<ReadBuffer>, Error> {
        loop {
            self.ask(layer);
            if let Some(at) = self.staging(layer, expert)
                && self.staged[at].buffer.is_some()
            {
                return Ok(self.staged.swap_remove(at).buffer);
            }
            let started = Instant::now();
            let finished = self.stream.next(wait);
            self.statistics.waiting += started.elapsed();
            match finished {
                Some(finished) => self.land(finished)?,
                None if wait => unreachable!("what is missing is on its way or has a buffer free"),
                None => return Ok(None),
            }
        }
    }

    /// Keeps a buffer for later: there is no slot for its expert now.
    fn put_back(&mut self, layer: usize, expert: u32, buffer: ReadBuffer) {
        let (ticket, buffer) = (self.next_ticket, Some(buffer));
        self.next_ticket += 1;
        let (is_guess, is_stale) = (false, false);
        self.staged.push(Staged { ticket, layer, expert, is_guess, is_stale, buffer });
    }

    /// Takes in what has been read.
    fn land(&mut self, finished: Finished) -> Result<(), Error> {
        let Finished { ticket, buffer, outcome } = finished;
        let at = self.staged.iter().position(|staged| staged.ticket == ticket);
        let at = at.expect("what is read is staged");
        let is_stale = self.staged[at].is_stale;
        if is_stale || outcome.is_err() {
            self.staged.swap_remove(at);
            self.idle.push(buffer);
            // What nobody wants may fail.
            return if is_stale { Ok(()) } else { Ok(outcome?) };
        }
        self.staged[at].buffer = Some(buffer);
        Ok(())
    }

    /// Lets go of what was read for others than the experts `used` of a layer, and judges guesses.
    fn dismiss(&mut self, layer: usize, used: &[u32]) {
        for staged in &mut self.staged {
            let is_wanted = staged.layer == layer && used.contains(&staged.expert);
            if is_wanted && !staged.is_stale && staged.is_guess {
                self.statistics.guesses_right += 1;
                staged.is_guess = false;
            }
            staged.is_stale |= !is_wanted;
        }
        let mut at = 0;
        while at < self.staged.len() {
            if self.staged[at].is_stale
                && let Some(buffer) = self.staged[at].buffer.take()
            {
                self.staged.swap_remove(at);
                self.idle.push(buffer);
            } else {
                at += 1;
            }
        }
        // A wrong guess costs the disk what a right one saves.
        let ExpertStatistics { guesses, guesses_right, .. } = self.statistics;
        let is_judged = self.guess == Guess::WhileRight && guesses >= GUESSES_JUDGED;
        if is_judged && 2 * guesses_right < guesses {
            self.guess = Guess::Never;
        }
    }

    /// Bytes a second that the disk gives where experts are read and nothing else is done.
    fn probe(&mut self) -> Result<f64, Error> {
        let all: Vec<(usize, usize)> = (0..self.sources.layers.len())
            .filter_map(|layer| Some((layer, self.sources.layers[layer].as_ref()?.n_experts)))
            .flat_map(|(layer, n)| (0..n).map(move |expert| (layer, expert)))
            .collect();
        // Spread over the files, as what routers choose is.
        let stride = all.len().div_ceil(PROBE_READINGS).max(1);
        let started = Instant::now();
        let mut bytes = 0;
        for &(layer, expert) in all.iter().step_by(stride) {
            let buffer = match self.idle.pop() {
                Some(buffer) => buffer,
                None => {
                    let finished = self.stream.next(true).expect("all buffers are being read into");
                    finished.outcome?;
                    finished.buffer
                }
            };
            if started.elapsed() > PROBE_TIME {
                self.idle.push(buffer);
                break;
            }
            let extents = self.source(layer).extents(expert);
            bytes += extents.iter().map(|extent| extent.len).sum::<usize>();
            let source = self.sources.layers[layer].as_ref().expect("a sparse layer");
            self.stream.submit(0, buffer, source.extents(expert));
        }
        while let Some(finished) = self.stream.next(true) {
            finished.outcome?;
            self.idle.push(finished.buffer);
        }
        Ok(bytes as f64 / started.elapsed().as_secs_f64())
    }
}

impl LayerSource {
    fn key(&self, expert: u32) -> Key {
        Key(self.place * self.n_experts + expert as usize)
    }
}

/// Slots for each shape, as many as `bytes` allow, by the memory that its experts take; at least
/// one, at most one for each expert.
fn shelves(sources: &Sources, bytes: u64) -> Vec<Shelf> {
    let n_layers = |shape| sources.of_shape(shape).count() as u64;
    let costs = sources.shapes.iter().map(Shape::cost);
    let least: u64 = costs.clone().sum();
    let all: u64 = costs.enumerate().map(|(shape, cost)| n_layers(shape) * cost).sum();
    let shelf = |(index, shape): (usize, &Shape)| {
        let n_experts = sources.of_shape(index).map(|layer| layer.n_experts).max().unwrap_or(0);
        let most = n_layers(index) * n_experts as u64;
        let more = (bytes - least) as u128 * n_layers(index) as u128 / all as u128;
        let n_slots = (1 + more as u64).min(most) as usize;
        let experts = (0..n_slots).map(|_| Expert::zeros(shape)).collect();
        let cache = Cache::new(n_slots, n_layers(index) as usize, n_experts);
        Shelf { shape: *shape, experts, cache }
    };
    sources.shapes.iter().enumerate().map(shelf).collect()
}
