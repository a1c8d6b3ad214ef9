//! Draws panels over one logarithmic axis, as SVG. A plotting crate would need four or more further crates in every build
//! of the tests; this file has everything that is needed here.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 64.0;
/// The distance from one panel to the next, and the height of the plot itself.
const PANEL: f64 = 190.0;
const PLOT: f64 = 140.0;
const FOOT: f64 = 62.0;

/// If the largest figure exceeds the smallest by more than this factor, a panel is logarithmic too.
const LINEAR_UP_TO: f64 = 20.0;

pub struct Sheet<'a> {
    pub title: &'a str,
    pub subtitle: &'a str,
    pub foot: &'a str,
    pub x_label: &'a str,
    pub x_is_bytes: bool,
    pub xs: Vec<f64>,
}

pub struct Panel {
    pub title: &'static str,
    pub color: &'static str,
    pub ys: Vec<f64>,
}

/// Maps figures to the height within a plot, 0 to 1.
enum Height {
    Linear { max: f64 },
    Logarithmic { min: f64, max: f64 },
}

impl Height {
    fn of(ys: &[f64]) -> (Self, Vec<f64>) {
        let max = ys.iter().copied().fold(f64::MIN, f64::max).max(1e-9);
        let min = ys.iter().copied().fold(f64::MAX, f64::min).max(max / 1e9);
        if max / min > LINEAR_UP_TO {
            let (first, last) = (min.log10().floor() as i32, max.log10().ceil() as i32);
            let ticks = (first..=last).map(|power| 10f64.powi(power)).collect();
            return (Self::Logarithmic { min: 10f64.powi(first), max: 10f64.powi(last) }, ticks);
        }
        let step = nice(max * 1.1 / 4.0);
        let steps = (max * 1.1 / step).ceil();
        let ticks = (0..=steps as u32).map(|n| f64::from(n) * step).collect();
        (Self::Linear { max: steps * step }, ticks)
    }

    fn at(&self, y: f64) -> f64 {
        match self {
            Self::Linear { max } => y / max,
            Self::Logarithmic { min, max } => (y.max(*min) / min).ln() / (max / min).ln(),
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|n| n * power).find(|n| *n >= step).unwrap_or(10.0 * power)
}

impl Sheet<'_> {
    pub fn render(&self, panels: &[Panel]) -> String {
        let height = TOP + PANEL * panels.len() as f64 + FOOT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
             <title>{}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\" stroke=\"#d0d7de\"/>\n",
            escape(self.title),
        );
        text(&mut svg, (20.0, 26.0), "font-size=\"17\" font-weight=\"600\"", self.title);
        text(&mut svg, (20.0, 45.0), "fill=\"#57606a\"", self.subtitle);
        for (n, panel) in panels.iter().enumerate() {
            self.panel(&mut svg, TOP + PANEL * n as f64, panel);
        }
        let below = height - FOOT;
        text(&mut svg, ((LEFT + WIDTH - RIGHT) / 2.0, below + 16.0), "text-anchor=\"middle\"", self.x_label);
        text(&mut svg, (20.0, height - 16.0), "font-size=\"11\" fill=\"#57606a\"", self.foot);
        svg + "</svg>\n"
    }

    fn x(&self, x: f64) -> f64 {
        let (first, last) = (self.xs[0], self.xs[self.xs.len() - 1]);
        // A single point is in the middle.
        let along = if last > first { (x / first).ln() / (last / first).ln() } else { 0.5 };
        LEFT + 24.0 + along * (WIDTH - LEFT - RIGHT - 48.0)
    }

    fn panel(&self, svg: &mut String, top: f64, panel: &Panel) {
        let (height, ticks) = Height::of(&panel.ys);
        let (upper, bottom) = (top + 28.0, top + 28.0 + PLOT);
        let scale = if matches!(height, Height::Linear { .. }) { "" } else { " (logarithmic)" };
        let title = format!("{}{scale}", panel.title);
        text(svg, (LEFT, top + 16.0), &format!("font-weight=\"600\" fill=\"{}\"", panel.color), &title);
        for tick in ticks {
            let y = bottom - height.at(tick) * PLOT;
            line(svg, (LEFT, y), (WIDTH - RIGHT, y), "#e1e4e8");
            text(svg, (LEFT - 8.0, y + 4.0), "text-anchor=\"end\"", &short(tick, false));
        }
        for &x in &self.xs {
            line(svg, (self.x(x), upper), (self.x(x), bottom), "#e1e4e8");
            text(svg, (self.x(x), bottom + 16.0), "text-anchor=\"middle\"", &short(x, self.x_is_bytes));
        }
        line(svg, (LEFT, bottom), (WIDTH - RIGHT, bottom), "#57606a");
        let points: Vec<(f64, f64)> =
            self.xs.iter().zip(&panel.ys).map(|(&x, &y)| (self.x(x), bottom - height.at(y) * PLOT)).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let color = panel.color;
        let drawn = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        drawn.expect("a string can be written to");
        for (&(x, y), &value) in points.iter().zip(&panel.ys) {
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>")
                .expect("a string can be written to");
            // The label is above its point, or below it where the plot ends.
            let label = if y - 9.0 < upper + 8.0 { y + 19.0 } else { y - 9.0 };
            // An outline in the background colour keeps it readable over the curve.
            let style =
                "text-anchor=\"middle\" font-size=\"11\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\"";
            text(svg, (x, label), style, &short(value, false));
        }
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escape(text))
        .expect("a string can be written to");
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), color: &str) {
    writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{color}\"/>")
        .expect("a string can be written to");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Formats a number with about three digits.
pub fn short(value: f64, is_bytes: bool) -> String {
    let (step, units) = if is_bytes { (1024.0, [" B", " KiB", " MiB"]) } else { (1000.0, ["", "k", "M"]) };
    // 999.6 would become "1000".
    let unit = if value >= step * step * 0.9995 { 2 } else { usize::from(value >= step * 0.9995) };
    let scaled = value / f64::powi(step, unit as i32);
    let digits = if scaled >= 100.0 {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    let number = format!("{scaled:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", units[unit])
}
