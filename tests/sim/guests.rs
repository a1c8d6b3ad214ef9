//! The plugins of the simulation: one guest, written as text. It counts, keeps values, enqueues follow-up jobs, and
//! ends in all ways. It chooses by random numbers of the queue, and logs what it does; `guest_talk` reads that
//! log.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;

use millpond::{Grant, Plugin, PluginHandle, PluginLimits};

use crate::guest::{component, module_with};
use crate::guest_talk::{self, CHILD_BIT};
use crate::oracle::Check;
use crate::plan::{KINDS, PluginPlan, plugin_name, queue_name};
use crate::world::World;

/// The versions of the guest; they differ in nothing else.
pub const VERSIONS: [u64; 2] = [1, 2];

/// Enough for the largest payload, and less than [`PAGES_TOO_MANY`].
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// The number of pages for which a guest asks if it is to break its limit.
const PAGES_TOO_MANY: usize = 64;

/// The guest's configuration, 8 bytes.
pub struct Told {
    /// Every attempt succeeds at once.
    pub calm: bool,
    pub tame: bool,
    pub queues: usize,
    pub groups: u8,
    /// The number of the deployment.
    pub deployment: u16,
}

impl Told {
    fn text(&self) -> String {
        let letters = (0..4).map(|at| char::from(b'A' + (self.deployment >> (4 * at) & 15) as u8));
        let mut text = format!("{}{}{}{}", u8::from(self.calm), self.queues, self.groups, u8::from(self.tame));
        text.extend(letters);
        text
    }
}

/// Makes the plugin for a worker.
pub fn plugin(kind: usize, plan: &PluginPlan, told: &Told) -> Plugin {
    let limits = PluginLimits::default()
        .time(plan.time)
        .memory_bytes(MEMORY_BYTES_MAX)
        // A guest that waits reads the time again and again.
        .host_calls(u32::MAX)
        .follow_ups(plan.follow_ups)
        .generations(plan.generations)
        .traps_in_a_row(plan.traps_in_a_row);
    // Compiled once, by the first world that needs it.
    static MADE: [OnceLock<Plugin>; 2] = [const { OnceLock::new() }; 2];
    let made = || Plugin::from_bytes(plugin_name(kind), version(VERSIONS[0])).expect("it is one");
    let plugin = MADE[kind].get_or_init(made).clone();
    let plugin = plugin.limits(limits).config("world", told.text()).reuse(plan.reuse);
    let into = |kind: &'static str| (0..told.queues).map(move |queue| Grant::enqueue(kind).to_queue(queue_name(queue)));
    let plugin = KINDS.into_iter().flat_map(into).fold(plugin, Plugin::grant);
    // For its other versions.
    plugin.cache(Path::new(env!("CARGO_TARGET_TMPDIR")).join("sim-plugins"))
}

/// The guest as a component.
pub fn version(version: u64) -> &'static [u8] {
    static MADE: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    MADE[(version - 1) as usize].get_or_init(|| component(&module(version)))
}

// --- in the world -----------------------------------------------------------------------------------

impl World {
    /// The plugin of a worker that is about to start.
    pub fn deploy(&mut self, queue: usize, kind: usize) -> Plugin {
        let deployment = guest_talk::deploy(self.plan.queues[queue].timeout);
        self.oracle.deployed(queue, kind, VERSIONS[0]);
        let told = Told {
            calm: self.stage.lock().expect("no thread panics while it holds the lock").calm,
            tame: self.plan.tame,
            queues: self.plan.queues.len(),
            groups: self.plan.groups,
            deployment,
        };
        plugin(kind, &self.plan.plugins, &told)
    }

    /// Remembers the hash by which job records name the version that a worker starts with.
    pub fn know_version(&mut self, queue: usize) {
        for (_, handle) in self.handles(queue) {
            self.oracle.hashes.insert(VERSIONS[0], handle.hash());
        }
    }

    /// The plugins of a worker, with their deployments.
    fn handles(&self, queue: usize) -> Vec<(u16, PluginHandle)> {
        let Some(worker) = &self.now().workers[queue] else { return Vec::new() };
        let handle = |kind: usize| {
            let mut deployed = self.oracle.deployed.iter();
            let deployment = deployed.rposition(|deployed| (deployed.queue, deployed.kind) == (queue, kind))?;
            Some((deployment as u16, worker.plugin(KINDS[kind])?))
        };
        (0..KINDS.len()).filter_map(handle).collect()
    }

