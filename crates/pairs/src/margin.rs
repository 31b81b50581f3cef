//! Selection by margin.

/// The positions of the `count` hardest of an example's negatives, hardest first.
///
/// `margins` are the current log-probability margins of the pairs (chosen minus rejected, relative to a
/// reference or of the policy alone): the lower, the more the model prefers the negative. Equal margins
/// keep their order; NaN comes last.
pub fn hardest(margins: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..margins.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (margins[a], margins[b]);
        a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b))
    });
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::hardest;

    #[test]
    fn the_lowest_margin_is_the_hardest() {
        assert_eq!(hardest(&[0.5, -2.0, f64::NAN, 0.1, -2.0], 3), [1, 4, 3]);
        assert_eq!(hardest(&[f64::NAN, 1.0], 5), [1, 0]);
        assert!(hardest(&[], 2).is_empty());
    }
}
