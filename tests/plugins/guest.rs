//! Guests written as text: small, built without a toolchain, and hostile where a test needs it.
#![allow(dead_code)]

use millpond::Plugin;
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// Everything that a guest is allowed to import, as core functions.
const IMPORTS: [(&str, &str); 23] = [
    ("$log", r#"(import "millpond:jobs/log@0.1.0" "log" (func $log (param i32 i32 i32)))"#),
    ("$number", r#"(import "millpond:jobs/attempt@0.1.0" "get-number" (func $number (result i32)))"#),
    ("$max_number", r#"(import "millpond:jobs/attempt@0.1.0" "get-max-number" (func $max_number (result i32)))"#),
    ("$job_id", r#"(import "millpond:jobs/attempt@0.1.0" "get-job-id" (func $job_id (param i32)))"#),
    ("$is_cancelled", r#"(import "millpond:jobs/attempt@0.1.0" "is-cancelled" (func $is_cancelled (result i32)))"#),
    ("$time_left", r#"(import "millpond:jobs/attempt@0.1.0" "get-time-left" (func $time_left (result i64)))"#),
    ("$config", r#"(import "millpond:jobs/config@0.1.0" "get" (func $config (param i32 i32 i32)))"#),
    ("$get", r#"(import "millpond:jobs/state@0.1.0" "get" (func $get (param i32 i32 i32)))"#),
    ("$set", r#"(import "millpond:jobs/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#),
    ("$delete", r#"(import "millpond:jobs/state@0.1.0" "delete" (func $delete (param i32 i32 i32)))"#),
    ("$increment", r#"(import "millpond:jobs/state@0.1.0" "increment" (func $increment (param i32 i32 i64 i32)))"#),
    (
        "$new_job",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[constructor]new-job" (func $new_job (param i32 i32 i32 i32) (result i32)))"#,
    ),
    (
        "$set_queue",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-queue" (func $set_queue (param i32 i32 i32)))"#,
    ),
    (
        "$set_delay",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-delay" (func $set_delay (param i32 i64)))"#,
    ),
    (
        "$set_priority",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-priority" (func $set_priority (param i32 i32)))"#,
    ),
    (
        "$set_max_attempts",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-max-attempts" (func $set_max_attempts (param i32 i32)))"#,
    ),
    (
        "$set_group",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-group" (func $set_group (param i32 i32 i32)))"#,
    ),
    (
        "$set_unique_key",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-unique-key" (func $set_unique_key (param i32 i32 i32)))"#,
    ),
    (
        "$set_unique_replace",
        r#"(import "millpond:jobs/enqueue@0.1.0" "[method]new-job.set-unique-replace" (func $set_unique_replace (param i32)))"#,
    ),
    ("$enqueue", r#"(import "millpond:jobs/enqueue@0.1.0" "enqueue" (func $enqueue (param i32 i32)))"#),
    ("$now", r#"(import "millpond:jobs/clock@0.1.0" "now" (func $now (param i32)))"#),
    (
        "$send",
        r#"(import "millpond:jobs/outbound-http@0.1.0" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32)))"#,
    ),
    ("$random", r#"(import "millpond:jobs/random@0.1.0" "get-random-u64" (func $random (result i64)))"#),
];

/// The beginning of each guest: an allocator, and one function for each outcome. Outcomes are written at the address
/// 512; the guest can use 1024 to 65536.
const PRELUDE: &str = r#"
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (func $realloc (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
        (local $at i32)
        (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
        (global.set $top (i32.add (local.get $at) (local.get $size)))
        (block $fits (loop $more
            (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
            (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
            (br $more)))
        (local.get $at))
    (func $ok (param $at i32) (param $len i32) (result i32)
        (i32.store8 (i32.const 512) (i32.const 0))
        (i32.store (i32.const 520) (local.get $at))
        (i32.store (i32.const 524) (local.get $len))
        (i32.const 512))
    (func $err (param $case i32) (param $at i32) (param $len i32)
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 520) (local.get $case))
        (i32.store (i32.const 528) (local.get $at))
        (i32.store (i32.const 532) (local.get $len)))
    (func $retry (param $at i32) (param $len i32) (result i32)
        (call $err (i32.const 0) (local.get $at) (local.get $len))
        (i32.store8 (i32.const 536) (i32.const 0))
        (i32.const 512))
    (func $retry_after (param $at i32) (param $len i32) (param $delay i64) (result i32)
        (call $err (i32.const 0) (local.get $at) (local.get $len))
        (i32.store8 (i32.const 536) (i32.const 1))
        (i64.store (i32.const 544) (local.get $delay))
        (i32.const 512))
    (func $cancel (param $at i32) (param $len i32) (result i32)
        (call $err (i32.const 1) (local.get $at) (local.get $len))
        (i32.const 512))
    (func $dead_letter (param $at i32) (param $len i32) (result i32)
        (call $err (i32.const 2) (local.get $at) (local.get $len))
        (i32.const 512))
    (func $snooze (param $delay i64) (result i32)
        (call $err (i32.const 3) (i32.const 0) (i32.const 0))
        (i64.store (i32.const 528) (local.get $delay))
        (i32.const 512))
"#;

/// A core module whose `handle` runs `body`, with the payload of `$n` bytes at `$p`. `more` is added to the module.
pub fn module_with(body: &str, more: &str) -> Vec<u8> {
    let code = [more, body].concat();
    let names = |name: &str| {
        let ends = |at: usize| !code[at + name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        code.match_indices(name).any(|(at, _)| ends(at))
    };
    let imports: Vec<&str> = IMPORTS.into_iter().filter(|(name, _)| names(name)).map(|(_, import)| import).collect();
    let text = format!(
        r#"(module {} {PRELUDE} {more}
            (func (export "millpond:jobs/handler@0.1.0#handle") (param $p i32) (param $n i32) (result i32)
                (local $i i32) (local $j i64)
                {body}))"#,
        imports.join("\n")
    );
    current(&text)
}

/// The version of the contract, from its first line of code.
pub fn version() -> &'static str {
    let wit = include_str!("../../wit/jobs.wit");
    let (_, rest) = wit.split_once("package millpond:jobs@").expect("a package");
    rest.split_once(';').expect("a semicolon").0
}

/// A module of the current version of the contract. The texts of modules name the first version, whatever the current one is.
pub fn current(text: &str) -> Vec<u8> {
    let text = text.replace("@0.1.0", &format!("@{}", version()));
    let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    embed(&mut module, "job-handler");
    module
}

/// Adds the section that describes the interfaces of a module.
pub fn embed(module: &mut Vec<u8>, world: &str) {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
}

pub fn module(body: &str) -> Vec<u8> {
    module_with(body, "")
}

pub fn plugin(body: &str) -> Plugin {
    Plugin::from_bytes("guest", module(body)).unwrap()
}

/// Completes without a result.
pub const NOTHING: &str = "(call $ok (i32.const 0) (i32.const 0))";

/// Completes with the payload as the result.
pub const ECHO: &str = "(call $ok (local.get $p) (local.get $n))";

/// Traps.
pub const TRAP: &str = "unreachable";

/// Never returns.
pub const SPIN: &str = "(loop $again (br $again)) unreachable";

/// The component that the module becomes when it is loaded.
pub fn component(module: &[u8]) -> Vec<u8> {
    wit_component::ComponentEncoder::default().module(module).unwrap().encode().unwrap()
}