    /// Exactly those plugins are suspended that broke too often in a row.
    pub fn the_right_plugins_are_suspended(&self) -> Check {
        for queue in 0..self.plan.queues.len() {
            for (deployment, handle) in self.handles(queue) {
                let deployed = &self.oracle.deployed[usize::from(deployment)];
                let out = handle.is_suspended();
                if out != deployed.out.is_some() {
                    return Err(format!("I15: suspended: {out}, which is wrong: {deployed:?}"));
                }
            }
        }
        Ok(())
    }

    /// An operator resumes a plugin, or loads another version of it.
    pub fn change_plugins(&mut self) -> Check {
        let queue = self.rng.usize(..self.plan.queues.len());
        let handles = self.handles(queue);
        if handles.is_empty() {
            return Ok(());
        }
        let (deployment, handle) = &handles[self.rng.usize(..handles.len())];
        if self.rng.bool() {
            handle.resume();
            self.oracle.restored(*deployment);
            self.note(|_| format!("plugin {deployment} of worker {queue} is resumed"));
            return Ok(());
        }
        let new = VERSIONS[self.rng.usize(..VERSIONS.len())];
        let hash =
            handle.reload(version(new)).map_err(|error| format!("I15: the new version is refused: {error:?}"))?;
        self.oracle.hashes.insert(new, hash);
        self.oracle.reloaded(*deployment, new);
        self.note(|_| format!("plugin {deployment} of worker {queue} has version {new}"));
        Ok(())
    }
}

// --- the guest --------------------------------------------------------------------------------------

/// The addresses of its texts and tables.
const WORLD: u32 = 1024;
const DONE: u32 = 1032;
const LAST: u32 = 1036;
const EVEN: u32 = 1040;
const ODD: u32 = 1044;
const QUEUE: u32 = 1056;
const GROUP: u32 = 1058;
const GROUP_KEY: u32 = 1064;
const JOB_KEY: u32 = 1072;
const NUMBER: u32 = 1096;
const CHILD: u32 = 1104;
const ENDS: u32 = 1152;
const TAME_ENDS: u32 = 1184;
const DELAYS: u32 = 1216;
const WAITS: u32 = 1280;
const CHILD_DELAYS: u32 = 1408;
const PRIORITIES: u32 = 1440;
const LINE: u32 = 2048;
/// The address of a host call's answer.
const ANSWER: u32 = 256;

/// How an attempt ends: see `guest_talk::act`.
const HOW: [u8; 32] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 6, 6, 7, 7, 8, 8, 0, 0, 2, 6];
const HOW_TAME: [u8; 32] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0];
const DELAYS_MS: [u64; 8] = [0, 1, 50, 1_000, 5_000, 60_000, 1, 50];
const WAITS_MS: [u64; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 20, 300, 2_000, 7_000, 40_000];
const CHILD_DELAYS_MS: [u64; 4] = [0, 0, 30, 1_000];
const CHILD_PRIORITIES: [u8; 4] = [5, 5, 0, 9];

fn data(at: u32, bytes: impl IntoIterator<Item = u8>) -> String {
    let mut text = String::new();
    bytes.into_iter().for_each(|byte| write!(text, "\\{byte:02x}").expect("it is a string"));
    format!("(data (i32.const {at}) \"{text}\")\n")
}

/// Durations in the unit of the contract.
fn times<const N: usize>(at: u32, millis: [u64; N]) -> String {
    data(at, millis.into_iter().flat_map(|millis| (millis * 1_000_000).to_le_bytes()))
}

/// Writes a number as 16 letters, the lowest 4 bits first. It has no loop, because other tasks could run between iterations.
fn letters(at: u32, value: &str) -> String {
    let half = |at: u32, shift: u32| {
        let spread = |by: u32, mask: u64| {
            format!(
                "(local.set $x (i64.and (i64.or (local.get $x) (i64.shl (local.get $x) (i64.const {by}))) (i64.const {mask})))"
            )
        };
        format!(
            "(local.set $x (i64.and (i64.shr_u {value} (i64.const {shift})) (i64.const 0xFFFFFFFF))) {} {} {}
             (i64.store (i32.const {at}) (i64.add (local.get $x) (i64.const 0x4141414141414141)))\n",
            spread(16, 0x0000_FFFF_0000_FFFF),
            spread(8, 0x00FF_00FF_00FF_00FF),
            spread(4, 0x0F0F_0F0F_0F0F_0F0F),
        )
    };
    half(at, 0) + &half(at + 8, 32)
}

