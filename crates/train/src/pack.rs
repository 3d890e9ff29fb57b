//! Sequences into passes: in their order, as many as fit.

use std::ops::Range;

/// Runs of sequences of which each has at most `tokens_max` tokens, or is one sequence alone.
pub fn passes(lens: &[usize], tokens_max: usize) -> Vec<Range<usize>> {
    let mut passes = Vec::new();
    let (mut from, mut tokens) = (0, 0);
    for (i, len) in lens.iter().enumerate() {
        if i > from && tokens + len > tokens_max {
            passes.push(from..i);
            (from, tokens) = (i, 0);
        }
        tokens += len;
    }
    if from < lens.len() {
        passes.push(from..lens.len());
    }
    passes
}

/// `n` things cut into at most `parts` runs as equal as can be, the first ones the longer.
pub fn shares(n: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.min(n);
    let mut from = 0;
    (0..parts)
        .map(|i| {
            let len = n / parts + usize::from(i < n % parts);
            from += len;
            from - len..from
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_hold_what_fits_in_order() {
        assert_eq!(passes(&[3, 3, 3, 9, 1], 7), [0..2, 2..3, 3..4, 4..5]);
        assert!(passes(&[], 7).is_empty());
        assert_eq!(passes(&[8], 7).first(), Some(&(0..1)));
    }

    #[test]
    fn shares_are_nearly_equal_and_never_empty() {
        assert_eq!(shares(7, 3), [0..3, 3..5, 5..7]);
        assert_eq!(shares(2, 5), [0..1, 1..2]);
        assert!(shares(0, 5).is_empty());
    }
}
