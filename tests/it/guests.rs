//! Each guest whose `.wasm` is committed was built from the source that is committed with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const REMEDY: &str = "build the guests anew: bash .ci/guests";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What was recorded when the guests were built: paths and hashes.
fn recorded() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(".ci/guests.sha256")).unwrap();
    let lines = text.lines().map(|line| line.split_once("  ").expect("a hash, two spaces and a path"));
    lines.map(|(hash, path)| (path.to_owned(), hash.to_owned())).collect()
}

/// The guest in Python contains an interpreter of 20 MB, so it is not committed.
fn built_on_demand(path: &Path) -> bool {
    path.strip_prefix(root().join("guest-examples")).is_ok_and(|inside| {
        inside.to_str().unwrap().starts_with("python-") && inside.extension() == Some("wasm".as_ref())
    })
}

/// The paths and hashes of the files as they are now.
fn current_files() -> BTreeMap<String, String> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let left_behind = ["target", "node_modules", "__pycache__"].contains(&name);
            if path.is_dir() && !left_behind && !path.ends_with("guest-sdk/tests") {
                walk(&path, into);
            } else if path.is_file() && !name.ends_with(".md") && !built_on_demand(&path) {
                into.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for dir in ["guest-examples", "guest-sdk", "tests/guests"] {
        walk(&root().join(dir), &mut files);
    }
    let hashed = files.into_iter().map(|path| {
        let hash = Sha256::digest(fs::read(&path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
        (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), hash)
    });
    hashed.collect()
}

#[test]
fn each_guest_was_built_from_the_source_beside_it() {
    let (recorded, there) = (recorded(), current_files());
    let changed = there.iter().filter(|(path, hash)| recorded.get(*path) != Some(hash)).map(|(path, _)| path);
    let gone = recorded.keys().filter(|path| !there.contains_key(*path));
    let wrong: Vec<_> = changed.chain(gone).collect();
    assert_eq!(wrong, [""; 0], "{REMEDY}");
}

#[test]
fn each_hostile_guest_is_built_and_has_a_line_in_the_table() {
    let table = fs::read_to_string(root().join("tests/guests/README.md")).unwrap();
    let mut guests = 0;
    for path in current_files().keys() {
        let path = Path::new(path);
        let name = path.file_stem().unwrap().to_str().unwrap();
        let file = if path.starts_with("tests/guests/hostile/examples") {
            assert!(root().join(format!("tests/guests/built/{name}.wasm")).exists(), "{name} is not built; {REMEDY}");
            name.to_owned()
        } else if path.starts_with("tests/guests/raw") || path.starts_with("tests/guests/evolution") {
            assert!(table.contains(name), "{name} has no line in tests/guests/README.md");
            continue;
        } else {
            continue;
        };
        assert!(table.contains(&format!("`{file}`")), "{file} has no line in tests/guests/README.md");
        guests += 1;
    }
    assert!(guests >= 17);
}

#[test]
fn each_built_guest_is_webassembly() {
    let wasm: Vec<_> = current_files().into_keys().filter(|path| path.ends_with(".wasm")).collect();
    assert!(wasm.len() >= 31, "{wasm:?}");
    for path in wasm {
        assert!(fs::read(root().join(&path)).unwrap().starts_with(b"\0asm"), "{path}");
    }
}