/// Builds a log line from its tag and its numbers. Returns it with its length.
fn line(tag: char, values: &[&str]) -> (String, u32) {
    let mut text = format!("(i32.store8 (i32.const {LINE}) (i32.const {}))\n", tag as u32);
    let mut at = LINE + 1;
    for value in values {
        text += &letters(at, value);
        at += 16;
    }
    (text, at - LINE)
}

fn say(tag: char, values: &[&str]) -> String {
    let (line, len) = line(tag, values);
    format!("{line} (call $log (i32.const 0) (i32.const {LINE}) (i32.const {len}))\n")
}

/// If a read or a write is refused, the attempt fails and is retried.
fn unless_refused(then: &str) -> String {
    let end = say('E', &["(local.get $n64)", "(i64.const 2)", "(i64.const 0)", "(i64.const 0)"]);
    format!(
        "(if (i32.load8_u (i32.const {ANSWER})) (then {end} {} (return (i32.const 512)))) {then}\n",
        answer_error(0, "")
    )
}

fn answer_error(case: u32, more: &str) -> String {
    format!(
        "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store8 (i32.const 520) (i32.const {case}))
         (i32.store (i32.const 528) (i32.const {LAST})) (i32.store (i32.const 532) (i32.const 4))
         (i32.store8 (i32.const 536) (i32.const 0)) {more}\n"
    )
}

/// Reads a number; 0 if the key is missing.
fn get(key: u32, len: u32, into: &str) -> String {
    let read = unless_refused(&format!(
        "(local.set {into} (i64.const 0))
         (if (i32.load8_u (i32.const 260)) (then (local.set {into} (i64.load (i32.load (i32.const 264))))))"
    ));
    format!("(call $get (i32.const {key}) (i32.const {len}) (i32.const {ANSWER})) {read}")
}

/// Sets a key to the number at `value`.
fn set(key: u32, len: u32, value: &str) -> String {
    let set = format!("(call $set (i32.const {key}) (i32.const {len}) {value} (i32.const 8) (i32.const {ANSWER}))");
    format!("{set} {}", unless_refused(""))
}

/// Some bits of a number, as an `i32`.
fn bits(of: &str, from: u32, mask: u32) -> String {
    format!("(i32.and (i32.wrap_i64 (i64.shr_u (local.get {of}) (i64.const {from}))) (i32.const {mask}))")
}

fn digit(at: u32) -> String {
    format!("(i32.sub {} (i32.const 48))", bits("$told", at * 8, 255))
}

fn begins(version: u64) -> String {
    let values = [
        "(local.get $n64)",
        "(local.get $number)",
        "(local.get $most)",
        "(local.get $left)",
        "(i64.extend_i32_u (global.get $calls))",
        "(local.get $told)",
        "(i64.load (i32.add (local.get $p) (i32.const 8)))",
        &format!("(i64.const {version})"),
    ];
    let (line, len) = line('S', &values);
    format!(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (local.set $n64 (i64.load (local.get $p)))
         (call $config (i32.const {WORLD}) (i32.const 5) (i32.const {ANSWER}))
         (local.set $told (i64.load (i32.load (i32.const 260))))
         (call $job_id (i32.const {ANSWER}))
         {at_once}
         (local.set $number (i64.extend_i32_u (call $number)))
         (local.set $most (i64.extend_i32_u (call $max_number)))
         (local.set $left (call $time_left))
         {line}
         (memory.copy (i32.const {}) (i32.load (i32.const 256)) (i32.load (i32.const 260)))
         (call $log (i32.const 0) (i32.const {LINE}) (i32.add (i32.const {len}) (i32.load (i32.const 260))))\n",
        LINE + len,
        // Other tasks can run before the line is logged, but not after: so the time left is that at the line.
        at_once = say('T', &["(local.get $n64)"]),
    )
}

