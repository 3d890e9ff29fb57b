//! How the losses of tokens become one number: a weight for each token, from the whole batch.
//!
//! ```text
//! token-mean       1 / (tokens of the batch)
//! sequence-mean    1 / (answers · tokens of the answer)
//! fixed-length     1 / (answers · longest answer allowed)
//! mode-token       share / answers for the first token, 1 / (answers · tokens) for the others
//! ```

use serde::Deserialize;

/// What every token counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// DAPO (arXiv 2503.14476): long answers weigh more.
    TokenMean,
    /// GRPO as published first (arXiv 2402.03300).
    SequenceMean,
    /// Dr. GRPO (arXiv 2503.20783): no length in the denominator.
    FixedLength,
    /// DeGRPO (arXiv 2505.13379): the token that chooses to think apart from the rest.
    ModeToken,
}

/// What the batch fixes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants {
    /// The longest answer allowed, for `FixedLength`.
    pub longest: usize,
    /// What the first token weighs, for `ModeToken`.
    pub mode_share: f64,
}

/// A weight for each token of each answer, of which `counts` says how many there are; answers with
/// 0 are not in the batch.
pub fn weights(counts: &[usize], aggregate: Aggregate, constants: Constants) -> Vec<Vec<f32>> {
    let n_answers = counts.iter().filter(|&&count| count > 0).count() as f64;
    let n_tokens = counts.iter().sum::<usize>() as f64;
    let of_answer = |&count: &usize| {
        let each = match aggregate {
            Aggregate::TokenMean => 1.0 / n_tokens,
            Aggregate::SequenceMean | Aggregate::ModeToken => 1.0 / (n_answers * count as f64),
            Aggregate::FixedLength => 1.0 / (n_answers * constants.longest as f64),
        };
        let mut weights = vec![each as f32; count];
        if let (Aggregate::ModeToken, Some(first)) = (aggregate, weights.first_mut()) {
            *first = (constants.mode_share / n_answers) as f32;
        }
        weights
    };
    counts.iter().map(of_answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_as_worked_by_hand() {
        let constants = Constants { longest: 8, mode_share: 0.5 };
        let found = |aggregate| weights(&[1, 3, 0], aggregate, constants);
        assert_eq!(found(Aggregate::TokenMean), [vec![0.25], vec![0.25; 3], vec![]]);
        let sixth = 1.0 / 6.0_f32;
        assert_eq!(found(Aggregate::SequenceMean), [vec![0.5], vec![sixth; 3], vec![]]);
        assert_eq!(found(Aggregate::FixedLength), [vec![0.0625], vec![0.0625; 3], vec![]]);
        assert_eq!(found(Aggregate::ModeToken), [vec![0.25], vec![0.25, sixth, sixth], vec![]]);
    }
}
