//! The contract as Rust types, generated from `wit/jobs.wit` at compile time.

#![allow(missing_docs, reason = "generated; each item is documented in wit/jobs.wit")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "job-handler",
    imports: {
        "millpond:jobs/outbound-http.send": async | trappable,
        "millpond:jobs/steps.finish": async | trappable,
        "millpond:jobs/steps.sleep": async | trappable,
        "millpond:jobs/steps.wait-for": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    require_store_data_send: true,
    with: {
        "millpond:jobs/enqueue.new-job": super::draft::Draft,
    },
});

// `self::`, because in doc tests there is also a crate named `millpond`.
pub(super) use self::millpond::jobs::{
    attempt, clock, config, enqueue, flow, log, outbound_http, outcome, progress, random, state, steps, streams,
    topics, types,
};
pub(super) use exports::millpond::jobs::handler::HandleError;
