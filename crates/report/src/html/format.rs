//! Numbers on the page.

use crate::{Estimate, ScoreUnit};

/// A true minus sign, as wide as a plus sign.
const MINUS: char = '−';

/// A value in its unit.
pub(super) fn score(value: f64, unit: ScoreUnit) -> String {
    match unit {
        ScoreUnit::Percent => fixed(value * 100.0, 1),
        ScoreUnit::Number => fixed(value, 3),
    }
}

/// A difference in its unit, always with a sign.
pub(super) fn difference(value: f64, unit: ScoreUnit) -> String {
    let text = score(value, unit);
    let zero = text.chars().all(|character| matches!(character, '0' | '.'));
    if zero || text.starts_with(MINUS) { text } else { format!("+{text}") }
}

/// An interval in its unit.
pub(super) fn interval(ends: (f64, f64), unit: ScoreUnit) -> String {
    format!("[{}, {}]", score(ends.0, unit), score(ends.1, unit))
}

/// The small print under a value: its interval, then the deviation over seeds.
pub(super) fn small_print(estimate: &Estimate, unit: ScoreUnit) -> Vec<String> {
    let interval = estimate.interval.map(|ends| interval(ends, unit));
    let deviation = estimate.deviation.map(|deviation| format!("± {}", score(deviation, unit)));
    interval.into_iter().chain(deviation).collect()
}

/// A p-value with at most three decimals.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 {
        "p < 0.001".to_owned()
    } else if p < 0.1 {
        format!("p = {p:.3}")
    } else {
        format!("p = {p:.2}")
    }
}

/// A count with thin spaces between thousands.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

/// Seconds as `12.3 s`, `4 min 05 s` or `2 h 03 min`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// A number with a fixed number of decimals, never `-0`.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|character| matches!(character, '0' | '.')) => rest.to_owned(),
        Some(rest) => format!("{MINUS}{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(score(0.8549, ScoreUnit::Percent), "85.5");
        assert_eq!(difference(-0.012, ScoreUnit::Percent), "−1.2");
        assert_eq!(difference(0.012, ScoreUnit::Percent), "+1.2");
        assert_eq!(difference(-0.0001, ScoreUnit::Percent), "0.0");
        assert_eq!(p_value(0.0002), "p < 0.001");
        assert_eq!(p_value(0.034), "p = 0.034");
        assert_eq!(count(1_234_567), "1\u{2009}234\u{2009}567");
        assert_eq!(count(999), "999");
        assert_eq!(duration(59.94), "59.9 s");
        assert_eq!(duration(245.2), "4 min 05 s");
        assert_eq!(duration(7400.0), "2 h 03 min");
    }
}