/// Runs `then` with the key of the group, if the job has a group.
fn in_group(then: &str) -> String {
    format!(
        "(if (i32.ne (i32.load8_u (i32.add (local.get $p) (i32.const 16))) (i32.const 255)) (then
            (i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.load8_u (i32.add (local.get $p) (i32.const 17)))))
            (i32.store8 (i32.const {}) (i32.add (i32.const 48) (i32.load8_u (i32.add (local.get $p) (i32.const 16)))))
            {then}))\n",
        GROUP_KEY + 1,
        GROUP_KEY + 2
    )
}

fn reads() -> String {
    [
        get(DONE, 4, "$seen"),
        "(local.set $before (i64.const 0))".into(),
        in_group(&get(GROUP_KEY, 3, "$before")),
        say('R', &["(local.get $n64)", "(local.get $seen)", "(local.get $before)"]),
    ]
    .concat()
}

/// Writes what the guest keeps, however the attempt will end.
fn writes() -> String {
    [
        format!("(local.set $r (call $random)) (i64.store (i32.const {NUMBER}) (local.get $n64))"),
        format!("(call $increment (i32.const {DONE}) (i32.const 4) (i64.const 1) (i32.const {ANSWER}))"),
        unless_refused("(call $pause)"),
        set(LAST, 4, &format!("(i32.const {NUMBER})")),
        letters(JOB_KEY + 1, "(local.get $n64)"),
        format!("(i64.store (i32.const {NUMBER}) (local.get $r))"),
        set(JOB_KEY, 17, &format!("(i32.const {NUMBER})")),
        in_group(&set(GROUP_KEY, 3, "(local.get $p)")),
    ]
    .concat()
}

/// Waits by reading the queue's clock again and again.
fn waits() -> String {
    format!(
        "(local.set $wait (i64.load (i32.add (i32.const {WAITS}) (i32.shl {} (i32.const 3)))))
         (block $over
            (br_if $over (i64.eqz (local.get $wait)))
            (local.set $left (call $time_left))
            (loop $again
                (br_if $over (i64.ge_u (i64.sub (local.get $left) (call $time_left)) (local.get $wait)))
                (br_if $over (i32.and (call $is_cancelled) {}))
                (br $again)))\n",
        bits("$r", 0, 15),
        bits("$r", 16, 1),
    )
}

fn fans_out() -> String {
    let child = format!(
        "(local.set $c (call $random))
         (local.set $child (i64.or (i64.const {}) (i64.and (local.get $c) (i64.const 0xFFFFFFFFFFFF))))
         (local.set $queue (i32.rem_u {} {}))
         (local.set $group (i32.const 255))
         (if (i32.and (i32.lt_u {} (i32.const 2)) (i32.ne {} (i32.const 0)))
            (then (local.set $group (i32.rem_u {} {}))))
         (i64.store (i32.const {CHILD}) (local.get $child))
         (i64.store (i32.const {}) (i64.const 0))
         (i32.store8 (i32.const {}) (local.get $group))
         (i32.store8 (i32.const {}) (local.get $queue))
         (local.set $job (call $new_job
            (select (i32.const {ODD}) (i32.const {EVEN}) {kind})
            (select (i32.const 3) (i32.const 4) {kind})
            (i32.const {CHILD}) (i32.const 18)))
         (i32.store8 (i32.const {}) (i32.add (i32.const 48) (local.get $queue)))
         (call $set_queue (local.get $job) (i32.const {QUEUE}) (i32.const 2))
         (call $set_delay (local.get $job) (i64.load (i32.add (i32.const {CHILD_DELAYS}) (i32.shl {} (i32.const 3)))))
         (call $set_priority (local.get $job) (i32.load8_u (i32.add (i32.const {PRIORITIES}) {})))
         (if (i32.ge_u {most} (i32.const 2)) (then (call $set_max_attempts (local.get $job) {most})))
         (if (i32.ne (local.get $group) (i32.const 255)) (then
            (i32.store8 (i32.const {}) (i32.add (i32.const 48) (local.get $group)))
            (call $set_group (local.get $job) (i32.const {GROUP}) (i32.const 2))))
         (call $enqueue (local.get $job) (i32.const {ANSWER}))
         {}",
        CHILD_BIT,
        bits("$c", 48, 3),
        digit(1),
        bits("$c", 51, 3),
        digit(2),
        bits("$c", 53, 3),
        digit(2),
        CHILD + 8,
        CHILD + 16,
        CHILD + 17,
        QUEUE + 1,
        bits("$c", 55, 3),
        bits("$c", 57, 3),
        GROUP + 1,
        say('C', &["(local.get $n64)", "(local.get $c)", "(i64.load8_u (i32.const 256))"]),
        kind = bits("$c", 50, 1),
        most = bits("$c", 59, 3),
    );
    format!(
        "(if (i32.eqz {}) (then
            (local.set $children (i32.add (i32.const 1) {}))
            (loop $more
                {child}
                (local.set $children (i32.sub (local.get $children) (i32.const 1)))
                (br_if $more (local.get $children)))))\n",
        bits("$r", 4, 3),
        bits("$r", 6, 3),
    )
}

