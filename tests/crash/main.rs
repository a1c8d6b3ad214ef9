//! Power cuts: the operations on a simulated disk are recorded once, and the power is cut everywhere.
//!
//! The engine runs a seeded [`workload`] on one thread, on a disk that keeps a log ([`record`]). At every
//! moment of that log the power is cut in all ways ([`cut`]): the file must then be, byte for byte, what it
//! was after some commit that may have begun and whose successor nobody has observed, and the engine must run
//! the remaining jobs to their end ([`recovery`]). [`mutants`] shows that this finds faults. In [`faults`] the
//! disk fails instead, and in [`outside`] it does things that no file format can prevent.

// Tests run with the newest stable Rust.
#![allow(clippy::incompatible_msrv)]

mod bare_redb;
mod cut;
mod engine;
mod faults;
#[path = "../support/made.rs"]
mod made;
mod mutants;
mod observations;
mod outside;
mod power;
mod raw;
mod record;
mod recovery;
mod streams;
mod topics;
mod workload;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Prints nothing for the panics that the workload asked for, nor for those of the storage engine: the tests
/// catch and judge them.
fn be_quiet_about_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let on_purpose = info.payload_as_str().is_some_and(|text| text.contains(millpond_testkit::ON_PURPOSE));
            let of_redb = info.location().is_some_and(|place| place.file().contains("/redb-"));
            if !on_purpose && !of_redb {
                before(info);
            }
        }));
    });
}
