//! Files that are refused at registration: without a handler, not WebAssembly, or too much for the compiler.

use millpond::PluginError;

use super::*;
use crate::built::{raw, raw_text, register, register_bytes, too_complex};

#[path = "../../guests/crafted.rs"]
#[allow(dead_code)]
mod crafted;

fn refused(bytes: Vec<u8>) -> PluginError {
    register_bytes(bytes).unwrap_err()
}

#[test]
fn an_import_that_is_in_no_contract_is_refused_by_name() {
    let text = raw_text("unknown_import");
    let reason = refused(raw(&text));
    assert!(reason.to_string().contains("env") && reason.to_string().contains("system"), "{reason}");
    let import = r#"(import "env" "system" (func $system (param i32 i32) (result i32)))"#;
    let harmless = text.replace(import, "").replace("(drop (call $system (i32.const 0) (i32.const 0)))", "");
    assert_eq!(register_bytes(raw(&harmless)), Ok(()));
}

#[test]
fn the_refusal_of_a_module_without_a_handler_names_the_handler() {
    let reason = refused(raw(&raw_text("no_handler")));
    assert!(reason.to_string().contains("millpond:jobs/handler@0.1.3"), "{reason}");
}

#[test]
fn a_program_that_wants_files_is_refused_by_name() {
    let reason = refused(raw(&raw_text("wasi_only")));
    assert!(reason.to_string().contains("wasi_snapshot_preview1"), "{reason}");
}

#[test]
fn a_module_that_imports_exit_is_refused_by_name() {
    let text = raw_text("exits");
    let reason = refused(raw(&text));
    assert!(reason.to_string().contains("wasi_snapshot_preview1"), "{reason}");
    let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    assert_eq!(register_bytes(raw(&text.replace(import, "").replace("(call $exit (i32.const 3))", ""))), Ok(()));
}

#[test]
fn bombs_for_the_compiler_are_refused_before_it_sees_them() {
    let noop = noop();
    assert_eq!(too_complex(crafted::locals(&noop, 1_001)), ("locals in a function:", 1_001, 1_000));
    assert_eq!(too_complex(crafted::locals(&noop, u32::MAX as usize)).0, "locals in a function:");
    assert_eq!(too_complex(crafted::nested_loops(&noop, 51)), ("nested loops:", 51, 50));
    assert_eq!(too_complex(crafted::nested_blocks(&noop, 2_001)), ("nested blocks:", 2_001, 2_000));
    assert_eq!(too_complex(crafted::long_body(&noop, 1 << 20)).0, "bytes in a function:");
    assert_eq!(too_complex(crafted::functions(&noop, 50_000)).0, "functions:");
    let padded = crafted::padded(&noop, (32 << 20) + 100);
    assert!(matches!(refused(padded), PluginError::TooLarge { max: 0x200_0000, .. }));
}

#[test]
fn modules_just_below_the_bounds_are_compiled() {
    let noop = noop();
    let near = [
        crafted::locals(&noop, 1_000),
        crafted::nested_loops(&noop, 50),
        crafted::nested_blocks(&noop, 2_000),
        crafted::long_body(&noop, (1 << 20) - 100),
        crafted::functions(&noop, 5_000),
        crafted::padded(&noop, 1 << 20),
        crafted::another_version(&noop, 7),
    ];
    for (n, bytes) in near.into_iter().enumerate() {
        assert_eq!(register_bytes(bytes), Ok(()), "{n}");
    }
}

#[test]
fn features_that_a_new_engine_might_enable_are_disabled() {
    for (feature, bytes) in crafted::drifted(&noop()) {
        let reason = register_bytes(bytes.clone()).expect_err(feature);
        assert!(matches!(reason, PluginError::Invalid { .. }), "{feature}: {reason:?}");
        // If another tool makes a component of it, the engine itself refuses it.
        let encoded = wit_component::ComponentEncoder::default().module(&bytes).and_then(|mut it| it.encode());
        if let Ok(component) = encoded {
            let reason = register_bytes(component).expect_err(feature);
            assert!(matches!(reason, PluginError::Invalid { .. }), "{feature}: {reason:?}");
        }
    }
}

#[test]
fn a_file_that_is_not_webassembly_is_refused() {
    for (what, bytes) in crafted::no_wasm() {
        let reason = refused(bytes);
        let expected = match what {
            "a header cut off" | "a version of the future" => matches!(reason, PluginError::Invalid { .. }),
            _ => reason == PluginError::NotWasm,
        };
        assert!(expected, "{what}: {reason:?}");
    }
}

/// The bytes are native code, whatever the name of the file.
#[test]
fn precompiled_code_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    register(Ok(from_bytes(noop()).cache(&cache))).unwrap();
    let file = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap();
    // The code follows the checksum.
    let code = std::fs::read(file.path()).unwrap().split_off(32);
    assert_eq!(refused(code), PluginError::Precompiled);
}
