//! Ratios as a picture: a line from the least to the most, a dot at the median, a mark at the bar.

use std::fmt::Write as _;

use super::verdict::{Finding, Verdict};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 26.0;
const TOP: f64 = 56.0;

/// An SVG of all findings, each with its name.
pub(crate) fn svg(title: &str, findings: &[(String, Finding)]) -> String {
    let most = findings.iter().map(|(_, finding)| finding.ratio.max.max(finding.bar.unwrap_or(0.0)));
    let most = most.filter(|ratio| ratio.is_finite()).fold(1.5, f64::max) * 1.05;
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - RIGHT) * (ratio / most).clamp(0.0, 1.0);
    let height = TOP + ROW * findings.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    let step = if most > 6.0 {
        2.0
    } else if most > 3.0 {
        1.0
    } else {
        0.5
    };
    let mut tick = 0.0;
    while tick <= most {
        let (at, bottom) = (x(tick), height - 16.0);
        let colour = if (tick - 1.0).abs() < 1e-9 { "#444" } else { "#ddd" };
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{bottom:.1}\" stroke=\"{colour}\"/>",
            TOP - 8.0
        );
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#666\">{tick}</text>",
            TOP - 12.0
        );
        tick += step;
    }
    for (row, (name, finding)) in findings.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        let ratio = finding.ratio;
        let colour = match finding.verdict {
            Verdict::Fails => "#c0392b",
            Verdict::Refused(_) => "#999",
            Verdict::Holds | Verdict::Measured => "#1f6fb2",
        };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 10.0,
            y + 4.0,
            escaped(name)
        );
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"3\"/>",
            x(ratio.min),
            x(ratio.max)
        );
        let _ =
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{colour}\"/>", x(ratio.median));
        if let Some(bar) = finding.bar {
            let at = x(bar);
            let _ = writeln!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#e67e22\" stroke-width=\"2\"/>",
                y - 9.0,
                y + 9.0
            );
        }
        let words = match &finding.verdict {
            Verdict::Refused(_) => "no verdict".to_owned(),
            verdict => verdict.words(),
        };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{:.2} {words}</text>",
            WIDTH - RIGHT + 12.0,
            y + 4.0,
            ratio.median
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Pair, judge};
    use super::*;

    #[test]
    fn each_finding_is_a_row_and_text_is_escaped() {
        let pairs = [Pair { ours: 3.0, reference: 2.0, client: 0.1 }];
        let rows = vec![
            ("V5 a<b".to_owned(), judge(&pairs, Some(1.2)).unwrap()),
            ("F4".to_owned(), judge(&pairs, None).unwrap()),
        ];
        let svg = svg("ours & r0", &rows);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert_eq!(svg.matches("#e67e22").count(), 1);
        assert!(svg.contains("ours &amp; r0") && svg.contains("V5 a&lt;b") && svg.contains("1.50 FAILS"));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    }
}
