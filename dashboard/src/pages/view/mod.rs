//! What pages are made of.

mod buttons;
mod chart;
mod links;
mod moments;
mod shell;
mod words;

pub(super) use crate::amounts::{bytes, number, per_second, seconds};
pub(super) use buttons::Style;
pub(super) use chart::{hour, spark};
pub(super) use links::Place;
pub(super) use moments::moment;
pub(super) use shell::{Section, View};
pub(super) use words::{STATES, badge, pairs, state_badge};
