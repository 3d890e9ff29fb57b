//! What came of a load, as a line and as JSON.

use serde_json::{Value, json};

use super::client::Asked;

/// When a request is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) first_s: f64,
    pub(super) between_s: f64,
}

/// One load.
pub(super) struct Row {
    name: String,
    seconds: f64,
    n_answered: usize,
    n_failed: usize,
    /// Why, of one that failed.
    fault: Option<String>,
    input: u64,
    output: u64,
    n_good: usize,
    /// Seconds that half, 95 and 99 of a hundred take at most.
    first_s: [f64; 3],
    between_s: [f64; 3],
    share: Option<f64>,
}

impl Row {
    pub(super) const HEAD: &str = "load           answered  failed   in tok/s  out tok/s     \
                                   total  first p50/p95/p99 ms   between p50/p95/p99 ms  good/s  \
                                   of roof";

    pub(super) fn new(
        name: String,
        asked: &[Asked],
        seconds: f64,
        share: Option<f64>,
        bounds: Bounds,
    ) -> Row {
        let whole: Vec<&Asked> = asked.iter().filter(|asked| asked.fault.is_none()).collect();
        let is_good = |asked: &Asked| {
            let later = asked.output.saturating_sub(1).max(1) as f64;
            let between = (asked.whole_s - asked.first_s) / later;
            asked.first_s <= bounds.first_s && between <= bounds.between_s
        };
        Row {
            name,
            seconds,
            n_answered: whole.len(),
            n_failed: asked.len() - whole.len(),
            fault: asked.iter().find_map(|asked| asked.fault.clone()),
            input: whole.iter().map(|asked| asked.input).sum(),
            output: whole.iter().map(|asked| asked.output).sum(),
            n_good: whole.iter().filter(|asked| is_good(asked)).count(),
            first_s: percentiles(whole.iter().map(|asked| asked.first_s)),
            between_s: percentiles(
                whole.iter().flat_map(|asked| asked.gaps_s.iter().map(|&s| f64::from(s))),
            ),
            share,
        }
    }

    fn rate(&self, n: u64) -> f64 {
        n as f64 / self.seconds
    }

    pub(super) fn line(&self) -> String {
        let ms = |[a, b, c]: [f64; 3]| format!("{:.0}/{:.0}/{:.0}", a * 1e3, b * 1e3, c * 1e3);
        let share = self.share.map_or("-".into(), |share| format!("{:.0} %", 100.0 * share));
        let mut line = format!(
            "{:13} {:>9} {:>7} {:>10.1} {:>10.1} {:>9.1} {:>21} {:>24} {:>7.2} {share:>8}",
            self.name,
            self.n_answered,
            self.n_failed,
            self.rate(self.input),
            self.rate(self.output),
            self.rate(self.input + self.output),
            ms(self.first_s),
            ms(self.between_s),
            self.n_good as f64 / self.seconds,
        );
        if let Some(fault) = &self.fault {
            line += &format!("  ({fault})");
        }
        line
    }

    pub(super) fn json(&self) -> Value {
        let in_ms = |part: [f64; 3]| part.map(|seconds| seconds * 1e3);
        let ms = |part| {
            let [p50, p95, p99] = in_ms(part);
            json!({ "p50": p50, "p95": p95, "p99": p99 })
        };
        json!({
            "load": self.name,
            "seconds": self.seconds,
            "answered": self.n_answered,
            "failed": self.n_failed,
            "fault": self.fault,
            "input_tok_per_s": self.rate(self.input),
            "output_tok_per_s": self.rate(self.output),
            "total_tok_per_s": self.rate(self.input + self.output),
            "first_ms": ms(self.first_s),
            "between_ms": ms(self.between_s),
            "good_per_s": self.n_good as f64 / self.seconds,
            "share_of_roof": self.share,
        })
    }
}

/// The values of which half, 95 and 99 of a hundred are at most so, by the nearest rank.
fn percentiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    [0.50, 0.95, 0.99].map(|share| {
        let rank = (share * values.len() as f64).ceil() as usize;
        values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_requests_keep_both_bounds_and_failed_ones_count_for_nothing() {
        let asked = |first_s, whole_s, output| Asked {
            first_s,
            whole_s,
            input: 10,
            output,
            ..Asked::default()
        };
        let bounds = Bounds { first_s: 1.0, between_s: 0.1 };
        let all = [
            asked(0.5, 1.0, 11),
            asked(1.5, 2.0, 11),
            asked(0.5, 2.5, 11),
            Asked::failed("status 429"),
        ];
        let row = Row::new("3 streams".into(), &all, 2.0, Some(0.5), bounds);
        assert_eq!((row.n_answered, row.n_failed, row.n_good), (3, 1, 1));
        let json = row.json();
        assert_eq!(json["input_tok_per_s"], 15.0);
        assert_eq!(json["total_tok_per_s"], 31.5);
        assert_eq!(json["good_per_s"], 0.5);
        assert_eq!(json["first_ms"]["p50"], 500.0);
        assert!(row.line().contains("status 429"), "{}", row.line());
    }

    #[test]
    fn percentiles_are_by_the_nearest_rank() {
        assert_eq!(percentiles((1..=100).map(f64::from)), [50.0, 95.0, 99.0]);
        assert_eq!(percentiles([3.0].into_iter()), [3.0; 3]);
        assert_eq!(percentiles(std::iter::empty()), [0.0; 3]);
    }
}
