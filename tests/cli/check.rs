//! The command `millpond plugin check`.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::tool::{does, millpond, noop, project, refuses, say};

fn check<'w>(file: &'w str, more: &[&'w str]) -> Vec<&'w str> {
    [&["plugin", "check", file], more].concat()
}

#[test]
fn it_says_what_a_plugin_is() {
    let hash = format!("{:x}", Sha256::digest(std::fs::read(noop()).unwrap()));
    let parts =
        ["noop would be registered", "a core module", &hash, "millpond:jobs/handler@0.1.3", "memory_bytes 67108864"];
    does(&check(&noop(), &[]), &parts);
    does(&check(&project("guest-examples/js-render/render.wasm"), &[]), &["a component"]);
}

#[test]
fn it_says_what_a_plugin_imports_and_which_grants_that_needs() {
    let filter = project("guest-examples/rust-webhook-filter/webhook-filter.wasm");
    let said = does(&check(&filter, &[]), &["millpond:jobs/state@0.1.3: ", "needs Grant::enqueue(kind)"]);
    let needs: Vec<_> = said.out.lines().filter(|line| line.contains("needs")).collect();
    assert!(needs.len() == 1 && needs[0].contains("millpond:jobs/enqueue@0.1.3: "), "{needs:?}");
}

#[test]
fn as_json_it_says_the_same() {
    let said = does(&check(&noop(), &["--json", "--timeout", "2s", "--memory", "16MiB"]), &[]);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let info = &told["accepted"];
    assert_eq!((&info["name"], &info["is_component"]), (&"noop".into(), &false.into()));
    let is_number = |(_, limit): (&String, &Value)| limit.is_u64();
    assert!(info["limits"].as_object().unwrap().iter().all(is_number), "each is a number, with its unit in the name");
    assert_eq!((&info["limits"]["time_ms"], &info["limits"]["memory_bytes"]), (&2_000.into(), &(16 << 20).into()));
    assert_eq!(info["bytes"], std::fs::metadata(noop()).unwrap().len());
    assert!(told["compiled_in_ms"].as_f64().is_some_and(|time| time > 0.0), "{told}");
}

#[test]
fn it_refuses_what_registration_refuses_with_the_same_sentence() {
    let text = project("README.md");
    refuses(&mut millpond(&check(&text, &[])), r#"plugin "README" was refused: it is not WebAssembly"#);
    refuses(&mut millpond(&check("no/such.wasm", &[])), "could not read no/such.wasm: ");
    refuses(&mut millpond(&check(&noop(), &["--memory", "64KiB"])), "bytes of memory, its limit is 65536");
    refuses(&mut millpond(&check(&noop(), &["--grant", "../etc"])), "grant `enqueue` cannot work");
    let said = say(&mut millpond(&check(&text, &["--json"])));
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert!(told["refused"].as_str().unwrap().contains("it is not WebAssembly"), "{told}");
    assert_eq!((said.code, &*said.err), (Some(1), ""));
}

#[test]
fn invalid_arguments_are_named() {
    for (words, says) in [
        (&["--memory", "lots"][..], "as in `64MiB`"),
        (&["--timeout", "soon"], "as in `30s`"),
        (&["--config", "width"], "as in `width=320`"),
    ] {
        let said = say(&mut millpond(&check(&noop(), words)));
        assert!(said.code == Some(2) && said.err.contains(says), "{said:?}");
    }
    let said = say(&mut millpond(&["plugin"]));
    assert!(
        said.code == Some(2) && ["new", "build", "check", "run"].iter().all(|word| said.err.contains(word)),
        "{said:?}"
    );
}
