//! The rooms (modules) of the crate: which may name which, which may name redb, and which may read the time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each line may name only the lines above it; rooms on one line do not name each other.
const ORDER: [&[&str]; 19] = [
    &["sync", "text"],
    &["time"],
    &["error"],
    &["job"],
    &["alarms", "events", "metrics"],
    &["storage", "scheduler", "links"],
    &["transaction"],
    &["handler"],
    &["writer", "executor"],
    &["runtime"],
    &["inspect"],
    &["dead_letters", "quarantine", "schedules", "topics", "worker"],
    &["flows", "selection", "taker"],
    &["queue"],
    &["streams"],
    &["millpond", "builder"],
    &["testing", "dashboard"],
    &["fuzzing"],
    &["guide", "lib"],
];

/// Pairs that may name each other as an exception.
const TOGETHER: [(&str, &str); 2] = [("error", "job"), ("millpond", "builder")];

pub(super) fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // A crate of its own: for it, as for any application, the compiler allows only the public interface.
                if !path.ends_with("src/bin") {
                    walk(&path, into);
                }
            } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
                into.push((path.clone(), code(&fs::read_to_string(&path).unwrap())));
            }
        }
    }
    let mut sources = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 30);
    sources
}

/// What is compiled into the crate: no comments, no unit tests. Those are behind the first unindented `#[cfg(test)]`.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let kept = lines.filter(|line| !line.trim_start().starts_with("//")).map(|line| match line.split_once(" // ") {
        Some((code, _)) => code,
        None => line,
    });
    kept.collect::<Vec<_>>().join("\n")
}

pub(super) fn inside(path: &Path) -> &Path {
    path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap()
}

fn room(path: &Path) -> String {
    let first = inside(path).iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms that a file names as `crate::room`, in a `use` or anywhere else.
fn named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(heads(list)),
            None => rooms.extend(word(rest)),
        }
    }
    rooms.remove("");
    rooms
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first words of the items of a braced list.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut heads, mut fresh) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                heads.extend(word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    heads
}

fn line_of(room: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&room))
}

/// Rooms that name the rest of the crate as an application does: by what `lib.rs` exports, and no room at all.
const LIKE_AN_APPLICATION: [&str; 1] = ["dashboard"];

fn may_name(room: &str, other: &str) -> bool {
    if LIKE_AN_APPLICATION.contains(&room) {
        return room == other || other.starts_with(|c: char| c.is_ascii_uppercase());
    }
    let together = TOGETHER.iter().any(|(a, b)| (room, other) == (*a, *b) || (room, other) == (*b, *a));
    let before = line_of(other).zip(line_of(room)).is_some_and(|(other, room)| other < room);
    room == other || together || before
}

