//! `Plugin::check` reports what a plugin is and what it needs, with the code that registers plugins.

use millpond::{Error, NewJob, Plugin, PluginError, PluginLimits};

use super::built::{file, from_bytes, noop};
use super::guest::{ECHO, NOTHING, component, module, plugin};
use crate::support::*;

#[test]
fn a_module_and_its_component_have_the_same_imports_and_exports() {
    let module = module("(call $log (i32.const 2) (i32.const 0) (i32.const 0)) (call $ok (i32.const 0) (i32.const 0))");
    let (core, whole) = (from_bytes(module.clone()).check().unwrap(), from_bytes(component(&module)).check().unwrap());
    assert_eq!((core.is_component, core.bytes), (false, module.len()));
    assert!(whole.is_component && whole.hash != core.hash);
    assert_eq!((&core.imports, &core.exports, core.memory_bytes), (&whole.imports, &whole.exports, whole.memory_bytes));
    assert_eq!((core.memories, core.memory_bytes), (1, 131_072));
    assert_eq!(core.exports, ["millpond:jobs/handler@0.1.3"]);
    let log = core.imports.iter().find(|import| import.interface == "millpond:jobs/log@0.1.3").unwrap();
    assert_eq!((&log.functions[..], log.grant), (&["log".to_owned()][..], None));
}

#[test]
fn follow_up_jobs_need_a_grant() {
    let filter = from_bytes(file("guest-examples/rust-webhook-filter/webhook-filter.wasm")).check().unwrap();
    let needs: Vec<_> = filter.imports.iter().filter(|import| import.grant.is_some()).collect();
    let [enqueue] = &needs[..] else { panic!("{needs:?}") };
    assert_eq!(enqueue.interface, "millpond:jobs/enqueue@0.1.3");
    assert!(enqueue.functions.iter().any(|function| function == "enqueue"), "{enqueue:?}");
    assert!(from_bytes(noop()).check().unwrap().imports.iter().all(|import| import.grant.is_none()));
}

#[tokio::test]
async fn a_check_reports_the_version_that_then_runs() {
    let (_, pond) = memory();
    let info = plugin(ECHO).check().unwrap();
    pond.worker("q").handle_wasm("job", plugin(ECHO)).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().plugins, [(1, info.hash)]);
}

#[test]
fn a_check_and_a_start_refuse_a_plugin_with_the_same_error() {
    let (_, pond) = memory();
    let little = PluginLimits::default().memory_bytes(65_536);
    let refused: [fn(PluginLimits) -> Plugin; 3] = [
        |_| from_bytes(wat::parse_str("(component)").unwrap()),
        |_| from_bytes(module(ECHO)[..200].to_vec()),
        |little| plugin(NOTHING).limits(little),
    ];
    for make in refused {
        let checked = make(little.clone()).check();
        let started = pond.worker("q").handle_wasm("job", make(little.clone())).start();
        match (checked, started) {
            (Err(Error::Plugin { reason, .. }), Err(Error::Plugin { reason: at_start, .. })) => {
                assert_eq!(reason, at_start);
                assert_ne!(reason, PluginError::NotWasm);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_check_serialized_as_json_has_its_version_as_text_and_its_limits_by_name() {
    let limits = PluginLimits::default().time(SECOND).follow_ups(7);
    let info = plugin(ECHO).limits(limits).check().unwrap();
    let json = serde_json::to_value(&info).unwrap();
    assert_eq!(json["hash"], info.hash.to_string());
    assert_eq!((&json["limits"]["time_ms"], &json["limits"]["follow_ups"]), (&1_000.into(), &7.into()));
}
