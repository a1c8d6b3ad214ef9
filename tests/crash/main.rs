//! Power cuts: what is done to a simulated disk is recorded once and crashed everywhere.
//!
//! The engine runs a seeded [`workload`] on one thread, on a disk that keeps a record ([`record`]). At
//! every moment of it the power is cut in all the ways there are ([`cut`]): the file is then, byte for
//! byte, what it was after some commit that may have begun and whose successor nobody has heard of, and
//! the engine runs what is left to its end ([`recovery`]). [`mutants`] shows that this would find something.
//! In [`faults`] the disk fails instead, in [`outside`] it does what no file can be safe from.

// Tests run with the newest stable Rust.
#![allow(clippy::incompatible_msrv)]

mod bare_redb;
mod book;
mod cut;
mod engine;
mod faults;
mod mutants;
mod outside;
mod power;
mod raw;
mod record;
mod recovery;
mod workload;

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Panics that the workload asked for are no news, nor are those of the storage engine: they are caught
/// and judged.
fn be_quiet_about_panics_on_purpose() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let on_purpose = info.payload_as_str().is_some_and(|text| text.contains(workload::ON_PURPOSE));
            let of_redb = info.location().is_some_and(|place| place.file().contains("/redb-"));
            if !on_purpose && !of_redb {
                before(info);
            }
        }));
    });
}
