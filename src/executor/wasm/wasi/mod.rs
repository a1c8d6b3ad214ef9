//! The little of WASI that guests in C, JavaScript and Python want: what they print is logged, and nothing else is there.
//!
//! Each import is linked by its own type ([`linked`]), so whatever version of WASI 0.2 a tool was made with does. There
//! are no arguments, no environment, no files, nothing to read ([`process`]); clocks and random numbers are those of the
//! contract ([`clocks`], [`random`]). What has no answer is refused ([`denied`]).

mod clocks;
mod denied;
mod linked;
mod process;
mod random;
mod spoken;
mod streams;

pub(super) use linked::add_to;
pub(super) use spoken::Spoken;
