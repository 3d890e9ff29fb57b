//! How much better than its group an answer was.
//!
//! ```text
//! group-mean      A = R - mean
//! group-std       A = (R - mean) / (std + 1e-6)        std with n - 1 in its denominator
//! leave-one-out   A = R - mean of the others           = n / (n - 1) · (R - mean)
//! batch-std       A = (R - mean) / (std of all R - mean in the batch + 1e-6)
//! mean-ratio      A = (R - mean) / mean                0 where the mean is not above 0
//! ```

use serde::Deserialize;

/// Against what a reward is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advantage {
    /// Dr. GRPO (arXiv 2503.20783).
    GroupMean,
    /// GRPO (arXiv 2402.03300).
    GroupStd,
    /// RLOO (arXiv 2402.14740).
    LeaveOneOut,
    /// REINFORCE++ with a baseline (arXiv 2501.03262).
    BatchStd,
    /// MaxRL.
    MeanRatio,
}

const EPS: f64 = 1e-6;

/// Whether a group teaches nothing: all its rewards are equal.
pub fn is_dead(rewards: &[f32]) -> bool {
    rewards.iter().all(|reward| *reward == rewards[0])
}

/// An advantage for each reward of each group; of dead groups 0.
pub fn advantages(groups: &[Vec<f32>], kind: Advantage) -> Vec<Vec<f32>> {
    let centred: Vec<Vec<f64>> = groups.iter().map(|group| centred(group)).collect();
    let of_batch = std(&centred.concat());
    let of_group = |(rewards, centred): (&Vec<f32>, &Vec<f64>)| {
        if is_dead(rewards) {
            return vec![0.0; rewards.len()];
        }
        let n = rewards.len() as f64;
        let scale = match kind {
            Advantage::GroupMean => 1.0,
            Advantage::GroupStd => 1.0 / (std(centred) + EPS),
            Advantage::LeaveOneOut => n / (n - 1.0),
            Advantage::BatchStd => 1.0 / (of_batch + EPS),
            Advantage::MeanRatio => {
                let mean = mean(rewards);
                if mean > 0.0 { 1.0 / mean } else { 0.0 }
            }
        };
        centred.iter().map(|x| (x * scale) as f32).collect()
    };
    groups.iter().zip(&centred).map(of_group).collect()
}

fn mean(rewards: &[f32]) -> f64 {
    rewards.iter().map(|&reward| f64::from(reward)).sum::<f64>() / rewards.len() as f64
}

fn centred(rewards: &[f32]) -> Vec<f64> {
    let mean = mean(rewards);
    rewards.iter().map(|&reward| f64::from(reward) - mean).collect()
}

/// Of numbers whose mean is 0.
fn std(centred: &[f64]) -> f64 {
    let n = centred.len().saturating_sub(1).max(1) as f64;
    (centred.iter().map(|x| x * x).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_as_worked_by_hand() {
        // Mean 0.25; squares 0.5625 + 3 · 0.0625 = 0.75, over 3 is 0.25, its root 0.5.
        let groups = [vec![1.0, 0.0, 0.0, 0.0], vec![1.0, 1.0]];
        let cases = [
            (Advantage::GroupMean, [0.75, -0.25]),
            (Advantage::GroupStd, [1.5, -0.5]),
            (Advantage::LeaveOneOut, [1.0, -1.0 / 3.0]),
            // 0.75 over the 6 - 1 others of the batch: 0.15.
            (Advantage::BatchStd, [0.75 / 0.15_f32.sqrt(), -0.25 / 0.15_f32.sqrt()]),
            (Advantage::MeanRatio, [3.0, -1.0]),
        ];
        for (kind, [right, wrong]) in cases {
            let found = advantages(&groups, kind);
            for (found, expected) in found[0].iter().zip([right, wrong, wrong, wrong]) {
                assert!((found - expected).abs() < 1e-5, "{kind:?}: {found} is not {expected}");
            }
            assert_eq!(found[1], [0.0, 0.0], "a dead group teaches nothing");
        }
    }

    #[test]
    fn groups_without_a_mean_above_zero_have_no_ratio_to_it() {
        let found = advantages(&[vec![-1.0, 0.0]], Advantage::MeanRatio);
        assert_eq!(found[0], [0.0, 0.0]);
    }
}