#[test]
fn each_room_names_only_those_before_it() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let room = room(&path);
        assert!(line_of(&room).is_some(), "{} is in no line of the order", path.display());
        for other in named(&code).iter().filter(|other| !may_name(&room, other)) {
            wrong.push(format!("{} names {other}", inside(&path).display()));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// The layers of storage, from the lowest up: a layer may name only those below it.
const LAYERS: [&str; 7] = ["file", "rows", "life", "streams", "read", "repair", "open"];

/// The layers of storage that a file names by their full paths.
fn layers_named(code: &str) -> BTreeSet<usize> {
    let paths = code.match_indices("storage::").filter_map(|(at, path)| word(&code[at + path.len()..]));
    paths.filter_map(|name| LAYERS.iter().position(|layer| *layer == name)).collect()
}

#[test]
fn each_layer_of_storage_names_only_those_below_it() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let Ok(inside) = inside(&path).strip_prefix("storage") else { continue };
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let Some(layer) = LAYERS.iter().position(|layer| *layer == first) else {
            let is_above = ["mod.rs", "fuzzing.rs"].contains(&first);
            assert!(is_above, "storage/{} is in no layer", inside.display());
            continue;
        };
        // Paths of these forms would escape the check.
        let escapes = ["super::super", "storage::{"].into_iter().find(|escape| code.contains(escape));
        assert_eq!(escapes, None, "storage/{}: write the path from `crate::storage` on", inside.display());
        let facade = code.match_indices("crate::storage::").filter_map(|(at, path)| word(&code[at + path.len()..]));
        for name in facade.filter(|name| !LAYERS.contains(&name.as_str()) && name != "redb_types") {
            wrong.push(format!("{} names {name} by the façade", inside.display()));
        }
        for other in layers_named(&code).into_iter().filter(|other| *other > layer) {
            wrong.push(format!("{} names {}", inside.display(), LAYERS[other]));
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// All methods of a write transaction are on one type, so the compiler lets each file call each other. Imports do not
/// show such calls, so this checks the names of the methods.
#[test]
fn the_methods_of_a_write_transaction_form_no_cycle_of_files() {
    let files: Vec<(PathBuf, String)> = sources()
        .into_iter()
        .map(|(path, code)| (inside(&path).to_owned(), code))
        .filter(|(path, _)| ["rows", "life", "repair"].iter().any(|layer| path.starts_with(format!("storage/{layer}"))))
        .collect();
    let defines = |code: &str, name: &str| code.contains(&format!("fn {name}(&mut self"));
    let mut calls = vec![BTreeSet::new(); files.len()];
    for (from, (_, code)) in files.iter().enumerate() {
        for receiver in ["self.", "batch."] {
            for (at, _) in code.match_indices(receiver) {
                let Some(name) = word(&code[at + receiver.len()..]) else { continue };
                if !code[at + receiver.len() + name.len()..].starts_with('(') || defines(code, &name) {
                    continue;
                }
                // Other types have methods of these names too, so a call of them says nothing about these files.
                let defined = (0..files.len()).filter(|to| files[*to].1.contains("impl Batch<'_>") || *to == from);
                calls[from].extend(defined.filter(|to| defines(&files[*to].1, &name)));
            }
        }
    }
    assert!(calls.iter().map(BTreeSet::len).sum::<usize>() > 30, "this test no longer finds the calls");
    // A file that calls none of the remaining files is not part of a cycle.
    let mut left: BTreeSet<usize> = (0..files.len()).collect();
    while let Some(leaf) = left.iter().copied().find(|file| calls[*file].iter().all(|to| !left.contains(to))) {
        left.remove(&leaf);
    }
    let circle: Vec<_> = left.iter().map(|file| files[*file].0.display().to_string()).collect();
    assert_eq!(circle, [""; 0], "these files call each other in a cycle, or call one that does");
}

#[test]
fn only_storage_and_transaction_name_redb() {
    let allowed = |path: &Path| room(path) == "storage" || inside(path) == Path::new("transaction.rs");
    for (path, code) in sources().into_iter().filter(|(path, _)| !allowed(path)) {
        let names = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let hit = code.match_indices("redb::").find(|(at, _)| names(*at));
        assert!(hit.is_none() && !code.contains("use redb"), "{} names redb", path.display());
    }
}

#[test]
fn only_the_sandbox_names_wasmtime_and_only_one_of_its_modules_is_unsafe() {
    for (path, code) in sources() {
        let inside = inside(&path);
        assert!(
            inside.starts_with("executor/wasm") || !code.contains("wasmtime"),
            "{} names wasmtime",
            inside.display()
        );
        let is_allowed = inside == Path::new("executor/wasm/own_code.rs");
        assert_eq!(code.contains("allow(unsafe_code)"), is_allowed, "{}", inside.display());
    }
}

#[test]
fn only_the_clock_the_shutdown_and_the_alarm_read_the_time() {
    let allowed = ["time.rs", "runtime/shutdown.rs", "runtime/alarm.rs"].map(Path::new);
    for (path, code) in sources().into_iter().filter(|(path, _)| !allowed.contains(&inside(path))) {
        for asks in ["Instant::now", "SystemTime::now", ".elapsed()"] {
            assert!(!code.contains(asks), "{} reads the time with {asks}", path.display());
        }
    }
}

/// One place decides which state follows a state.
#[test]
fn only_job_life_writes_the_state_of_a_job() {
    let is_life = |path: &Path| inside(path) == Path::new("job/life.rs");
    let mut writes = 0;
    for (path, code) in sources() {
        for (at, _) in code.match_indices(".state = ") {
            let receiver = code[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            // A filter of a listing has a state, too.
            if receiver == "self" {
                continue;
            }
            assert!(is_life(&path), "{} writes {receiver}.state", inside(&path).display());
            writes += 1;
        }
    }
    assert!(writes >= 5, "{writes} writes: this test no longer finds them");
}

/// Below `runtime`, time comes in as `Now` or through a `TimeReader`, both of which `runtime` makes.
#[test]
fn no_room_below_the_runtime_has_a_clock() {
    let runtime = line_of("runtime").unwrap();
    for (path, code) in sources() {
        let room = room(&path);
        if room == "time" || line_of(&room).unwrap() >= runtime {
            continue;
        }
        for clock in ["Clock", "TimeSource", "TimeReader::new"] {
            let is_word = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric());
            let hit = code.match_indices(clock).any(|(at, _)| is_word(at));
            assert!(!hit, "{} names {clock}", inside(&path).display());
        }
    }
}

fn architecture() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap()
}

#[test]
fn the_architecture_names_each_file_that_may_sync() {
    let text = architecture();
    let from = text.find("- **An fsync**").expect("the place of fsyncs is documented");
    let item = &text[from..];
    let item = &item[..item[1..].find("\n- ").expect("other items follow") + 1];
    for (path, code) in sources() {
        let syncs = ["sync_all(", "sync_data(", "store.commit(", "txn.commit(", "db.compact("];
        let file = inside(&path);
        let name = if file.ends_with("mod.rs") { file } else { Path::new(file.file_name().unwrap()) };
        let is_named = item.contains(name.to_str().unwrap());
        assert!(is_named || !syncs.iter().any(|sync| code.contains(sync)), "{} may sync", file.display());
    }
}

#[test]
fn the_architecture_names_each_kind_of_thread() {
    let text = architecture();
    let mut kinds = BTreeSet::new();
    for (_, code) in sources() {
        for (at, quoted) in code.match_indices("\"millpond-") {
            let name = &code[at + 1..];
            let name = &name[..name[quoted.len() - 1..].find('"').unwrap() + quoted.len() - 1];
            // Other names are not those of threads.
            let before = code[..at].trim_end();
            if before.ends_with("name(") || before.ends_with("|_|") || before.ends_with("THREADS: &str =") {
                kinds.insert(name.to_owned());
            }
        }
    }
    assert!(kinds.len() >= 14, "the reader of names finds {kinds:?}");
    for kind in kinds {
        assert!(text.contains(&format!("`{kind}`")), "the table of threads lacks {kind}");
    }
}

/// The value of a panic can itself panic when it is dropped: only one place handles that.
#[test]
fn only_one_place_catches_panics() {
    for (path, code) in sources() {
        let is_allowed = inside(&path) == Path::new("error/panics.rs");
        assert_eq!(code.contains("catch_unwind"), is_allowed, "{}", inside(&path).display());
    }
}

#[test]
fn the_import_reader_finds_every_import() {
    let code = "use crate::{job::{JobId, NewJob}, time, error::Error};\nfn f() { crate::writer::call(); pub(crate) }\nuse crate::storage;";
    let expected = ["error", "job", "storage", "time", "writer"];
    assert_eq!(named(code).into_iter().collect::<Vec<_>>(), expected);
    assert!(may_name("runtime", "job") && may_name("error", "job") && !may_name("job", "runtime"));
    assert!(!may_name("storage", "scheduler") && !may_name("scheduler", "storage"));
}

/// What the files of `writer/` that serve every tenant may name of `job`: the wait for room in a full queue is by the
/// number of a queue, and the size of a call is bounded.
const OF_JOB_FOR_ALL_TENANTS: [&str; 2] = ["QueueId", "ENQUEUE_BYTES_MAX"];

#[test]
fn only_the_files_of_the_tenant_jobs_in_the_writer_name_jobs() {
    let mut wrong = Vec::new();
    for (path, code) in sources() {
        let Ok(file) = inside(&path).strip_prefix("writer") else { continue };
        if file.starts_with("commands") || [Path::new("jobs.rs"), Path::new("jobs_of_writer.rs")].contains(&file) {
            continue;
        }
        for (at, _) in code.match_indices("crate::job::") {
            let rest = &code[at + "crate::job::".len()..];
            let names = match rest.strip_prefix('{') {
                Some(list) => heads(list),
                None => Vec::from_iter(word(rest)),
            };
            let names = names.into_iter().filter(|name| !OF_JOB_FOR_ALL_TENANTS.contains(&name.as_str()));
            wrong.extend(names.map(|name| format!("writer/{} names {name}", file.display())));
        }
    }
    assert_eq!(wrong, [""; 0]);
}
