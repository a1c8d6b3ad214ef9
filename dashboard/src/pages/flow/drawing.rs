//! A flow as a drawing, which needs no script.

use std::collections::HashMap;

use maud::{Markup, html};

use super::layout::{BOX_HEIGHT, BOX_WIDTH, Point, layout};
use super::nodes::{about, state_words};
use crate::api::{FlowDetail, FlowNode, OnFailure};
use crate::pages::view::{Place, View};

/// A flow with more jobs and signals than this is not drawn: nobody could read it.
const NODES_MAX: usize = 200;
const EDGES_MAX: usize = 1_000;

/// How many columns of a terminal the text of a box would take, at most.
const TEXT_WIDTH_MAX: usize = 22;

/// The drawing, or a sentence in its place.
pub fn drawing(view: &View<'_>, flow: &FlowDetail) -> Markup {
    if flow.nodes.is_empty() {
        return html! { p.empty { "No jobs." } };
    }
    if flow.is_partial || flow.nodes.len() > NODES_MAX || flow.edges.len() > EDGES_MAX {
        return html! {
            p.empty { "This flow is too large to be drawn here: other programs draw the DOT file. The table below has its jobs." }
        };
    }
    let number_of: HashMap<&str, usize> =
        flow.nodes.iter().enumerate().map(|(number, node)| (node.id.as_str(), number)).collect();
    let edges = flow.edges.iter().filter_map(|edge| {
        let ends = (*number_of.get(edge.from.as_str())?, *number_of.get(edge.to.as_str())?);
        Some((ends, edge.on_failure))
    });
    let (ends, policies): (Vec<_>, Vec<_>) = edges.unzip();
    let callbacks: Vec<_> = (0..flow.nodes.len()).filter(|number| flow.nodes[*number].is_callback).collect();
    let made = layout(flow.nodes.len(), &ends, &callbacks);
    html! {
        svg.flow width=(made.width) height=(made.height) viewBox={ "0 0 " (made.width) " " (made.height) }
            role="group" aria-label="What waits for what" {
            defs {
                marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" {
                    path.tip d="M0 0 8 4 0 8z" {}
                }
            }
            @for (((from, to), policy), line) in ends.iter().zip(&policies).zip(&made.lines) {
                path class={ "edge " (class(*policy)) } d=(curve(line)) marker-end="url(#arrow)" {
                    title { (flow.nodes[*to].label()) " waits for " (flow.nodes[*from].label()) (words(*policy)) }
                }
            }
            @for (node, corner) in flow.nodes.iter().zip(&made.corners) { (shown(view, node, *corner)) }
        }
    }
}

fn shown(view: &View<'_>, node: &FlowNode, corner: Point) -> Markup {
    let class = format!("node {}", if node.failed > 0 { "held" } else { state_class(&node.state) });
    let content = html! {
        title { (about(node)) }
        @if node.is_signal() {
            polygon.shape points=(hexagon(corner)) {}
        } @else {
            rect.shape x=(corner.x) y=(corner.y) width=(BOX_WIDTH) height=(BOX_HEIGHT)
                rx=(if node.is_callback { BOX_HEIGHT / 2 } else { 6 }) {}
        }
        text x=(corner.x + BOX_WIDTH / 2) y=(corner.y + 19) { (short(&node.label())) }
        text.state x=(corner.x + BOX_WIDTH / 2) y=(corner.y + 36) { (mark(&node.state)) " " (short(&state_words(node))) }
    };
    html! {
        @if node.is_signal() {
            g class=(class) { (content) }
        } @else {
            a class=(class) href=(view.link(Place::Job(&node.id))) { (content) }
        }
    }
}

/// The states for which the style has a border.
const STATES: [&str; 5] = ["blocked", "active", "completed", "dead", "cancelled"];

fn state_class(state: &str) -> &'static str {
    STATES.into_iter().find(|known| *known == state).unwrap_or("other")
}

/// A sign for those who do not see colours.
fn mark(state: &str) -> &'static str {
    match state {
        "blocked" => "◌",
        "active" => "●",
        "completed" => "✓",
        "dead" => "✕",
        "cancelled" => "–",
        _ => "",
    }
}

fn class(policy: OnFailure) -> &'static str {
    match policy {
        OnFailure::Hold => "hold",
        OnFailure::Cancel => "cancel",
        OnFailure::Run => "run",
    }
}

/// What becomes of a job when another one fails for which it waits. Nothing for what is so by default.
pub fn words(policy: OnFailure) -> &'static str {
    match policy {
        OnFailure::Hold => "",
        OnFailure::Cancel => ", or is cancelled",
        OnFailure::Run => ", or runs if that fails",
    }
}

/// The line through these points, as a path: a curve from column to column, and straight across them.
fn curve(line: &[Point]) -> String {
    use std::fmt::Write;
    let mut path = format!("M{} {}", line[0].x, line[0].y);
    for (at, ends) in line.windows(2).enumerate() {
        let [from, to] = [ends[0], ends[1]];
        let _ = if at % 2 == 0 {
            let middle = (from.x + to.x) / 2;
            write!(path, "C{middle} {} {middle} {} {} {}", from.y, to.y, to.x, to.y)
        } else {
            write!(path, "H{}", to.x)
        };
    }
    path
}

/// The corners of the box of a signal.
fn hexagon(Point { x, y }: Point) -> String {
    let (right, bottom, middle, slope) = (x + BOX_WIDTH, y + BOX_HEIGHT, y + BOX_HEIGHT / 2, 14);
    let (left_in, right_in) = (x + slope, right - slope);
    format!("{x},{middle} {left_in},{y} {right_in},{y} {right},{middle} {right_in},{bottom} {left_in},{bottom}")
}

/// A text that fits into a box. Letters of East Asian scripts take two columns.
fn short(text: &str) -> String {
    let (mut shown, mut width) = (String::new(), 0);
    for letter in text.chars() {
        width += if letter >= '\u{1100}' { 2 } else { 1 };
        if width > TEXT_WIDTH_MAX {
            shown.push('…');
            break;
        }
        shown.push(letter);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short("charge"), "charge");
        assert_eq!(short(&"x".repeat(30)), format!("{}…", "x".repeat(TEXT_WIDTH_MAX)));
        assert_eq!(short(&"注".repeat(30)), format!("{}…", "注".repeat(TEXT_WIDTH_MAX / 2)));
    }

    #[test]
    fn a_line_is_curved_between_columns_and_straight_across_them() {
        let point = |x, y| Point { x, y };
        let line = [point(0, 5), point(10, 9), point(20, 9), point(30, 5)];
        assert_eq!(curve(&line), "M0 5C5 5 5 9 10 9H20C25 9 25 5 30 5");
    }
}
