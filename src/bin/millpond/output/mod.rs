//! What the program prints: tables for people, JSON for programs, and how far long work is.

mod fields;
mod progress;
mod screen;
mod table;
mod words;

pub use fields::Fields;
pub use progress::Progress;
pub use screen::{is_coloured, json, line};
pub use table::Table;
pub use words::{age, count, cut, moment, seconds};
