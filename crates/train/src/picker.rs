//! Which row comes next: in a shuffled order, or by what is neither too easy nor too hard.
//!
//! Everything follows from the seed and from counters, which checkpoints keep.

use std::collections::BTreeMap;

use engine::sampler::philox;
use serde::{Deserialize, Serialize};

use crate::config::CurriculumSection;

/// How far through the rows we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Times through all rows.
    pub epoch: u64,
    /// Rows of this time that were taken.
    pub taken: usize,
}

/// What is known of one difficulty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    pub cursor: Cursor,
    /// Answers that were looked at.
    pub n_tried: u64,
    /// The share of right ones, the newest counting most.
    pub right: f64,
}

/// What a checkpoint keeps of a picker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub cursor: Cursor,
    pub n_picked: u64,
    pub levels: BTreeMap<i64, Level>,
    /// Difficulties that come, from the easiest.
    pub n_unlocked: usize,
}

/// Chooses rows.
#[derive(Clone, Debug)]
pub struct Picker {
    seed: u64,
    shuffle: bool,
    n_rows: usize,
    /// Rows of each difficulty; empty without a curriculum.
    by_level: BTreeMap<i64, Vec<usize>>,
    settings: CurriculumSection,
    pub state: State,
}

/// Answers before a difficulty is judged, and the weight of each group in its mean.
const TRIED_MIN: u64 = 32;
const NEWEST: f64 = 0.1;

/// What is drawn for.
const SHUFFLE: u32 = 0x5348_5546;
const LEVEL: u32 = 0x4c45_5645;

impl Picker {
    /// Rows in the order of their files, or a new one each time through.
    pub fn new(n_rows: usize, shuffle: bool, seed: u64) -> Picker {
        assert!(n_rows > 0, "nothing to pick from");
        let settings = CurriculumSection { enabled: false, ..CurriculumSection::default() };
        let (by_level, state) = (BTreeMap::new(), State::default());
        Picker { seed, shuffle, n_rows, by_level, settings, state }
    }

    /// Rows of the difficulties that can teach; rows without one come with the easiest.
    pub fn by_difficulty(
        difficulties: &[Option<i64>],
        settings: &CurriculumSection,
        seed: u64,
    ) -> Picker {
        let easiest = difficulties.iter().flatten().min().copied().unwrap_or(0);
        let mut by_level: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (row, difficulty) in difficulties.iter().enumerate() {
            by_level.entry(difficulty.unwrap_or(easiest)).or_default().push(row);
        }
        let levels = by_level.keys().map(|level| (*level, Level::default())).collect();
        let state = State { levels, n_unlocked: 1, ..State::default() };
        let settings = settings.clone();
        Picker { by_level, settings, state, ..Picker::new(difficulties.len(), true, seed) }
    }

    /// The next row, and how often it came before.
    pub fn pick(&mut self) -> (usize, u64) {
        self.state.n_picked += 1;
        if self.by_level.is_empty() {
            let cursor = &mut self.state.cursor;
            return next(cursor, self.n_rows, (self.seed, 0, self.shuffle));
        }
        let level = self.level();
        let rows = &self.by_level[&level];
        let cursor = &mut self.state.levels.entry(level).or_default().cursor;
        let (at, epoch) = next(cursor, rows.len(), (self.seed, level as u32, true));
        (rows[at], epoch)
    }

    /// Learns that of `n` answers to a row of this difficulty so many were right.
    pub fn learn(&mut self, difficulty: Option<i64>, n: usize, n_right: usize) {
        let easiest = self.by_level.keys().next().copied();
        let Some(level) = difficulty.or(easiest) else { return };
        let Some(known) = self.state.levels.get_mut(&level) else { return };
        let share = n_right as f64 / n.max(1) as f64;
        // A plain mean at first, then one that forgets.
        let groups = known.n_tried as f64 / n.max(1) as f64;
        let weight = (1.0 / (groups + 1.0)).max(NEWEST);
        known.right += weight * (share - known.right);
        known.n_tried += n as u64;
        let hardest = self.by_level.keys().nth(self.state.n_unlocked - 1);
        let is_mastered = known.n_tried >= TRIED_MIN
            && known.right >= f64::from(self.settings.unlock_at)
            && hardest == Some(&level);
        if is_mastered && self.state.n_unlocked < self.by_level.len() {
            self.state.n_unlocked += 1;
        }
    }

    /// A difficulty, the likelier the more of its answers are wrong.
    fn level(&self) -> i64 {
        let open = self.by_level.keys().take(self.state.n_unlocked);
        let weight = |level: &i64| {
            let right = self.state.levels.get(level).map_or(0.0, |level| level.right);
            (1.0 - right).max(f64::from(self.settings.least))
        };
        let weights: Vec<(i64, f64)> = open.map(|level| (*level, weight(level))).collect();
        let whole: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let n = self.state.n_picked;
        let counter = [n as u32, (n >> 32) as u32, LEVEL, 0];
        let mut left = f64::from(uniform_of(counter, self.seed)) * whole;
        for (level, weight) in &weights {
            left -= weight;
            if left < 0.0 {
                return *level;
            }
        }
        weights.last().expect("the easiest is open").0
    }
}

