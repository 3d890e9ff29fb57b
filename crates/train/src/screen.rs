//! Before training: what share of groups could teach anything, and what memory the run takes.

use std::collections::BTreeMap;

use verifiers::sandbox::Launcher;

use crate::Error;
use crate::config::Config;
use crate::groups::Group;
use crate::need::Need;
use crate::rl::Rl;
use crate::watch::Watch;

/// What the answers of one difficulty, or of all, came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    pub n_groups: usize,
    pub n_samples: usize,
    pub n_right: usize,
    /// Groups with a right answer among them.
    pub n_any_right: usize,
    pub n_all_right: usize,
    pub n_dead: usize,
    pub n_truncated: usize,
    pub n_tokens: usize,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Screened {
    pub all: Share,
    pub by_difficulty: BTreeMap<i64, Share>,
    pub need: Need,
    pub samples: usize,
}

/// Answers so many rows with the model as it is.
///
/// # Errors
///
/// As training would.
pub fn screen(
    config: &Config,
    launcher: &Launcher,
    n_rows: usize,
    watch: &mut Watch<'_>,
) -> Result<Screened, Error> {
    let mut rl = Rl::open(config, (launcher, false), watch)?;
    let mut all = Share::default();
    let mut by_difficulty: BTreeMap<i64, Share> = BTreeMap::new();
    let mut left = n_rows;
    while left > 0 && !watch.is_stopped() {
        let n = left.min(config.rollout.prompts);
        for group in rl.write_groups(n)? {
            all.add(&group);
            if let Some(difficulty) = group.difficulty {
                by_difficulty.entry(difficulty).or_default().add(&group);
            }
        }
        left -= n;
    }
    let (need, samples) = (rl.trainee.need, config.rollout.samples);
    Ok(Screened { all, by_difficulty, need, samples })
}

impl Share {
    fn add(&mut self, group: &Group) {
        let (n, n_right) = (group.samples.len(), group.n_right());
        self.n_groups += 1;
        self.n_samples += n;
        self.n_right += n_right;
        self.n_any_right += usize::from(n_right > 0);
        self.n_all_right += usize::from(n_right == n);
        self.n_dead += usize::from(group.is_dead());
        self.n_truncated += group.samples.iter().filter(|sample| sample.is_truncated()).count();
        self.n_tokens +=
            group.samples.iter().map(|sample| sample.answer.tokens.len()).sum::<usize>();
    }

    /// The share of groups that teach nothing.
    pub fn dead(&self) -> f64 {
        self.n_dead as f64 / self.n_groups.max(1) as f64
    }
}

/// Above this share of dead groups, most of a run's time teaches nothing.
pub const DEAD_MAX: f64 = 0.5;

impl Screened {
    /// A table for a person.
    pub fn lines(&self) -> Vec<String> {
        let k = self.samples;
        let mut lines = vec![format!(
            "{:<12} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8}",
            "difficulty",
            "groups",
            "pass@1",
            format!("pass@{k}"),
            "dead",
            "all right",
            "cut off",
            "tokens"
        )];
        let row = |name: String, share: &Share| {
            let of_groups = |n: usize| percent(n, share.n_groups);
            let tokens = share.n_tokens as f64 / share.n_samples.max(1) as f64;
            format!(
                "{name:<12} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {tokens:>8.1}",
                share.n_groups,
                percent(share.n_right, share.n_samples),
                of_groups(share.n_any_right),
                of_groups(share.n_dead),
                of_groups(share.n_all_right),
                percent(share.n_truncated, share.n_samples),
            )
        };
        lines.extend(self.by_difficulty.iter().map(|(name, share)| row(name.to_string(), share)));
        lines.push(row("all".into(), &self.all));
        lines.push(format!("memory: {}", self.need));
        if self.all.dead() > DEAD_MAX {
            lines.push(format!(
                "{} of groups teach nothing: easier or harder rows, more samples, or supervised \
                 training first would help",
                percent(self.all.n_dead, self.all.n_groups)
            ));
        }
        lines
    }
}

fn percent(n: usize, of: usize) -> String {
    format!("{:.1} %", 100.0 * n as f64 / of.max(1) as f64)
}
