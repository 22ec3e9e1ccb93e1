//! Small charts of the last hour, as inline SVG.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::super::history::{PERIOD, Point, SPAN};
use super::html::span;

/// The chart's own units; it is drawn as wide as there is room.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 100.0;
/// The least that a chart shows.
const LEAST_SPAN: Duration = Duration::from_secs(300);

/// One line of a chart.
pub(super) struct Series {
    /// Its colour, by class.
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) value: fn(&Point) -> Option<f64>,
}

/// A chart with its largest value, in `unit`. A line is broken where there is no value, and where the server
/// was not asked.
pub(super) fn chart(points: &[Point], series: &[Series], unit: fn(f64) -> String) -> String {
    let values = || series.iter().flat_map(|it| points.iter().filter_map(it.value));
    let most = values().fold(0.0, f64::max);
    let scale = if most > 0.0 { (HEIGHT - 4.0) / most } else { 0.0 };
    let now = SystemTime::now();
    let oldest = points.first().and_then(|point| now.duration_since(point.at).ok());
    let shown = oldest.unwrap_or_default().clamp(LEAST_SPAN, SPAN);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"the last {}\">",
        span(shown)
    );
    for it in series {
        let mut line = String::new();
        let mut before: Option<f64> = None;
        for point in points {
            let age = now.duration_since(point.at).unwrap_or_default().as_secs_f64();
            let value = (it.value)(point);
            let is_broken = before.is_some_and(|before| before - age > 3.0 * PERIOD.as_secs_f64());
            if value.is_none() || is_broken {
                finish(&mut svg, &mut line, it.class);
            }
            before = Some(age);
            let Some(value) = value else { continue };
            let x = WIDTH * (1.0 - age / shown.as_secs_f64());
            let y = HEIGHT - 2.0 - value * scale;
            _ = write!(line, "{x:.1},{y:.1} ");
        }
        finish(&mut svg, &mut line, it.class);
    }
    let legend: String = series
        .iter()
        .map(|it| format!("<span class=\"{}\">{}</span> ", it.class, it.name))
        .collect();
    format!(
        "{svg}</svg><div class=\"axis\"><span>{} ago</span><span>{legend}</span><span>at most {}</span></div>",
        span(shown),
        unit(most)
    )
}

fn finish(svg: &mut String, line: &mut String, class: &str) {
    if !line.is_empty() {
        if !line.trim_end().contains(' ') {
            // A point alone: a line without length has its round ends.
            let point = line.clone();
            line.push_str(&point);
        }
        _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", line.trim_end());
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn point(age: u64, p99_ms: Option<f64>) -> Point {
        Point {
            at: SystemTime::now() - Duration::from_secs(age),
            calls_per_second: 1.0,
            failures_per_second: 0.0,
            read_bytes_per_second: 0.0,
            written_bytes_per_second: 0.0,
            median_ms: None,
            p99_ms,
        }
    }

    #[test]
    fn a_line_is_broken_where_nothing_was_measured() {
        let series = [Series { class: "one", name: "99 of 100", value: |point| point.p99_ms }];
        let points = [
            point(1000, Some(1.0)),
            point(995, Some(4.0)),
            point(990, None),
            point(985, Some(2.0)),
            point(100, Some(2.0)),
        ];
        let svg = chart(&points, &series, |value| format!("{value} ms"));
        assert_eq!(svg.matches("<polyline").count(), 3, "{svg}");
        assert!(
            svg.contains("at most 4 ms") && svg.contains(",2.0 \"") || svg.contains(",2.0\""),
            "{svg}"
        );
        let empty = chart(&[], &series, |value| format!("{value}"));
        assert!(empty.contains("at most 0") && empty.contains("5 min 0 s ago"), "{empty}");
    }
}
