//! Who computes which request: DeepSeek's balancers of prompts and of answers over data-parallel
//! ranks. That of experts is [`eplb`](crate::eplb).
//!
//! Each balances two loads at once: prompts their attention's compute and their tokens, answers
//! their cache and their number.

use crate::eplb::imbalance;

/// A prompt to be computed: `computed` tokens after `cached` ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub cached: u64,
    pub computed: u64,
}

/// Largest load over the mean, dealt out in turn and balanced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balance {
    pub before: f64,
    pub after: f64,
}

/// Which rank each request goes to, and what that does to both loads.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    pub rank_of: Vec<usize>,
    /// Pairs of tokens that attend, or tokens in the cache.
    pub first: Balance,
    /// Tokens to compute, or requests.
    pub second: Balance,
}

/// Prompts over ranks: attention's compute and tokens of input.
pub fn prefill(prompts: &[Prompt], n_ranks: usize) -> Assignment {
    let loads = prompts.iter().map(|prompt| {
        let (cached, computed) = (prompt.cached as f64, prompt.computed as f64);
        [computed * cached + computed * (computed + 1.0) / 2.0, computed]
    });
    spread(&loads.collect::<Vec<_>>(), n_ranks)
}

/// Answers over ranks: tokens in the cache and number of requests.
pub fn decode(contexts: &[u64], n_ranks: usize) -> Assignment {
    let loads: Vec<[f64; 2]> = contexts.iter().map(|&context| [context as f64, 1.0]).collect();
    spread(&loads, n_ranks)
}

/// Heaviest first, each to the rank whose worse load stays lowest; dealt out in turn if that is no
/// worse.
fn spread(loads: &[[f64; 2]], n_ranks: usize) -> Assignment {
    assert!(n_ranks > 0, "there is no rank");
    let total = |which: usize| loads.iter().map(|load| load[which]).sum::<f64>().max(1e-300);
    let shares: Vec<[f64; 2]> =
        loads.iter().map(|load| [load[0] / total(0), load[1] / total(1)]).collect();
    let mut order: Vec<usize> = (0..loads.len()).collect();
    let worse = |share: &[f64; 2]| share[0].max(share[1]);
    order.sort_by(|&a, &b| worse(&shares[b]).total_cmp(&worse(&shares[a])));
    let mut ranks = vec![[0.0; 2]; n_ranks];
    let mut rank_of = vec![0; loads.len()];
    for item in order {
        let after = |rank: usize| {
            let rank: &[f64; 2] = &ranks[rank];
            let sum = [rank[0] + shares[item][0], rank[1] + shares[item][1]];
            (worse(&sum), sum[0] + sum[1])
        };
        let best = (0..n_ranks).min_by(|&a, &b| {
            let (a, b) = (after(a), after(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        });
        let best = best.expect("there is a rank");
        rank_of[item] = best;
        for which in 0..2 {
            ranks[best][which] += shares[item][which];
        }
    }
    let in_turn: Vec<usize> = (0..loads.len()).map(|item| item % n_ranks).collect();
    let both = |rank_of: &[usize]| {
        [0, 1].map(|which| {
            let mut sums = vec![0.0; n_ranks];
            for (load, &rank) in loads.iter().zip(rank_of) {
                sums[rank] += load[which];
            }
            imbalance(&sums)
        })
    };
    let (before, mut after) = (both(&in_turn), both(&rank_of));
    if worse(&before) <= worse(&after) {
        (rank_of, after) = (in_turn, before);
    }
    let balance = |which: usize| Balance { before: before[which], after: after[which] };
    Assignment { rank_of, first: balance(0), second: balance(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn a_long_prompt_is_left_alone_with_its_rank() {
        let short = Prompt { cached: 0, computed: 1000 };
        let long = Prompt { cached: 0, computed: 4000 };
        let assignment = prefill(&[short, long, short, short, short], 2);
        let of_long = assignment.rank_of[1];
        assert_eq!(assignment.rank_of.iter().filter(|&&rank| rank == of_long).count(), 1);
        assert!(assignment.second.after < assignment.second.before);
    }

    #[test]
    fn tokens_of_the_cache_cost_attention() {
        let cold = Prompt { cached: 0, computed: 1000 };
        let warm = Prompt { cached: 9000, computed: 1000 };
        let assignment = prefill(&[warm, cold, warm, cold], 2);
        assert_ne!(assignment.rank_of[0], assignment.rank_of[2]);
        assert!((assignment.first.after - 1.0).abs() < 1e-9);
        assert!(assignment.first.before > 1.5);
    }

    #[test]
    fn caches_and_requests_are_balanced_at_once_and_never_made_worse() {
        for seed in 0..20 {
            let context = |i| 100 + (30_000.0 * random::uniform(seed, i, 0).powi(4)) as u64;
            let contexts: Vec<u64> = (0..200).map(context).collect();
            let Assignment { first, second, .. } = decode(&contexts, 8);
            assert!(first.after.max(second.after) <= first.before.max(second.before));
            assert!(first.after < 1.05 && second.after < 1.25, "{seed}: {first:?} {second:?}");
        }
        assert_eq!(decode(&[], 3).rank_of, []);
    }
}