/// The seed of the answers to a row that came so often before.
pub fn answer_seed(seed: u64, row: usize, visit: u64) -> u64 {
    let counter = [row as u32, visit as u32, (visit >> 32) as u32, 0x414e_5357];
    let [low, high, ..] = philox(counter, key(seed));
    u64::from(high) << 32 | u64::from(low)
}

/// A whole number below `n` that belongs to a row and a visit.
pub fn draw_below(seed: u64, row: usize, visit: u64, n: usize) -> usize {
    let counter = [row as u32, visit as u32, (visit >> 32) as u32, 0x4452_4157];
    ((f64::from(uniform_of(counter, seed)) * n as f64) as usize).min(n.saturating_sub(1))
}

fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// In [0, 1).
fn uniform_of(counter: [u32; 4], seed: u64) -> f32 {
    (philox(counter, key(seed))[0] >> 8) as f32 / (1 << 24) as f32
}

/// Takes the next of `n`, in the order of (seed, salt) and the epoch if that is to be new.
fn next(cursor: &mut Cursor, n: usize, (seed, salt, shuffle): (u64, u32, bool)) -> (usize, u64) {
    if cursor.taken == n {
        *cursor = Cursor { epoch: cursor.epoch + 1, taken: 0 };
    }
    let Cursor { epoch, taken } = *cursor;
    cursor.taken += 1;
    if !shuffle {
        return (taken, epoch);
    }
    let key = [(seed as u32) ^ salt, (seed >> 32) as u32];
    (shuffled(taken, n, |round, x| philox([x, round, epoch as u32, SHUFFLE], key)[0]), epoch)
}

/// Where `at` goes in a permutation of `n`, without a list of it: a Feistel network on the next
/// power of four, walked until it lands below n.
fn shuffled(at: usize, n: usize, mix: impl Fn(u32, u32) -> u32) -> usize {
    const ROUNDS: u32 = 6;
    let bits = usize::BITS - n.saturating_sub(1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1_usize << half) - 1;
    let mut x = at;
    loop {
        let (mut left, mut right) = (x >> half, x & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mix(round, right as u32) as usize & mask));
        }
        x = left << half | right;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_comes_once_each_time_in_another_order() {
        for n in [1, 2, 7, 64, 100] {
            let mut picker = Picker::new(n, true, 7);
            let mut orders = Vec::new();
            for epoch in 0..3 {
                let order: Vec<usize> = (0..n)
                    .map(|_| {
                        let (row, visit) = picker.pick();
                        assert_eq!(visit, epoch);
                        row
                    })
                    .collect();
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..n).collect::<Vec<_>>());
                orders.push(order);
            }
            assert!(n < 7 || (orders[0] != orders[1] && orders[1] != orders[2]), "{n}");
        }
        let mut plain = Picker::new(3, false, 7);
        assert_eq!([0; 4].map(|_| plain.pick()), [(0, 0), (1, 0), (2, 0), (0, 1)]);
    }

    #[test]
    fn a_picker_goes_on_from_its_state() {
        let difficulties: Vec<Option<i64>> = (0..60).map(|i| Some(i % 3)).collect();
        let settings = CurriculumSection { enabled: true, ..CurriculumSection::default() };
        let mut picker = Picker::by_difficulty(&difficulties, &settings, 3);
        for i in 0..50 {
            let (row, _) = picker.pick();
            picker.learn(difficulties[row], 8, i % 9);
        }
        let text = serde_json::to_string(&picker.state).unwrap();
        let mut again = Picker::by_difficulty(&difficulties, &settings, 3);
        again.state = serde_json::from_str(&text).unwrap();
        for _ in 0..20 {
            assert_eq!(picker.pick(), again.pick());
        }
    }

    #[test]
    fn the_next_difficulty_comes_once_the_hardest_is_mastered() {
        let difficulties: Vec<Option<i64>> = (0..40).map(|i| Some(1 + i / 20)).collect();
        let settings = CurriculumSection { enabled: true, ..CurriculumSection::default() };
        let mut picker = Picker::by_difficulty(&difficulties, &settings, 3);
        let hard = |picker: &mut Picker| {
            (0..100).filter(|_| difficulties[picker.pick().0] == Some(2)).count()
        };
        assert_eq!(hard(&mut picker), 0);
        for _ in 0..4 {
            picker.learn(Some(1), 8, 3);
        }
        assert_eq!(hard(&mut picker), 0, "not mastered");
        for _ in 0..40 {
            picker.learn(Some(1), 8, 8);
        }
        // Weights 0.1 and 1.
        assert!((70..100).contains(&hard(&mut picker)), "what is wrong comes more often");
        assert_eq!(picker.state.n_unlocked, 2);
        for _ in 0..40 {
            picker.learn(Some(2), 8, 8);
        }
        assert!((30..70).contains(&hard(&mut picker)), "what is mastered comes on");
    }

    #[test]
    fn seeds_differ_by_row_and_by_visit() {
        let seeds = [answer_seed(1, 0, 0), answer_seed(1, 1, 0), answer_seed(1, 0, 1)];
        assert!(seeds[0] != seeds[1] && seeds[0] != seeds[2] && seeds[1] != seeds[2]);
        assert_ne!(answer_seed(2, 0, 0), seeds[0]);
        assert!((0..1000).all(|row| draw_below(1, row, 0, 7) < 7));
    }
}
