//! The part of WASI that guests in C, JavaScript and Python need: what they print is logged ([`streams`], [`speak`], [`spoken`]).
//!
//! Each import is linked by its own type ([`linked`]), so a guest can be built for any patch version of WASI 0.2. There
//! are no arguments, no environment variables and no files ([`process`]), and standard input is empty. Clocks and
//! random numbers are those of the contract ([`clocks`], [`random`]). All other functions are denied ([`denied`]).

mod clocks;
mod denied;
mod linked;
mod process;
mod random;
mod speak;
mod spoken;
mod streams;

pub(super) use linked::add_to;
pub(super) use spoken::Spoken;
