//! A measured case as a line and as JSON.

use serde_json::{Value, json};
use simd::Best;

use super::cases::{Case, Measured};
use super::roofs::{Bound, Roofs};

/// One case beside its roof.
pub(super) struct Row {
    case: Case,
    threads: usize,
    seconds: Vec<f64>,
    tok_per_s: f64,
    gb_per_s: f64,
    gop_per_s: f64,
    share_of_roof: f64,
    bound: Bound,
}

impl Row {
    pub(super) fn new(case: Case, threads: usize, measured: &Measured, roofs: &Roofs) -> Row {
        let (least, bound) = roofs.least_seconds(measured);
        Row {
            case,
            threads,
            seconds: measured.runs.clone(),
            tok_per_s: measured.n_tokens as f64 / measured.seconds,
            gb_per_s: measured.bytes() as f64 / measured.seconds / 1e9,
            gop_per_s: measured.total_ops() as f64 / measured.seconds / 1e9,
            share_of_roof: least / measured.seconds,
            bound,
        }
    }

    pub(super) fn line(&self, family: &str, best: Best) -> String {
        format!(
            "{:12} {family:12} t={:<3} {:7} b={:<3} n={:<5} ctx={:<6} {:>9.1} tok/s {:>7.2} GB/s \
             {:>7.1} GOP/s {:>3.0} % of roof ({})",
            self.case.name(),
            self.threads,
            best.name(),
            self.case.streams(),
            self.case.len(),
            self.case.context(),
            self.tok_per_s,
            self.gb_per_s,
            self.gop_per_s,
            100.0 * self.share_of_roof,
            self.bound.name(),
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "case": self.case.label(self.threads),
            "tok_per_s": self.tok_per_s,
            "gb_per_s": self.gb_per_s,
            "gop_per_s": self.gop_per_s,
            "share_of_roof": self.share_of_roof,
            "bound": self.bound.name(),
            "seconds": self.seconds,
        })
    }
}