/// From here on the guest yields to no other task: the end that it logs is the end that the attempt has.
fn ends() -> String {
    let end =
        say('E', &["(local.get $n64)", "(i64.extend_i32_u (local.get $how))", "(local.get $delay)", "(local.get $r)"]);
    let done = |at: &str, len: &str| {
        format!(
            "(i32.store8 (i32.const 512) (i32.const 0)) (i32.store (i32.const 520) {at}) (i32.store (i32.const 524) {len})"
        )
    };
    let is = |how: u32, then: &str| format!("(if (i32.eq (local.get $how) (i32.const {how})) (then {then}))\n");
    [
        is(8, "(loop $for_ever (br $for_ever))"),
        end,
        "(global.set $top (i32.const 65536))".into(),
        is(0, &done("(i32.const 0)", "(i32.const 0)")),
        is(1, &done("(local.get $p)", "(local.get $n)")),
        is(2, &answer_error(0, "")),
        is(
            3,
            &answer_error(
                0,
                "(i32.store8 (i32.const 536) (i32.const 1)) (i64.store (i32.const 544) (local.get $delay))",
            ),
        ),
        is(4, &answer_error(3, "(i64.store (i32.const 528) (local.get $delay))")),
        is(5, &answer_error(2, "")),
        is(6, "unreachable"),
        is(7, &format!("(drop (memory.grow (i32.const {PAGES_TOO_MANY})))")),
        "(i32.const 512)".into(),
    ]
    .concat()
}

fn module(version: u64) -> Vec<u8> {
    let parts = format!(
        "{} {} {} (if (i32.eqz {calm}) (then {} {}))
         (local.set $delay (i64.load (i32.add (i32.const {DELAYS}) (i32.shl {} (i32.const 3)))))
         (if (i32.eqz {calm}) (then
            (local.set $how (i32.load8_u (i32.add (select (i32.const {TAME_ENDS}) (i32.const {ENDS}) {}) {})))))
         {}",
        begins(version),
        reads(),
        writes(),
        waits(),
        fans_out(),
        bits("$r", 13, 7),
        digit(3),
        bits("$r", 8, 31),
        ends(),
        calm = digit(0),
    );
    let tables = [
        data(WORLD, *b"world"),
        data(DONE, *b"donelastevenodd"),
        data(QUEUE, *b"q0g0"),
        data(GROUP_KEY, *b"g00"),
        data(JOB_KEY, *b"j"),
        data(ENDS, HOW),
        data(TAME_ENDS, HOW_TAME),
        times(DELAYS, DELAYS_MS),
        times(WAITS, WAITS_MS),
        times(CHILD_DELAYS, CHILD_DELAYS_MS),
        data(PRIORITIES, CHILD_PRIORITIES),
    ];
    let more = format!(
        "{}
         (global $calls (mut i32) (i32.const 0))
         (func $pause)
         (func $main (param $p i32) (param $n i32) (result i32)
            (local $x i64) (local $n64 i64) (local $told i64) (local $number i64) (local $most i64) (local $left i64)
            (local $seen i64) (local $before i64) (local $r i64) (local $wait i64) (local $c i64) (local $child i64)
            (local $queue i32) (local $group i32) (local $job i32) (local $children i32) (local $how i32) (local $delay i64)
            {parts})",
        tables.concat()
    );
    module_with("(call $main (local.get $p) (local.get $n))", &more)
}
