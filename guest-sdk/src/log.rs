//! Lines for the operator: [`info!`](crate::info) and its siblings, or [`log`](log()).

use std::fmt::Display;

/// How much the operator should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Every step.
    Trace,
    /// For who looks for a mistake.
    Debug,
    /// What happens normally.
    Info,
    /// What should not happen, but harms nothing yet.
    Warn,
    /// What went wrong.
    Error,
    /// The handler itself is broken; a panic is logged so.
    Critical,
}

/// Writes one line to the host's log, and keeps it with the attempt, however the attempt ends: the latest 16 KiB of lines of each
/// attempt, and those of the job's latest 5 attempts. It never fails: what is over the host's limits is dropped, and counted.
///
/// ```
/// use millpond_guest::log::{Level, log};
///
/// log(Level::Info, "resized");
/// ```
pub fn log(level: Level, line: impl Display) {
    crate::host::log(level, &line.to_string());
}

/// Logs a line at [`Level::Trace`], with the arguments of `format!`.
#[macro_export]
macro_rules! trace {
    ($($argument:tt)+) => { $crate::log::log($crate::log::Level::Trace, ::core::format_args!($($argument)+)) };
}

/// Logs a line at [`Level::Debug`], with the arguments of `format!`.
#[macro_export]
macro_rules! debug {
    ($($argument:tt)+) => { $crate::log::log($crate::log::Level::Debug, ::core::format_args!($($argument)+)) };
}

/// Logs a line at [`Level::Info`], with the arguments of `format!`.
///
/// ```
/// let pixels = 64;
/// millpond_guest::info!("resized to {pixels} x {pixels}");
/// ```
#[macro_export]
macro_rules! info {
    ($($argument:tt)+) => { $crate::log::log($crate::log::Level::Info, ::core::format_args!($($argument)+)) };
}

/// Logs a line at [`Level::Warn`], with the arguments of `format!`.
#[macro_export]
macro_rules! warn {
    ($($argument:tt)+) => { $crate::log::log($crate::log::Level::Warn, ::core::format_args!($($argument)+)) };
}

/// Logs a line at [`Level::Error`], with the arguments of `format!`.
#[macro_export]
macro_rules! error {
    ($($argument:tt)+) => { $crate::log::log($crate::log::Level::Error, ::core::format_args!($($argument)+)) };
}
