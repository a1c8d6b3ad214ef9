//! The command `millpond plugin new`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::tool::{millpond, refuses, say};

fn new(folder: &Path, words: &[&str]) -> Command {
    let mut command = millpond(&[&["plugin", "new"], words].concat());
    command.current_dir(folder);
    command
}

#[test]
fn a_new_plugin_has_all_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let said = say(&mut new(folder.path(), &["greet-people"]));
    assert!(said.code == Some(0) && said.out.contains("cd greet-people"), "{said:?}");
    let read = |file: &str| fs::read_to_string(folder.path().join("greet-people").join(file)).unwrap();
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("name = \"greet-people\"") && manifest.contains("guest-sdk\" }"), "{manifest}");
    assert!(read("src/lib.rs").contains("#[millpond_guest::handler]"));
    assert!(read("README.md").contains("release/greet_people.wasm"));
    assert_eq!(read(".gitignore"), "target\n");
    let flags = fs::read_to_string(crate::tool::project("guest-examples/rust-noop/.cargo/config.toml")).unwrap();
    assert_eq!(read(".cargo/config.toml"), flags, "as the handlers to copy from have them");
    for file in ["Cargo.toml", "src/lib.rs", "README.md"] {
        assert!(!["{name}", "{crate}", "{sdk}"].iter().any(|left| read(file).contains(left)), "{file}");
    }
}

#[test]
fn a_folder_that_exists_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("greet")).unwrap();
    refuses(&mut new(folder.path(), &["greet"]), "greet exists already");
    assert_eq!(fs::read_dir(folder.path().join("greet")).unwrap().count(), 0);
    fs::write(folder.path().join("file"), "").unwrap();
    refuses(&mut new(folder.path(), &["file"]), "file exists already");
}

#[test]
fn invalid_names_are_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(129);
    for name in ["", "../etc", "a/b", "Greet", "1st", "-x", "grüß", "a b", "fn", "self", "std", "test", "serde", &long]
    {
        refuses(&mut new(folder.path(), &["--", name]), "is not a valid name");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_sdk_is_looked_for_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    for sdk in [folder.path(), Path::new("no/such")] {
        let words = ["greet", "--sdk", sdk.to_str().unwrap()];
        refuses(&mut new(folder.path(), &words), "give the folder guest-sdk of a copy of Millpond's repository");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
