//! What a share of right answers tells of the share that would be right in the long run.

/// The quantile of the normal distribution that leaves out 2.5 % at each side.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// A share, and its interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Wilson's interval (1927) of a share that was seen in `n` independent trials.
///
/// ```text
/// (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)
/// ```
pub(super) fn wilson(share: f64, n: f64) -> Share {
    let z = QUANTILE / n.sqrt();
    let centre = share + z * z / 2.0;
    let half = z * (share * (1.0 - share) + z * z / 4.0).sqrt();
    let [low, high] = [centre - half, centre + half].map(|end| end / (1.0 + z * z));
    Share { value: share, low: low.clamp(0.0, share), high: high.clamp(share, 1.0) }
}

/// The mean of one value in [0, 1] a question, found by `answers` answers; none of no question.
///
/// Answers to one question are not independent, so Wilson's interval is taken at their effective
/// number: that by which the variance of the mean, clustered by question, is p(1−p)/n. It is at
/// least the number of questions, as if more answers to one told nothing, and at most that of
/// answers. With one answer to each question it is Wilson's own.
pub(super) fn share(values: &[f64], answers: usize) -> Option<Share> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let variance = squares / (n * (n - 1.0).max(1.0));
    let effective = match variance > 0.0 {
        true => (mean * (1.0 - mean) / variance).clamp(n, n.max(answers as f64)),
        // Questions that all came out alike say nothing of how far apart others are.
        false => n,
    };
    Some(wilson(mean.clamp(0.0, 1.0), effective))
}

/// The probability that one of `k` answers drawn from `n` is right, of which `right` are: the
/// estimator of pass@k without bias (Chen et al. 2021, arXiv 2107.03374).
///
/// ```text
/// 1 − C(n−c, k) / C(n, k) = 1 − Π_{i=n−c+1..n} (1 − k/i)
/// ```
pub(super) fn pass_at(k: usize, n: usize, right: usize) -> f64 {
    assert!(k <= n && right <= n, "{k} of {n} answers, of which {right} are right");
    if n - right < k {
        return 1.0;
    }
    1.0 - (n - right + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

/// The k of pass@k for so many answers: 1, 2, 4, … and all of them.
pub(super) fn ks(samples: usize) -> Vec<usize> {
    let powers = (0..usize::BITS).map(|power| 1 << power).take_while(|&k| k < samples);
    powers.chain([samples]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 5e-5
    }

    /// n choose k.
    fn binomial(n: usize, k: usize) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
    }

    #[test]
    fn pass_at_k_is_its_closed_form() {
        for n in 1..=20 {
            for right in 0..=n {
                for k in 1..=n {
                    // No way to draw more wrong ones than there are.
                    let wrong = if n - right < k { 0.0 } else { binomial(n - right, k) };
                    let expected = 1.0 - wrong / binomial(n, k);
                    let found = pass_at(k, n, right);
                    assert!((found - expected).abs() < 1e-12, "{k} {n} {right}: {found}");
                }
            }
        }
        // Two of three pairs out of three answers have the one that is right.
        assert!(close(pass_at(2, 3, 1), 2.0 / 3.0));
        assert_eq!((pass_at(1, 8, 2), pass_at(5, 5, 0), pass_at(5, 5, 1)), (0.25, 0.0, 1.0));
    }

    #[test]
    fn pass_at_k_has_no_bias() {
        // Of n answers that are right with a chance of p each, on average.
        let (n, p) = (9_usize, 0.3_f64);
        for k in [1, 2, 4, 9] {
            let chance = |right: usize| {
                binomial(n, right) * p.powi(right as i32) * (1.0 - p).powi((n - right) as i32)
            };
            let mean: f64 = (0..=n).map(|right| chance(right) * pass_at(k, n, right)).sum();
            assert!((mean - (1.0 - (1.0 - p).powi(k as i32))).abs() < 1e-12, "{k}: {mean}");
        }
    }

    #[test]
    fn intervals_are_wilsons() {
        // Newcombe (1998), method 3 of table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (right, n, low, high) in [
            (81.0, 263.0, 0.2553, 0.3662),
            (15.0, 148.0, 0.0624, 0.1605),
            (0.0, 20.0, 0.0, 0.1611),
            (1.0, 29.0, 0.0061, 0.1718),
        ] {
            let found = wilson(right / n, n);
            assert!(close(found.low, low) && close(found.high, high), "{right} of {n}: {found:?}");
        }
    }

    #[test]
    fn answers_to_one_question_are_not_counted_as_questions() {
        let alone = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        let one_each = share(&alone, 8).unwrap();
        let wilsons = wilson(0.625, 8.0);
        assert!(close(one_each.low, wilsons.low) && close(one_each.high, wilsons.high));
        // Eight answers to each that are all alike tell no more than one.
        let same = share(&alone, 64).unwrap();
        assert!(close(same.low, one_each.low) || same.low > one_each.low);
        assert!(same.low < wilson(0.625, 10.0).low);
        // Answers that differ as much within a question as between them tell as much as questions.
        let mixed = [0.5, 0.625, 0.75, 0.625, 0.5, 0.75, 0.625, 0.625];
        let all = share(&mixed, 64).unwrap();
        assert!(close(all.low, wilson(0.625, 64.0).low), "{all:?}");
        // Nothing was seen to differ: no interval of no width.
        let sure = share(&[1.0; 10], 80).unwrap();
        assert_eq!((sure.high, sure.low), (1.0, wilson(1.0, 10.0).low));
        assert!(share(&[], 0).is_none());
        assert!(share(&[0.5], 2).unwrap().low < 0.1);
    }

    #[test]
    fn ks_are_powers_of_two_and_all() {
        assert_eq!(ks(1), [1]);
        assert_eq!(ks(4), [1, 2, 4]);
        assert_eq!(ks(6), [1, 2, 4, 6]);
    }
}
