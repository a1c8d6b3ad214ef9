//! The program `millpond`, as a person at a terminal has it.

mod build;
mod check;
mod new;
mod run;
mod shown;
mod tool;
