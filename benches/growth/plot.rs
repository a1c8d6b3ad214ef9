//! The plot of an axis: what a job costs, in three panels one above the other.

use crate::axis::Axis;
use crate::measured::Measured;
use crate::svg::{Panel, Sheet};

type Curve = (&'static str, &'static str, fn(&Measured) -> f64);

/// Title, colour, figure. The colours differ in lightness too.
const CURVES: [Curve; 3] = [
    ("jobs per second", "#0b5cad", Measured::jobs_per_second),
    ("processor time per job, µs", "#a8460f", Measured::cpu_micros_per_job),
    ("peak memory of the process, MiB", "#2c7a4b", Measured::peak_mib),
];

pub fn plot(axis: &Axis, measured: &[Measured], made: &str) -> String {
    let xs: Vec<f64> = axis.points.iter().map(|(value, _)| *value as f64).collect();
    let panels = CURVES.map(|(title, color, figure)| Panel { title, color, ys: measured.iter().map(figure).collect() });
    let label = format!("{} (logarithmic)", axis.label);
    Sheet { title: axis.title, subtitle: &axis.base, foot: made, x_label: &label, x_is_bytes: axis.is_bytes, xs }
        .render(&panels)
}
