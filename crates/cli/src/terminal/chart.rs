//! Curves and single points, in a terminal and as SVG.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// A curve, or a point if it has only one.
pub(crate) struct Series {
    pub(crate) name: String,
    /// By x, ascending.
    pub(crate) points: Vec<(f64, f64)>,
    /// The ends of each point's interval of y, where points have one.
    pub(crate) intervals: Vec<(f64, f64)>,
}

impl Series {
    /// Points whose y is known.
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), points, intervals: Vec::new() }
    }

    /// The x of each interval with its ends.
    fn spread(&self) -> impl Iterator<Item = (f64, (f64, f64))> {
        self.points.iter().map(|point| point.0).zip(self.intervals.iter().copied())
    }
}

/// Curves over one x. Logarithmic axes leave out what is not above 0.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    pub(crate) y_label: &'static str,
    pub(crate) series: Vec<Series>,
    pub(crate) log: bool,
    /// Something that happens at an x.
    pub(crate) mark: Option<(f64, String)>,
}

/// Columns and rows of the terminal's plot.
const WIDTH: usize = 64;
const HEIGHT: usize = 16;
const SYMBOLS: [char; 4] = ['*', 'o', '+', 'x'];
/// Pixels of the SVG and of its margins.
const SIZE: (f64, f64) = (720.0, 420.0);
const MARGIN: (f64, f64, f64, f64) = (80.0, 40.0, 20.0, 60.0);
/// Apart for people who do not see red from green (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// From values to [0, 1].
struct Axis {
    from: f64,
    to: f64,
    log: bool,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, log: bool) -> Option<Axis> {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && (!log || *value > 0.0)) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            return None;
        }
        if from == to {
            (from, to) = if log { (from / 2.0, to * 2.0) } else { (from - 1.0, to + 1.0) };
        } else if !log {
            // A curve that never comes near 0 should look so.
            from = from.min(0.0);
        }
        Some(Axis { from, to, log })
    }

    fn at(&self, value: f64) -> Option<f64> {
        let share = match self.log {
            true if value > 0.0 => (value / self.from).ln() / (self.to / self.from).ln(),
            true => return None,
            false => (value - self.from) / (self.to - self.from),
        };
        (-1e-9..=1.0 + 1e-9).contains(&share).then_some(share.clamp(0.0, 1.0))
    }

    /// Powers of ten, or five even steps.
    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            return (0..=4)
                .map(|i| self.from + (self.to - self.from) * f64::from(i) / 4.0)
                .collect();
        }
        let powers = (self.from.log10().ceil() as i32)..=(self.to.log10().floor() as i32);
        let powers: Vec<f64> = powers.map(|power| 10_f64.powi(power)).collect();
        if powers.is_empty() { vec![self.from, self.to] } else { powers }
    }
}

/// `10k`, `2.5`, `0.001`.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        x if x >= 1e9 => (value / 1e9, "G"),
        x if x >= 1e6 => (value / 1e6, "M"),
        x if x >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = if scaled.abs() >= 100.0 || scaled.fract() == 0.0 { 0 } else { 2 };
    let text = match scaled.abs() {
        x if x > 0.0 && x < 0.01 => format!("{scaled:.0e}"),
        _ => format!("{scaled:.digits$}"),
    };
    format!("{text}{suffix}")
}

impl Chart {
    fn axes(&self) -> Option<(Axis, Axis)> {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let xs = all().map(|point| point.0).chain(self.mark.iter().map(|mark| mark.0));
        let ends = self.series.iter().flat_map(|series| &series.intervals);
        let ys = all().map(|point| point.1).chain(ends.flat_map(|&(low, high)| [low, high]));
        Some((Axis::over(xs, self.log)?, Axis::over(ys, self.log)?))
    }

