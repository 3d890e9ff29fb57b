//! Who is taken: a queue that is bounded by requests, tokens and bytes, and when to come back.
//!
//! Whoever is turned away is told when there will be room, by how fast tokens were done lately. The
//! next one is told a later time: all that were turned away stand in line without holding anything,
//! and a burst comes back one after the other.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::limits::Limits;

/// How soon and how late anybody is asked to come back.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long the rate looks back: a mean that forgets.
const RATE_HORIZON_S: f64 = 10.0;
/// Tokens a second before anything was measured.
const RATE_FIRST: f64 = 1000.0;

/// The door.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    requests: usize,
    tokens: usize,
    bytes: usize,
    /// Tokens a second that were done while there was work.
    rate: f64,
    done_at: Instant,
    /// When all who were turned away will have had their turn.
    line_until: Instant,
}

/// A place inside. Dropping it makes room.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Admission>,
    tokens: usize,
    /// Of them, those that are done already.
    done: usize,
}

/// Room for the bytes of a body. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Bytes {
    door: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Admission> {
        let now = Instant::now();
        let inside = Inside {
            requests: 0,
            tokens: 0,
            bytes: 0,
            rate: RATE_FIRST,
            done_at: now,
            line_until: now,
        };
        Arc::new(Admission { limits, inside: Mutex::new(inside) })
    }

    /// Takes a request of so many tokens at most.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if there is no room.
    pub(crate) fn enter(self: &Arc<Self>, tokens: usize) -> Result<Place, Error> {
        let mut inside = self.lock();
        let full = inside.requests >= self.limits.queue_requests_max
            || (inside.requests > 0
                && inside.tokens.saturating_add(tokens) > self.limits.queue_tokens_max);
        if full {
            return Err(Error::Overloaded {
                retry_after: inside.turn_away(tokens, Instant::now()),
            });
        }
        if inside.requests == 0 {
            // Time in which nobody asked says nothing of how fast answers are made.
            inside.done_at = Instant::now();
        }
        inside.requests += 1;
        inside.tokens += tokens;
        Ok(Place { door: self.clone(), tokens, done: 0 })
    }

    /// Makes room for a body.
    ///
    /// # Errors
    /// [`Error::Overloaded`] if bodies fill it.
    pub(crate) fn make_room(self: &Arc<Self>, bytes: usize) -> Result<Bytes, Error> {
        let mut inside = self.lock();
        if inside.bytes.saturating_add(bytes) > self.limits.queue_bytes_max {
            return Err(Error::Overloaded { retry_after: inside.turn_away(0, Instant::now()) });
        }
        inside.bytes += bytes;
        Ok(Bytes { door: self.clone(), bytes })
    }

    /// When to come back if somebody else says that there is no room.
    pub(crate) fn retry_after(&self) -> Duration {
        self.lock().turn_away(0, Instant::now())
    }

    /// Requests that are taken and not over.
    pub(crate) fn requests(&self) -> usize {
        self.lock().requests
    }

    /// Tokens a second that were done lately.
    pub(crate) fn rate(&self) -> f64 {
        self.lock().rate
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        // Numbers that a panic left are numbers still.
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inside {
    /// When one more request of so many tokens will find room: after those who stand in line.
    fn turn_away(&mut self, tokens: usize, now: Instant) -> Duration {
        let turn_s = (tokens.max(1) as f64 / self.rate.max(1.0)).min(RETRY_MAX.as_secs_f64());
        let first = self.line_until.max(now + RETRY_MIN);
        self.line_until = (first + Duration::from_secs_f64(turn_s)).min(now + RETRY_MAX);
        self.line_until.saturating_duration_since(now).clamp(RETRY_MIN, RETRY_MAX)
    }

    /// Takes in that so many tokens were done.
    fn done(&mut self, tokens: usize, now: Instant) {
        let seconds = now.saturating_duration_since(self.done_at).as_secs_f64();
        self.done_at = now;
        // Weighted by how long ago: many small reports are as good as a large one.
        let keep = (-seconds / RATE_HORIZON_S).exp();
        self.rate = keep * self.rate + tokens as f64 / RATE_HORIZON_S;
    }
}

impl Place {
    /// Takes in that so many more of its tokens are done.
    pub(crate) fn done(&mut self, tokens: usize) {
        self.done += tokens;
        self.door.lock().done(tokens, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.door.lock();
        inside.requests -= 1;
        inside.tokens -= self.tokens;
    }
}

impl Bytes {
    /// Makes room for more of the same body.
    ///
    /// # Errors
    /// As [`Admission::make_room`].
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        let mut more = self.door.make_room(bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.door.lock().bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> Arc<Admission> {
        let limits = Limits::of_context(100, 1);
        Admission::new(Limits {
            queue_requests_max: 3,
            queue_tokens_max: 100,
            queue_bytes_max: 50,
            ..limits
        })
    }

    #[test]
    fn requests_tokens_and_bytes_are_each_bounded() {
        let door = door();
        let places: Vec<Place> = (0..3).map(|_| door.enter(10).unwrap()).collect();
        assert!(matches!(door.enter(1), Err(Error::Overloaded { .. })));
        drop(places);
        let big = door.enter(95).unwrap();
        assert!(door.enter(6).is_err());
        drop((big, door.enter(5)));
        // One that is larger than all room may still come alone.
        let alone = door.enter(1000).unwrap();
        assert!(door.enter(1).is_err());
        drop(alone);
        let mut body = door.make_room(30).unwrap();
        assert!(door.make_room(21).is_err());
        assert!(body.grow(21).is_err());
        body.grow(20).unwrap();
        assert!(door.make_room(1).is_err());
        drop(body);
        assert!(door.make_room(50).is_ok());
        let inside = door.lock();
        assert_eq!((inside.requests, inside.tokens, inside.bytes), (0, 0, 0));
    }

    #[test]
    fn who_is_turned_away_comes_back_one_after_the_other() {
        let door = door();
        let _place = door.enter(100).unwrap();
        door.lock().rate = 100.0;
        let waits: Vec<Duration> = (0..5)
            .map(|_| match door.enter(50) {
                Err(Error::Overloaded { retry_after }) => retry_after,
                _ => panic!("there is no room"),
            })
            .collect();
        // Each has 50 tokens at 100 a second before it.
        for pair in waits.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart > Duration::from_millis(400) && apart < Duration::from_millis(600));
        }
        let many = (0..1000).map(|_| door.retry_after()).max().unwrap();
        assert!(many <= RETRY_MAX);
    }

    #[test]
    fn the_rate_follows_what_is_done() {
        let now = Instant::now();
        let mut inside = door().inside.lock().unwrap().rate;
        let door = door();
        for i in 1..=1000 {
            let mut state = door.lock();
            state.done(20, now + Duration::from_millis(100 * i));
            inside = state.rate;
        }
        // 20 tokens each 0.1 s.
        assert!((inside - 200.0).abs() < 10.0, "{inside}");
    }
}
