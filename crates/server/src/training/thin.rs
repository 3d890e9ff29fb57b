//! Numbers of a run's steps in a bounded room, however many steps there are.
//!
//! Once the room is full, neighbouring rows become one, and from then on a row stands for twice as
//! many steps.

/// What becomes of two numbers that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    Mean,
    /// Of a largest number the larger one is still true.
    Max,
}

impl Merge {
    fn of(self, a: f32, b: f32) -> f32 {
        match (a.is_nan(), b.is_nan(), self) {
            (true, _, _) => b,
            (_, true, _) => a,
            (_, _, Merge::Mean) => a + (b - a) / 2.0,
            (_, _, Merge::Max) => a.max(b),
        }
    }
}

/// Some steps in a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The last of them.
    pub(super) step: u64,
    /// NaN where there is none; what is missing at the end is none too.
    pub(super) numbers: Vec<f32>,
}

/// A table of rows.
#[derive(Debug)]
pub(super) struct Thin {
    rows_max: usize,
    merges: Vec<Merge>,
    rows: Vec<Row>,
    /// Steps that a row stands for.
    stride: usize,
    /// Rows that are not yet merged to one of the stride, each with the steps it stands for.
    open: Vec<(usize, Row)>,
    /// Grows whenever rows that were told are no longer so.
    epoch: u64,
}

impl Thin {
    /// A table of at most `rows_max` rows, an even number.
    pub(super) fn new(rows_max: usize) -> Thin {
        assert!(rows_max >= 2 && rows_max.is_multiple_of(2));
        let rows = Vec::new();
        Thin { rows_max, merges: Vec::new(), rows, stride: 1, open: Vec::new(), epoch: 0 }
    }

    /// Adds a column.
    pub(super) fn column(&mut self, merge: Merge) {
        self.merges.push(merge);
    }

    pub(super) fn push(&mut self, row: Row) {
        if self.rows.len() == self.rows_max {
            self.halve();
        }
        let mut size = 1;
        let mut row = row;
        while let Some((_, before)) = self.open.pop_if(|(n, _)| *n == size) {
            row = merge(&self.merges, before, &row);
            size *= 2;
        }
        match size == self.stride {
            true => self.rows.push(row),
            false => self.open.push((size, row)),
        }
    }

    /// Every two rows become one.
    fn halve(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        let mut rows = rows.into_iter();
        while let (Some(a), Some(b)) = (rows.next(), rows.next()) {
            self.rows.push(merge(&self.merges, a, &b));
        }
        self.stride *= 2;
        self.epoch += 1;
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.open.clear();
        self.stride = 1;
        self.epoch += 1;
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The rows that somebody lacks who has the first `have` of an epoch, and which is the first.
    pub(super) fn since(&self, epoch: u64, have: usize) -> (usize, &[Row]) {
        let from = if epoch == self.epoch { have.min(self.rows.len()) } else { 0 };
        (from, &self.rows[from..])
    }

    /// What comes after the last row, if anything; its means are rough.
    pub(super) fn rest(&self) -> Option<Row> {
        let rows = self.open.iter().map(|(_, row)| row.clone());
        rows.reduce(|a, b| merge(&self.merges, a, &b))
    }
}

fn merge(merges: &[Merge], mut a: Row, b: &Row) -> Row {
    a.numbers.resize(a.numbers.len().max(b.numbers.len()), f32::NAN);
    for (i, number) in a.numbers.iter_mut().enumerate() {
        let other = b.numbers.get(i).copied().unwrap_or(f32::NAN);
        *number = merges.get(i).copied().unwrap_or(Merge::Mean).of(*number, other);
    }
    Row { step: b.step, ..a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(n: u64) -> Thin {
        let mut thin = Thin::new(4);
        thin.column(Merge::Mean);
        thin.column(Merge::Max);
        for step in 1..=n {
            thin.push(Row { step, numbers: vec![step as f32, (step % 3) as f32] });
        }
        thin
    }

    fn steps(thin: &Thin) -> Vec<u64> {
        thin.rows.iter().map(|row| row.step).collect()
    }

    #[test]
    fn rows_are_means_and_largest_numbers_of_as_many_steps_as_needed() {
        let thin = filled(4);
        assert_eq!((steps(&thin), thin.stride(), thin.epoch()), (vec![1, 2, 3, 4], 1, 0));
        let thin = filled(7);
        assert_eq!((steps(&thin), thin.stride(), thin.epoch()), (vec![2, 4, 6], 2, 1));
        assert_eq!(thin.rows[1].numbers, [3.5, 1.0]);
        assert_eq!(thin.rest(), Some(Row { step: 7, numbers: vec![7.0, 1.0] }));
        let thin = filled(31);
        assert_eq!((steps(&thin), thin.stride()), (vec![8, 16, 24], 8));
        assert_eq!(thin.rows[2].numbers, [20.5, 2.0]);
        let rest = thin.rest().unwrap();
        assert_eq!((rest.step, rest.numbers[1]), (31, 2.0));
        assert!(thin.open.len() <= 3);
    }

    #[test]
    fn only_what_is_new_is_told_until_rows_are_others() {
        let mut thin = filled(3);
        assert_eq!(thin.since(0, 0).1.len(), 3);
        assert_eq!(thin.since(0, 2), (2, &thin.rows[2..]));
        assert_eq!(thin.since(0, 99), (3, &[][..]));
        (4..=6).for_each(|step| thin.push(Row { step, numbers: Vec::new() }));
        assert_eq!(thin.since(0, 3).0, 0, "rows were merged since");
        let epoch = thin.epoch();
        thin.clear();
        assert!(thin.epoch() > epoch && thin.since(epoch, 1) == (0, &[][..]));
    }

    #[test]
    fn a_number_that_is_missing_takes_nothing_from_the_other() {
        let mut thin = Thin::new(2);
        thin.column(Merge::Mean);
        let row = |step, numbers: &[f32]| Row { step, numbers: numbers.to_vec() };
        for (step, numbers) in [(1, &[][..]), (2, &[2.0]), (3, &[f32::NAN, 5.0])] {
            thin.push(row(step, numbers));
        }
        assert_eq!(thin.rows, [row(2, &[2.0])]);
        thin.push(row(4, &[4.0]));
        assert_eq!(thin.rows[1], row(4, &[4.0, 5.0]));
    }
}
