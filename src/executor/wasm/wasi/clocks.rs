//! WASI's clocks, which show the time of the queue's clocks.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower};

use super::streams::Waiting;
use crate::executor::wasm::guest::{Guest, instant, nanoseconds};

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// The resolution of the clocks in nanoseconds.
const RESOLUTION: u64 = 1_000_000;

/// Links the function `name`. Returns false if there is no such function here.
pub(super) fn answer_wall(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            let now = instant(store.data().context.facts().time.wall());
            let seconds = u64::try_from(now.seconds).unwrap_or(0);
            Ok((Datetime { seconds, nanoseconds: now.nanoseconds },))
        })?,
        "resolution" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Datetime { seconds: 0, nanoseconds: RESOLUTION as u32 },))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Links the function `name`. Returns false if there is no such function here.
pub(super) fn answer_monotonic(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "now" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((nanoseconds(store.data().context.facts().time.mono()),))
        })?,
        "resolution" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((RESOLUTION,))
        })?,
        "subscribe-duration" => linked.func_wrap(name, |mut store, (wait,): (u64,)| {
            store.data_mut().count_call()?;
            Ok((Waiting::until_over(wait),))
        })?,
        "subscribe-instant" => linked.func_wrap(name, |mut store, (at,): (u64,)| {
            store.data_mut().count_call()?;
            let now = nanoseconds(store.data().context.facts().time.mono());
            Ok((Waiting::until_over(at.saturating_sub(now)),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}
