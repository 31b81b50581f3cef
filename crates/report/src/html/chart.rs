//! Line charts as inline SVG.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::format;
use crate::{Curve, CurveChart};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// Most points of a curve; longer ones are thinned evenly, which cannot be seen on a screen.
const MOST_POINTS: usize = 600;
/// Number of colours in the style sheet; further curves repeat them dashed.
const COLOURS: usize = 8;

/// A linear map from values to a coordinate.
pub(super) struct Scale {
    /// Smallest value shown.
    pub(super) low: f64,
    /// Largest value shown.
    pub(super) high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Values from `low` to `high` onto coordinates from `from` to `to`; an empty range is widened.
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        if high > low {
            return Self { low, high, from, to };
        }
        let middle = if low.is_finite() { low } else { 0.0 };
        let half = if middle == 0.0 { 1.0 } else { middle.abs() * 0.1 };
        Self { low: middle - half, high: middle + half, from, to }
    }

    /// As [`Scale::new`], with a margin of 5 % of the range on both sides.
    pub(super) fn padded(low: f64, high: f64, from: f64, to: f64) -> Self {
        let scale = Self::new(low, high, from, to);
        let spare = (scale.high - scale.low) * 0.05;
        Self { low: scale.low - spare, high: scale.high + spare, ..scale }
    }

    /// The coordinate of a value, to a tenth of a pixel.
    pub(super) fn at(&self, value: f64) -> f64 {
        let place = self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from);
        (place * 10.0).round() / 10.0
    }
}

/// About `wanted` round values between `low` and `high`, in steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let raw = (high - low) / wanted as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|&step| step >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

pub(super) fn section(charts: &[CurveChart]) -> Markup {
    html! {
        div.panels {
            @for chart in charts {
                figure {
                    figcaption {
                        (chart.title)
                        @if chart.smoothing > 1 { span.hint { " · bold: mean of " (chart.smoothing) " points" } }
                    }
                    (plot(chart))
                    @if !chart.note.is_empty() { p.note { (chart.note) } }
                    ul.legend {
                        @for (index, curve) in chart.curves.iter().enumerate() {
                            li { span class={ "swatch " (stroke(index)) (alternate(index)) } {} (curve.name) }
                        }
                    }
                }
            }
        }
    }
}

fn plot(chart: &CurveChart) -> Markup {
    let raw: Vec<Vec<(f64, f64)>> = chart.curves.iter().map(finite).collect();
    let bold: Vec<Vec<(f64, f64)>> = raw.iter().map(|points| thinned(&running_mean(points, chart.smoothing))).collect();
    let faint: Vec<Vec<(f64, f64)>> = raw.iter().map(|points| thinned(points)).collect();
    let all = || faint.iter().chain(&bold).flatten();
    if all().next().is_none() {
        return html! { p.note { "no points were logged" } };
    }
    let range = |pick: fn(&(f64, f64)) -> f64| {
        all().map(pick).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let ((left, right), (low, high)) = (range(|point| point.0), range(|point| point.1));
    let x = Scale::new(left, right, LEFT, WIDTH - RIGHT);
    let y = Scale::padded(low, high, HEIGHT - BOTTOM, TOP);
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(chart.title) {
            @for tick in ticks(y.low, y.high, 5) {
                line.grid x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y.at(tick)) y2=(y.at(tick)) {}
                text.tick x=(LEFT - 6.0) y=(y.at(tick) + 4.0) text-anchor="end" { (tick_label(tick, y.high - y.low)) }
            }
            @for tick in ticks(x.low, x.high, 6) {
                text.tick x=(x.at(tick)) y=(HEIGHT - BOTTOM + 16.0) text-anchor="middle" { (tick_label(tick, x.high - x.low)) }
            }
            text.axis x=((LEFT + WIDTH - RIGHT) / 2.0) y=(HEIGHT - 6.0) text-anchor="middle" { (chart.x) }
            text.axis transform={ "translate(11 " ((TOP + HEIGHT - BOTTOM) / 2.0) ") rotate(-90)" } text-anchor="middle" { (chart.y) }
            @if chart.smoothing > 1 {
                @for (index, points) in faint.iter().enumerate() {
                    polyline class={ "curve faint " (stroke(index)) } points=(path(points, &x, &y)) {}
                }
            }
            @for (index, points) in bold.iter().enumerate() {
                polyline class={ "curve " (stroke(index)) (alternate(index)) } points=(path(points, &x, &y)) { title { (chart.curves[index].name) } }
            }
        }
    }
}

fn finite(curve: &Curve) -> Vec<(f64, f64)> {
    curve.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
}

/// At each point, the mean of the last `window` points.
fn running_mean(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let window = window.max(1);
    (0..points.len())
        .map(|end| {
            let inside = &points[(end + 1).saturating_sub(window)..=end];
            (points[end].0, inside.iter().map(|point| point.1).sum::<f64>() / inside.len() as f64)
        })
        .collect()
}

fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(MOST_POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points
        .iter()
        .enumerate()
        .filter(|(index, _)| index % stride == 0 || *index == last)
        .map(|(_, point)| *point)
        .collect()
}

fn path(points: &[(f64, f64)], x: &Scale, y: &Scale) -> String {
    let mut out = String::new();
    for point in points {
        let _ = write!(out, "{},{} ", x.at(point.0), y.at(point.1));
    }
    out.truncate(out.trim_end().len());
    out
}

fn tick_label(value: f64, range: f64) -> String {
    let decimals = if range >= 10.0 { 0 } else { (1.0 - range.log10()).ceil().clamp(0.0, 6.0) as usize };
    format::fixed(value, decimals)
}

/// Every second curve is dashed, so that one that lies under another is still seen.
fn alternate(index: usize) -> &'static str {
    if index % 2 == 1 { " over" } else { "" }
}

/// The CSS classes for the colour of item `index`.
pub(super) fn stroke(index: usize) -> String {
    let dashed = if index / COLOURS % 2 == 1 { " dashed" } else { "" };
    format!("c{}{dashed}", index % COLOURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-0.3, 0.31, 4), [-0.2, 0.0, 0.2]);
        assert!(ticks(1.0, 1.0, 5).is_empty());
    }

    #[test]
    fn a_flat_curve_still_has_a_scale() {
        let scale = Scale::new(3.0, 3.0, 0.0, 100.0);
        assert_eq!(scale.at(3.0), 50.0);
        let none = Scale::new(f64::INFINITY, f64::NEG_INFINITY, 0.0, 100.0);
        assert!(none.at(0.0).is_finite());
    }

    #[test]
    fn a_running_mean_only_looks_back() {
        let points = [(0.0, 2.0), (1.0, 4.0), (2.0, 0.0)];
        assert_eq!(running_mean(&points, 2), [(0.0, 2.0), (1.0, 3.0), (2.0, 2.0)]);
        assert_eq!(running_mean(&points, 0), points);
    }

    #[test]
    fn thinning_keeps_the_ends() {
        let points: Vec<(f64, f64)> = (0..5000).map(|index| (index as f64, 0.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS + 1);
        assert_eq!((thin[0], thin[thin.len() - 1]), (points[0], points[4999]));
    }
}
