//! The files inside a room import each other in no circle, so that each file can be read after those that it builds on.
//!
//! An import is a path in a `use` or in code that leads to another file of the same room. A re-export (`pub use`,
//! `pub(crate) use`) counts for the file that uses the name by it, and not for the file that hands it on: a façade lists
//! the names of a room and does not use them. For the same reason the façade of the room itself, its `mod.rs`, is left out.

use std::collections::{BTreeMap, BTreeSet};

use crate::rooms::{inside, sources};

/// The rooms whose files are checked.
const ROOMS: [&str; 7] = ["executor", "handler", "job", "runtime", "scheduler", "storage", "writer"];

/// A module as its path from the crate on: `["runtime", "engine"]`.
type Module = Vec<String>;

struct Crate {
    code: BTreeMap<Module, String>,
}

/// One `use`, as one path for each name that it brings.
struct Import {
    is_reexport: bool,
    paths: Vec<String>,
}

impl Crate {
    fn read() -> Self {
        let module = |path: &std::path::Path| {
            let mut names: Module = path.with_extension("").iter().map(|name| name.to_str().unwrap().into()).collect();
            names.pop_if(|name| name == "mod");
            names
        };
        Self { code: sources().into_iter().map(|(path, code)| (module(inside(&path)), code)).collect() }
    }

    /// The file that a path in `from` leads to, through re-exports. `None` if it leads out of the crate.
    fn resolve(&self, from: &Module, path: &str, depth: usize) -> Option<Module> {
        let mut names: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut at = from.clone();
        match names[0] {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                while names.first() == Some(&"super") {
                    at.pop();
                    names.remove(0);
                }
                names.insert(0, "self");
            }
            child if self.code.contains_key(&[from.clone(), vec![child.into()]].concat()) => names.insert(0, "self"),
            _ => return None,
        }
        names.remove(0);
        at.extend(names.into_iter().map(str::to_owned));
        let file =
            (0..=at.len()).rev().find(|len| self.code.contains_key(&at[..*len])).map(|len| at[..len].to_vec())?;
        let handed_on = at.get(file.len()).filter(|_| depth < 8).and_then(|name| {
            let reexports = imports(&self.code[&file]).into_iter().filter(|import| import.is_reexport);
            let mut paths = reexports.flat_map(|import| import.paths);
            let path = paths.find(|path| path.rsplit("::").next() == Some(name))?;
            self.resolve(&file, &path, depth + 1)
        });
        Some(handed_on.unwrap_or(file))
    }

    /// The files that a file imports.
    fn imported(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.code[module];
        let used = imports(code).into_iter().filter(|import| !import.is_reexport).flat_map(|import| import.paths);
        let named = ["crate::", "super::"].into_iter().flat_map(|start| paths_in_code(code, start));
        used.chain(named).filter_map(|path| self.resolve(module, &path, 0)).filter(|other| other != module).collect()
    }

    /// The files of a room that import each other in a circle, or import one that does.
    fn circle(&self, room: &str) -> Vec<String> {
        let files = self.code.keys().filter(|module| module[0] == room && module.len() > 1);
        let mut left: BTreeMap<&Module, BTreeSet<Module>> = files.map(|file| (file, self.imported(file))).collect();
        assert!(left.values().map(BTreeSet::len).sum::<usize>() > left.len(), "this test no longer finds the imports");
        // A file that imports none of the remaining files is not part of a circle.
        while let Some(leaf) =
            left.iter().find(|(_, to)| !to.iter().any(|to| left.contains_key(to))).map(|(file, _)| *file)
        {
            left.remove(leaf);
        }
        let within = |to: &BTreeSet<Module>| {
            to.iter().filter(|to| left.contains_key(to)).map(|to| to.join("/")).collect::<Vec<_>>().join(", ")
        };
        left.iter().map(|(file, to)| format!("{} imports {}", file.join("/"), within(to))).collect()
    }
}

fn imports(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let statement = &code[at..];
        at += line.len();
        let line = line.trim_start();
        let Some((before, _)) = line.split_once("use ") else { continue };
        if before.is_empty() || before.starts_with("pub") && !before.contains("fn") {
            let (_, tree) = statement.split_once("use ").unwrap();
            let tree = tree.split(';').next().unwrap();
            imports.push(Import { is_reexport: !before.is_empty(), paths: expand("", tree) });
        }
    }
    imports
}

/// The paths of a tree of imports: `a::{b, c::d}` are `a::b` and `a::c::d`.
fn expand(before: &str, tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((path, list)) = tree.split_once('{') else {
        return vec![format!("{before}{}", tree.split(" as ").next().unwrap())];
    };
    let (before, list) = (format!("{before}{path}"), list.rsplit_once('}').unwrap().0);
    let (mut depth, mut from, mut paths) = (0, 0, Vec::new());
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !list[from..at].trim().is_empty() {
                    paths.extend(expand(&before, &list[from..at]));
                }
                from = at + 1;
            }
            _ => {}
        }
    }
    paths
}

/// The paths from `start` on that are written out in code.
fn paths_in_code(code: &str, start: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let starts = code.match_indices(start).map(|(at, _)| at).filter(|at| !code[..*at].ends_with(is_path));
    starts.map(|at| code[at..].split(|c| !is_path(c)).next().unwrap().trim_end_matches(':').to_owned()).collect()
}

#[test]
fn the_files_of_a_room_import_each_other_in_no_circle() {
    let source = Crate::read();
    for room in ROOMS {
        assert_eq!(source.circle(room), [""; 0], "these files of `{room}` form a circle, or import one that does");
    }
}

#[test]
fn a_circle_through_a_reexport_is_found() {
    let file = |path: &str, code: &str| (path.split('/').map(str::to_owned).collect::<Module>(), code.to_owned());
    let mut source = Crate {
        code: BTreeMap::from([
            file("room", "mod low;\nmod high;\npub(crate) use high::High;\n"),
            file("room/low", "fn f() { super::high::g() }\n"),
            file("room/high", "use crate::{other::{A, B}, room::low as bottom};\nfn g() {}\n"),
            file("room/top", "use super::{High, low::{self}};\n"),
            file("other", ""),
        ]),
    };
    let circle = source.circle("room");
    assert_eq!(
        circle,
        ["room/high imports room/low", "room/low imports room/high", "room/top imports room/high, room/low"]
    );
    *source.code.get_mut(&["room".to_owned(), "low".to_owned()][..]).unwrap() = "use super::High;\n".to_owned();
    assert_eq!(source.circle("room").len(), 3, "the name comes from the façade, and is defined in the other file");
    *source.code.get_mut(&["room".to_owned(), "low".to_owned()][..]).unwrap() = "use crate::other::A;\n".to_owned();
    assert_eq!(source.circle("room"), [""; 0]);
}