    /// For a terminal; nothing if there is nothing to show.
    pub(crate) fn text(&self) -> String {
        let Some((x_axis, y_axis)) = self.axes() else { return String::new() };
        let mut cells = vec![[' '; WIDTH]; HEIGHT];
        let column = |share: f64| (share * (WIDTH - 1) as f64).round() as usize;
        let row = |share: f64| ((1.0 - share) * (HEIGHT - 1) as f64).round() as usize;
        if let Some(x) = self.mark.as_ref().and_then(|mark| x_axis.at(mark.0)) {
            cells.iter_mut().for_each(|row| row[column(x)] = ':');
        }
        for (x, (low, high)) in self.series.iter().flat_map(Series::spread) {
            if let (Some(x), Some(low), Some(high)) =
                (x_axis.at(x), y_axis.at(low), y_axis.at(high))
            {
                cells[row(high)..=row(low)].iter_mut().for_each(|row| row[column(x)] = '|');
            }
        }
        for (i, series) in self.series.iter().enumerate() {
            let place = |&(x, y): &(f64, f64)| Some((x_axis.at(x)?, y_axis.at(y)?));
            let points: Vec<(f64, f64)> = series.points.iter().filter_map(place).collect();
            let next = points.iter().skip(1).chain(points.last());
            for (&(x, y), &(next_x, next_y)) in points.iter().zip(next) {
                // Every column up to the next point has its place on the line to it.
                for at in column(x)..=column(next_x) {
                    let way = (at - column(x)) as f64 / (column(next_x) - column(x)).max(1) as f64;
                    let y = y + (next_y - y) * way;
                    cells[row(y)][at] = SYMBOLS[i % SYMBOLS.len()];
                }
            }
        }
        let mut text = format!("  {} ({})\n", self.title, self.y_label);
        for (i, row) in cells.iter().enumerate() {
            let label = match i {
                0 => short(y_axis.to),
                _ if i == HEIGHT - 1 => short(y_axis.from),
                _ => String::new(),
            };
            let row: String = row.iter().collect();
            let _ = writeln!(text, "  {label:>8} |{}", row.trim_end());
        }
        let _ = writeln!(text, "  {:>8} +{}", "", "-".repeat(WIDTH));
        let (from, to) = (short(x_axis.from), short(x_axis.to));
        let ends = format!("{from}{to:>0$}", WIDTH - from.len());
        let _ = writeln!(text, "  {:>8}  {ends}  {}", "", self.x_label);
        for (i, series) in self.series.iter().enumerate() {
            let _ = writeln!(text, "  {:>8}  {} {}", "", SYMBOLS[i % SYMBOLS.len()], series.name);
        }
        if let Some((_, what)) = &self.mark {
            let _ = writeln!(text, "  {:>8}  : {what}", "");
        }
        text
    }

