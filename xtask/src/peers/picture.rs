//! docs/peers.svg: bars in pairs, ruminate beside llama.cpp.

use std::fmt::Write as _;

use super::page::number;
use super::speed::{Measured, Row};

const WIDTH: f64 = 820.0;
/// Where bars begin, and how long the longest of a row is.
const LEFT: f64 = 270.0;
const LONGEST: f64 = 380.0;
const BAR: f64 = 11.0;
const ROW: f64 = 32.0;
const TITLE: f64 = 30.0;
const TOP: f64 = 46.0;

/// Colours that people who do not see red from green tell apart (Okabe and Ito), on light and dark.
const STYLE: &str = "\
text{font:12px sans-serif;fill:#24292f}\
.title{font-weight:bold;font-size:13px}\
.ground{fill:#ffffff}\
.ours{fill:#0072b2}\
.theirs{fill:#e69f00}\
.better{font-weight:bold}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.ground{fill:#0d1117}.ours{fill:#56b4e9}.theirs{fill:#e69f00}}";

/// Bars of a row are as long as its figures are to each other: rows have units of their own.
pub(super) fn draw(measured: &[Measured]) -> String {
    let n_rows: usize = measured.iter().map(|measured| measured.rows.len()).sum();
    let height = TOP + TITLE * measured.len() as f64 + ROW * n_rows as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         role=\"img\" aria-label=\"ruminate beside llama.cpp\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <rect class=\"ours\" x=\"{LEFT}\" y=\"14\" width=\"12\" height=\"12\"/>\n\
         <text x=\"{}\" y=\"25\">ruminate</text>\n\
         <rect class=\"theirs\" x=\"{}\" y=\"14\" width=\"12\" height=\"12\"/>\n\
         <text x=\"{}\" y=\"25\">llama.cpp</text>\n\
         <text x=\"{}\" y=\"25\">longer is more tok/s; of seconds and bytes, shorter is better\
         </text>\n",
        LEFT + 18.0,
        LEFT + 90.0,
        LEFT + 108.0,
        LEFT + 180.0,
    );
    let mut y = TOP;
    for measured in measured {
        let title = escaped(measured.model.title);
        let _ = writeln!(svg, "<text class=\"title\" x=\"10\" y=\"{}\">{title}</text>", y + 18.0);
        y += TITLE;
        for row in &measured.rows {
            pair(&mut svg, row, y);
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

fn pair(svg: &mut String, row: &Row, y: f64) {
    let title = escaped(&row.title.replace('`', ""));
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{title}</text>",
        LEFT - 10.0,
        y + BAR + 4.0
    );
    let longest = row.ours.median.max(row.theirs.median);
    for (i, (figure, class)) in [(row.ours, "ours"), (row.theirs, "theirs")].iter().enumerate() {
        let (y, width) = (y + i as f64 * (BAR + 1.0), LONGEST * figure.median / longest);
        let mut label = format!("{} {}", number(figure.median, row.unit), row.unit.name());
        if i == 0 {
            let _ = write!(label, ", {:.2}×", row.gain());
        }
        let better = if (row.gain() >= 1.0) == (i == 0) { " class=\"better\"" } else { "" };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" \
             height=\"{BAR}\"/>\n<text{better} x=\"{:.1}\" y=\"{:.0}\">{label}</text>\n",
            LEFT + width + 6.0,
            y + BAR - 1.0
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::super::models::MODELS;
    use super::super::speed::{Figure, Unit};
    use super::*;

    #[test]
    fn the_longer_bar_fills_its_row_and_the_better_one_is_bold() {
        let figure = |median| Figure { median, min: median, max: median };
        let row = Row {
            title: "file to first token".into(),
            unit: Unit::Seconds,
            ours: figure(1.0),
            theirs: figure(2.0),
            roof: None,
            flash: None,
        };
        let measured = Measured {
            model: &MODELS[0],
            file_bytes: 0,
            buffers: Vec::new(),
            roofs: String::new(),
            rows: vec![row],
        };
        let svg = draw(&[measured]);
        assert!(svg.contains("class=\"ours\" x=\"270\" y=\"76\" width=\"190.0\""), "{svg}");
        assert!(svg.contains("class=\"theirs\" x=\"270\" y=\"88\" width=\"380.0\""), "{svg}");
        assert!(svg.contains("<text class=\"better\" x=\"466.0\" y=\"86\">1.00 s, 2.00×"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
    }
}
