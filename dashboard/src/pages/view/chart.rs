//! The last hour as a drawing.

use maud::{Markup, html};

use crate::api::{History, Point};

const MINUTES: usize = 60;

/// A small drawing for a table.
pub fn spark(history: &History) -> Markup {
    drawing(history, "spark", 2, 24)
}

/// A large drawing with its scale.
pub fn hour(history: &History) -> Markup {
    let most = most(history);
    html! {
        figure.hour {
            figcaption {
                span.legend.enqueued { "enqueued" } span.legend.completed { "completed" } span.legend.failed { "failed" }
                span.scale { "last hour · at most " (super::number(most)) " a minute" }
            }
            (drawing(history, "bars", 10, 96))
        }
    }
}

/// The tallest bar.
fn most(history: &History) -> u64 {
    history.points.iter().map(|point| point.enqueued.max(point.completed + point.failed)).max().unwrap_or(0)
}

/// A bar for each minute: completed with failed on top, and a line at the height of what was enqueued.
fn drawing(history: &History, class: &str, step: usize, height: usize) -> Markup {
    let points = &history.points[history.points.len().saturating_sub(MINUTES)..];
    let most = most(history).max(1) as f64;
    let tall = |count: u64| (count as f64 / most * (height - 2) as f64).round();
    let sum = |of: fn(&Point) -> u64| points.iter().map(of).sum::<u64>();
    let label = format!(
        "last hour: {} enqueued, {} completed, {} failed",
        sum(|point| point.enqueued),
        sum(|point| point.completed),
        sum(|point| point.failed)
    );
    let first = MINUTES - points.len();
    let bar = step - step.div_ceil(5);
    html! {
        svg class=(class) role="img" aria-label=(label) viewBox={ "0 0 " (MINUTES * step) " " (height) } preserveAspectRatio="none" {
            @for (at, point) in points.iter().enumerate() {
                @let x = (first + at) * step;
                @let (done, failed) = (tall(point.completed), tall(point.failed));
                @if done > 0.0 {
                    rect.completed x=(x) y=(height as f64 - done) width=(bar) height=(done) {}
                }
                @if failed > 0.0 {
                    rect.failed x=(x) y=(height as f64 - done - failed) width=(bar) height=(failed) {}
                }
                @if point.enqueued > 0 {
                    rect.enqueued x=(x) y=(height as f64 - tall(point.enqueued) - 1.0) width=(bar) height="1.5" {}
                }
            }
            line.floor x1="0" x2=(MINUTES * step) y1=(height) y2=(height) {}
        }
    }
}