    /// As a picture that stands alone.
    pub(crate) fn svg(&self) -> String {
        let (width, height) = SIZE;
        let (left, top, right, bottom) = MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"{}\" y=\"20\" text-anchor=\"middle\" font-size=\"14\">{}</text>\n",
            width / 2.0,
            escaped(&self.title)
        );
        let Some((x_axis, y_axis)) = self.axes() else { return svg + "</svg>\n" };
        let x_of = |share: f64| left + share * (width - left - right);
        let y_of = |share: f64| height - bottom - share * (height - top - bottom);
        for (axis, is_x) in [(&x_axis, true), (&y_axis, false)] {
            for tick in axis.ticks() {
                let Some(share) = axis.at(tick) else { continue };
                let (x1, y1, x2, y2) = match is_x {
                    true => (x_of(share), y_of(0.0), x_of(share), y_of(1.0)),
                    false => (x_of(0.0), y_of(share), x_of(1.0), y_of(share)),
                };
                let (x, y, anchor) = match is_x {
                    true => (x1, y1 + 18.0, "middle"),
                    false => (x1 - 6.0, y1 + 4.0, "end"),
                };
                let _ = write!(
                    svg,
                    "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" \
                     stroke=\"#ddd\"/>\n<text x=\"{x:.1}\" y=\"{y:.1}\" \
                     text-anchor=\"{anchor}\">{}</text>\n",
                    short(tick)
                );
            }
        }
        self.svg_curves(&mut svg, &|x, y| Some((x_of(x_axis.at(x)?), y_of(y_axis.at(y)?))));
        if let Some((x, what)) = &self.mark
            && let Some(share) = x_axis.at(*x)
        {
            let x = x_of(share);
            let _ = write!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#555\" \
                 stroke-dasharray=\"4 3\"/>\n<text x=\"{x:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>\n",
                y_of(0.0),
                y_of(1.0),
                top - 4.0,
                escaped(what)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n<text x=\"16\" y=\"{}\" \
             text-anchor=\"middle\" transform=\"rotate(-90 16 {})\">{}</text>\n</svg>\n",
            width / 2.0,
            height - 12.0,
            escaped(self.x_label),
            height / 2.0,
            height / 2.0,
            escaped(self.y_label)
        );
        svg
    }

    fn svg_curves(&self, svg: &mut String, place: &dyn Fn(f64, f64) -> Option<(f64, f64)>) {
        for (i, series) in self.series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let points: Vec<String> = series
                .points
                .iter()
                .filter_map(|&(x, y)| place(x, y))
                .map(|(x, y)| format!("{x:.1},{y:.1}"))
                .collect();
            for (x, (low, high)) in series.spread() {
                if let (Some((x, y1)), Some((_, y2))) = (place(x, low), place(x, high)) {
                    let _ = writeln!(
                        svg,
                        "<line x1=\"{x:.1}\" y1=\"{y1:.1}\" x2=\"{x:.1}\" y2=\"{y2:.1}\" \
                         stroke=\"{colour}\" stroke-width=\"1.5\"/>"
                    );
                }
            }
            // A line needs two points.
            if let [(x, y)] = series.points[..]
                && let Some((x, y)) = place(x, y)
            {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>"
                );
            }
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
                 points=\"{}\"/>\n<text x=\"{}\" y=\"{}\" text-anchor=\"end\" \
                 fill=\"{colour}\">{}</text>\n",
                points.join(" "),
                SIZE.0 - MARGIN.2 - 8.0,
                MARGIN.1 + 16.0 * (i + 1) as f64,
                escaped(&series.name)
            );
        }
    }

    /// Writes the picture where `path` says, if it does.
    pub(crate) fn save(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        fs::write(path, self.svg()).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(log: bool, points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a < b".into(),
            x_label: "x",
            y_label: "y",
            series: vec![Series::new("line", points)],
            log,
            mark: None,
        }
    }

    #[test]
    fn a_falling_line_falls_in_the_terminal() {
        let text = chart(true, vec![(1.0, 1000.0), (10.0, 100.0), (100.0, 10.0)]).text();
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].starts_with("        1k |*"), "{text}");
        let last = rows[HEIGHT];
        assert!(last.starts_with("        10 |   ") && last.ends_with('*'), "{text}");
        assert_eq!(last.len(), "        10 |".len() + WIDTH);
        // Every column has its place on the line.
        let stars: usize = rows[1..=HEIGHT].iter().map(|row| row.matches('*').count()).sum();
        assert_eq!(stars, WIDTH);
        let ends = rows[HEIGHT + 2].trim();
        assert!(ends.starts_with('1') && ends.ends_with("100  x"), "{ends}");
        assert!(text.contains("* line"));
    }

    #[test]
    fn a_picture_names_its_curves_and_escapes_its_words() {
        let mut chart = chart(false, vec![(0.0, 1.0), (4.0, 3.0)]);
        chart.mark = Some((2.0, "here".into()));
        let svg = chart.svg();
        assert!(svg.starts_with("<svg xmlns") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b") && svg.contains(">line<") && svg.contains(">here<"));
        // From the left edge at 1 of 3 up to the right edge at the top.
        assert!(svg.contains("points=\"80.0,253.3 700.0,40.0\""), "{svg}");
    }

    #[test]
    fn a_single_point_is_seen_with_its_interval() {
        let mut chart = chart(false, vec![(10.0, 50.0)]);
        chart.series[0].intervals = vec![(25.0, 100.0)];
        let svg = chart.svg();
        assert!(svg.contains("<circle cx=\"390.0\" cy=\"200.0\""), "{svg}");
        assert!(svg.contains("y1=\"280.0\" x2=\"390.0\" y2=\"40.0\""), "{svg}");
        let text = chart.text();
        let cells = || text.lines().filter_map(|row| row.split_once(" |"));
        let drawn = |symbol: char| cells().filter(|row| row.1.contains(symbol)).count();
        assert!(drawn('|') >= 10 && drawn('*') >= 1, "{text}");
    }

    #[test]
    fn nothing_to_show_is_an_empty_picture() {
        assert_eq!(chart(true, vec![(1.0, 0.0)]).text(), "");
        assert!(chart(true, Vec::new()).svg().contains("</svg>"));
        assert!(!chart(true, vec![(1.0, 1.0)]).text().is_empty());
    }

    #[test]
    fn numbers_on_axes_are_short() {
        for (value, text) in [(1e4, "10k"), (2.5, "2.50"), (0.001, "1e-3"), (3e6, "3M"), (0.0, "0")]
        {
            assert_eq!(short(value), text);
        }
    }
}
