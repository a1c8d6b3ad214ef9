//! A build with plugins and without their HTTP and WASI refuses a component that needs those, and says which feature it needs.
#![cfg(not(any(feature = "wasm-http", feature = "wasm-wasi")))]

use millpond::{Error, Millpond, Plugin, PluginError};
use redb::backends::InMemoryBackend;

fn refused(text: &str) -> PluginError {
    let pond = Millpond::builder().open_backend(InMemoryBackend::new()).unwrap();
    let plugin = Plugin::from_bytes("guest", wat::parse_str(text).unwrap());
    match plugin.and_then(|plugin| pond.worker("q").handle_wasm("job", plugin).start()) {
        Err(Error::Plugin { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_import_that_this_build_leaves_out_is_refused() {
    for (import, feature) in [
        ("wasi:filesystem/types@0.2.0", "wasm-wasi"),
        ("wasi:cli/stdout@0.2.12", "wasm-wasi"),
        ("millpond:jobs/outbound-http@0.1.0", "wasm-http"),
    ] {
        let reason = refused(&format!(r#"(component (import "{import}" (instance)))"#));
        assert_eq!(reason, PluginError::FeatureOff { import: import.into(), feature });
        assert!(reason.to_string().contains(feature), "{reason}");
    }
    let module = refused(r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)))"#);
    assert_eq!(module, PluginError::FeatureOff { import: "wasi_snapshot_preview1".into(), feature: "wasm-wasi" });
}
