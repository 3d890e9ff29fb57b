//! Where in `samples.jsonl` the answers of each step are; their texts are read when asked for.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Steps whose places are kept: of a longer run every other one, and so on.
const STEPS_MAX: usize = 1 << 16;
/// Bytes of the lines of one step, and characters of one text, that are handed out.
pub(super) const BYTES_MAX: usize = 1 << 20;
const CHARS_MAX: usize = 20_000;
const SAMPLES_MAX: usize = 64;

/// The places of a step's lines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) step: u64,
    pub(super) bytes: Range<u64>,
}

/// The places of all steps.
#[derive(Debug)]
pub(super) struct Places {
    all: Vec<Place>,
    /// Of so many steps one is kept.
    stride: usize,
    /// Steps that came since one was kept.
    n_since: usize,
    /// The newest step, kept or not.
    newest: Option<Place>,
}

/// An answer as the page gets it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Text {
    prompt: String,
    text: String,
    reward: Option<f64>,
    why: String,
    tokens: Option<u64>,
    difficulty: Option<i64>,
}

/// A line's step.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

impl Places {
    pub(super) fn new() -> Places {
        Places { all: Vec::new(), stride: 1, n_since: 0, newest: None }
    }

    /// Takes note of a line; one that is none is left out.
    pub(super) fn add(&mut self, bytes: Range<u64>, line: &[u8]) {
        let Ok(Line { step }) = serde_json::from_slice(line) else { return };
        match &mut self.newest {
            Some(newest) if newest.step == step => newest.bytes.end = bytes.end,
            newest => {
                let before = newest.replace(Place { step, bytes });
                before.into_iter().for_each(|before| self.keep(before));
            }
        }
    }

    fn keep(&mut self, place: Place) {
        self.n_since += 1;
        if self.n_since < self.stride {
            return;
        }
        self.n_since = 0;
        self.all.push(place);
        if self.all.len() == STEPS_MAX {
            let mut i = 0;
            self.all.retain(|_| {
                i += 1;
                i % 2 == 0
            });
            self.stride *= 2;
        }
    }

    /// Steps with answers.
    pub(super) fn len(&self) -> usize {
        self.all.len() + usize::from(self.newest.is_some())
    }

    /// The one at this place, the last one if there are fewer.
    pub(super) fn get(&self, at: usize) -> Option<&Place> {
        self.all.get(at).or(self.newest.as_ref())
    }

    /// The place of the last one at or before a step.
    pub(super) fn find(&self, step: u64) -> usize {
        let n = self.all.partition_point(|place| place.step <= step);
        let newest = self.newest.as_ref().is_some_and(|newest| newest.step <= step);
        (n + usize::from(newest)).saturating_sub(1)
    }
}

/// The answers in these lines, the last of which may be cut.
pub(super) fn texts(lines: &[u8]) -> Vec<Text> {
    let lines = lines.split(|byte| *byte == b'\n');
    let texts = lines.filter_map(|line| serde_json::from_slice::<Text>(line).ok());
    let cut = |text: &mut String| {
        if let Some((at, _)) = text.char_indices().nth(CHARS_MAX) {
            text.truncate(at);
            text.push('…');
        }
    };
    let texts = texts.take(SAMPLES_MAX).map(|mut text| {
        [&mut text.prompt, &mut text.text, &mut text.why].into_iter().for_each(cut);
        text
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_step_are_together_and_found_by_it() {
        let mut places = Places::new();
        assert_eq!((places.len(), places.get(0)), (0, None));
        for (from, step) in [(0, 1), (10, 1), (20, 2), (30, 5)] {
            places.add(from..from + 10, format!("{{\"step\": {step}}}").as_bytes());
        }
        places.add(40..50, b"no line");
        let place = |step, bytes| Place { step, bytes };
        assert_eq!(places.len(), 3);
        assert_eq!(places.get(0), Some(&place(1, 0..20)));
        assert_eq!(places.get(9), Some(&place(5, 30..40)));
        let found = [0, 1, 2, 4, 5, 9].map(|step| places.find(step));
        assert_eq!(found, [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_places_of_a_run_of_any_length_take_a_bounded_room() {
        let mut places = Places::new();
        for step in 0..3 * STEPS_MAX as u64 {
            places.add(step..step + 1, format!("{{\"step\": {step}}}").as_bytes());
            assert!(places.len() <= STEPS_MAX);
        }
        assert!(places.len() > STEPS_MAX / 4);
        assert_eq!(places.get(STEPS_MAX).unwrap().step, 3 * STEPS_MAX as u64 - 1);
    }

    #[test]
    fn a_text_is_cut_where_it_is_too_long_and_broken_lines_are_left_out() {
        let long = "ä".repeat(CHARS_MAX + 5);
        let line = format!("{{\"text\": \"{long}\", \"reward\": 1}}\n{{\"text\": \"hal");
        let found = texts(line.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text.chars().count(), CHARS_MAX + 1);
        assert_eq!(found[0].reward, Some(1.0));
    }
}
