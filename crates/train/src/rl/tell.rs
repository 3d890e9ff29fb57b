//! What a step tells of itself.

use std::collections::BTreeMap;

use super::{Rl, Rolled};
use crate::batch::Learned;
use crate::groups::{Group, Sample};
use crate::report::{self, Report};
use crate::scorer;
use crate::trainee::Update;

impl Rl {
    pub(super) fn tell(
        &self,
        rolled: &Rolled,
        learned: &[(Learned, Update)],
        seconds: f64,
    ) -> Report {
        let mut report = Report::new(self.step);
        let samples = || rolled.groups.iter().flat_map(|group| &group.samples);
        let n = samples().count().max(1) as f64;
        let mean = |of: &dyn Fn(&Sample) -> f64| samples().map(of).sum::<f64>() / n;
        report.add("reward", mean(&|sample| f64::from(sample.reward.total)));
        self.tell_verifiers(&mut report, rolled);
        for part in ["format", "overlong", "length", "mode"] {
            let of = |sample: &Sample| {
                let parts = sample.reward.parts.iter().filter(|found| found.0 == part);
                parts.map(|found| f64::from(found.1)).sum()
            };
            if samples().any(|sample| sample.reward.parts.iter().any(|found| found.0 == part)) {
                report.add(format!("reward/{part}"), mean(&of));
            }
        }
        let total = learned.iter().fold(Learned::default(), |mut total, (found, _)| {
            total.loss += found.loss;
            total.figures.add(&found.figures);
            total.n_tokens += found.n_tokens;
            total
        });
        let first = learned.first().map_or(0.0, |(found, _)| found.difference);
        let share = |n: usize| n as f64 / rolled.n_groups.max(1) as f64;
        report.add("loss", total.loss / learned.len().max(1) as f64);
        report.add("max |Δ log-prob|", first);
        let flips = learned.first().map_or(0, |(found, _)| found.n_flips);
        report.add("router flips", flips as f64);
        report.add("max |log ratio|", total.figures.log_ratio_max);
        // Of all that were written: groups that teach are half right by design.
        report.add("right", rolled.right.share());
        for (difficulty, right) in &rolled.by_difficulty {
            report.add(format!("right/difficulty {difficulty}"), right.share());
        }
        report.add("dead groups", share(rolled.n_dead));
        report.add("groups all right", share(rolled.n_all_right));
        report.add("batches tried", rolled.n_batches as f64);
        report.add("truncated", mean(&|sample| f64::from(u8::from(sample.is_truncated()))));
        report.add("entropy", total.figures.mean(total.figures.entropy));
        report.add("clipped", total.figures.mean(total.figures.n_clipped as f64));
        if self.config.loss.correction.is_on() {
            let figures = &total.figures;
            report.add("rollout weight", figures.mean(figures.correction));
            report.add("rollout bounded", figures.mean(figures.n_bounded as f64));
        }
        if self.reference.is_some() {
            report.add("kl", total.figures.mean(total.figures.kl));
        }
        report.add("length", mean(&|sample| sample.answer.tokens.len() as f64));
        report.add("thinking length", mean(&|sample| sample.n_thinking as f64));
        report.add("thinks", mean(&|sample| f64::from(u8::from(sample.written.thinks))));
        if let Some((_, update)) = learned.last() {
            report.add("gradient norm", update.norm);
            report.add("rate", update.rate);
        }
        report.add("updates", learned.len() as f64);
        self.roof.tell(&mut report, "rollout", rolled.n_tokens, rolled.seconds);
        self.roof.tell(&mut report, "training", total.n_tokens, seconds);
        report.add("seconds", rolled.seconds + seconds);
        report.samples = self.texts(rolled);
        report
    }

    /// The mean score of each verifier's answers.
    fn tell_verifiers(&self, report: &mut Report, rolled: &Rolled) {
        let mut by: BTreeMap<&str, (f64, usize)> = <_>::default();
        for group in &rolled.groups {
            let name = scorer::of_row(&self.problems[group.row], &*self.verifier).name();
            let entry = by.entry(name).or_default();
            let scores = group.samples.iter().map(|sample| f64::from(sample.reward.score.value));
            entry.0 += scores.sum::<f64>();
            entry.1 += group.samples.len();
        }
        for (name, (sum, n)) in by {
            report.add(format!("reward/{name}"), sum / n.max(1) as f64);
        }
    }

    fn texts(&self, rolled: &Rolled) -> Vec<report::Sample> {
        let samples =
            rolled.groups.iter().filter_map(|group| group.samples.first().map(|s| (group, s)));
        let text = |(group, sample): (&Group, &Sample)| report::Sample {
            prompt: self.problems[group.row].task.prompt.clone(),
            text: sample.written.text.clone(),
            reward: f64::from(sample.reward.total),
            why: sample.reward.score.why.to_string(),
            difficulty: group.difficulty,
            n_tokens: sample.answer.tokens.len(),
        };
        samples.map(text).take(self.config.log.samples).collect()
    }
}
