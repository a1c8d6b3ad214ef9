//! A plugin that cannot run is refused by name when its worker starts.

use millpond::{Error, Grant, Plugin, PluginError, PluginLimits};

use super::guest::{self, ECHO, NOTHING, component, module, module_with, plugin};
use crate::support::*;

fn refused(plugin: Result<Plugin, Error>) -> PluginError {
    let (_, pond) = memory();
    let started = plugin.and_then(|plugin| pond.worker("q").handle_wasm("job", plugin).start());
    match started {
        Err(Error::Plugin { plugin, reason, .. }) => {
            assert_eq!(plugin, "guest");
            reason
        }
        other => panic!("{other:?}"),
    }
}

fn refused_bytes(bytes: Vec<u8>) -> PluginError {
    refused(Plugin::from_bytes("guest", bytes))
}

fn refused_text(text: &str) -> PluginError {
    refused_bytes(wat::parse_str(text).unwrap())
}

#[test]
fn a_file_that_is_not_webassembly_is_refused() {
    for bytes in [&b""[..], b"MZ", b"\0as", b"not a module"] {
        assert_eq!(refused_bytes(bytes.to_vec()), PluginError::NotWasm);
    }
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let whole = module(ECHO);
    for len in (8..whole.len()).step_by(37) {
        let reason = refused_bytes(whole[..len].to_vec());
        assert!(matches!(reason, PluginError::Invalid { .. } | PluginError::NoInterface), "{len}: {reason:?}");
    }
}

#[test]
fn a_file_over_the_largest_size_is_refused() {
    let mut large = module(ECHO);
    large.resize((32 << 20) + 1, 0);
    assert_eq!(refused_bytes(large), PluginError::TooLarge { len: (32 << 20) + 1, max: 32 << 20 });
}

#[test]
fn precompiled_native_code_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, pond) = memory();
    let cached = plugin(ECHO).cache(directory.path().join("cache"));
    pond.worker("q").handle_wasm("job", cached).start().unwrap();
    let file = std::fs::read_dir(directory.path().join("cache")).unwrap().next().unwrap().unwrap();
    let code = std::fs::read(file.path()).unwrap();
    assert_eq!(refused_bytes(code[32..].to_vec()), PluginError::Precompiled);
}

#[test]
fn a_module_without_interfaces_is_refused() {
    assert_eq!(refused_text("(module)"), PluginError::NoInterface);
}

#[test]
fn a_component_of_another_world_is_refused() {
    let reason = refused_text("(component)");
    assert_eq!(reason, PluginError::NoHandler { export: "millpond:jobs/handler@0.1.3" });
}

#[test]
fn an_unknown_import_is_refused() {
    let wasi = r#"(component (import "wasi:nn/graph@0.2.0" (instance)))"#;
    assert_eq!(refused_text(wasi), PluginError::UnknownImport { import: "wasi:nn/graph@0.2.0".into() });
}

#[test]
fn a_function_of_a_newer_host_is_refused() {
    let newer = r#"(component (import "millpond:jobs/log@0.1.0" (instance (export "flush" (func)))))"#;
    let PluginError::UnknownImport { import } = refused_text(newer) else { panic!("it is linked") };
    assert!(import.contains("millpond:jobs/log@0.1.0") && import.contains("flush"), "{import}");
}

#[test]
fn disabled_webassembly_features_are_refused() {
    let parts = [
        ("threads", "(memory 1 1 shared)"),
        ("memory64", "(memory i64 1)"),
        ("gc", "(type (struct))"),
        ("exceptions", "(tag)"),
        ("relaxed SIMD", "(func (param v128) (result v128) local.get 0 i32x4.relaxed_trunc_f32x4_s)"),
    ];
    for (part, text) in parts {
        let component = format!("(component (core module {text}))");
        let reason = refused_text(&component);
        assert!(matches!(reason, PluginError::Invalid { .. }), "{part}: {reason:?}");
    }
}

#[test]
fn more_initial_memory_than_the_limit_is_refused() {
    let limits = PluginLimits::default().memory_bytes(65_536);
    let reason = refused(Ok(plugin(NOTHING).limits(limits)));
    assert_eq!(reason, PluginError::OverLimits { what: "bytes of memory", needs: 131_072, limit: 65_536 });
}

#[test]
fn limits_and_grants_that_cannot_work_are_refused() {
    for (what, limits) in [
        ("limit `time`", PluginLimits::default().time(std::time::Duration::ZERO)),
        ("limit `memory_bytes`", PluginLimits::default().memory_bytes(usize::MAX)),
        ("limit `table_elements`", PluginLimits::default().table_elements(20_001)),
        ("limit `output_bytes`", PluginLimits::default().output_bytes(1 << 30)),
        ("limit `traps_in_a_row`", PluginLimits::default().traps_in_a_row(0)),
    ] {
        let reason = refused(Ok(plugin(NOTHING).limits(limits)));
        assert!(matches!(&reason, PluginError::Misconfigured { what: found, .. } if *found == what), "{reason:?}");
    }
    let reason = refused(Ok(plugin(NOTHING).grant(Grant::enqueue("../etc"))));
    assert!(matches!(&reason, PluginError::Misconfigured { what: "grant `enqueue`", .. }), "{reason:?}");
}

#[test]
fn an_invalid_plugin_name_is_refused() {
    assert!(matches!(Plugin::from_bytes("../x", module(ECHO)), Err(Error::InvalidName { what: "plugin", .. })));
}

/// Each of them takes the compiler disproportionately long, or more memory than there is.
#[test]
fn modules_that_are_very_slow_to_compile_are_refused() {
    let too_complex = |bytes: Vec<u8>| match refused_bytes(bytes) {
        PluginError::TooComplex { what, max, .. } => (what, max),
        other => panic!("{other:?}"),
    };
    let loops = format!("{}{}", "(loop ".repeat(60), ")".repeat(60));
    assert_eq!(too_complex(module_with(NOTHING, &format!("(func {loops})"))), ("nested loops:", 50));
    let blocks = format!("{}{}", "(block ".repeat(2_100), ")".repeat(2_100));
    assert_eq!(too_complex(module_with(NOTHING, &format!("(func {blocks})"))), ("nested blocks:", 2_000));
    let locals = format!("(func (local {}))", "i32 ".repeat(1_001));
    assert_eq!(too_complex(module_with(NOTHING, &locals)), ("locals in a function:", 1_000));
    let long = format!("(func {})", "i32.const 1 drop ".repeat(400_000));
    assert_eq!(too_complex(module_with(NOTHING, &long)), ("bytes in a function:", 1 << 20));
    assert_eq!(too_complex(module_with(NOTHING, &"(func)".repeat(50_001))), ("functions:", 50_000));
    // It is found in a component's module as well.
    assert_eq!(too_complex(component(&module_with(NOTHING, &format!("(func {loops})")))), ("nested loops:", 50));
}

#[test]
fn a_module_just_within_the_bounds_is_compiled() {
    let blocks = format!("{}{}", "(block ".repeat(700), ")".repeat(700));
    let (_, pond) = memory();
    let module = guest::module_with(NOTHING, &format!("(func {blocks}) (func (local {}))", "i32 ".repeat(1_000)));
    pond.worker("q").handle_wasm("job", Plugin::from_bytes("guest", module).unwrap()).start().unwrap();
}
