//! WASI's standard input, which is always at its end, and standard output and error, which are logged.

use wasmtime::component::{ComponentType, Lift, LinkerInstance, Lower, Resource};

use super::spoken::Stream;
use crate::executor::wasm::guest::Guest;

/// An output stream. The representation of its handle is [`OUT`] or [`ERR`].
pub(super) struct Output;

/// The input stream.
pub(super) struct Input;

/// The error of a stream. No stream here ever fails.
pub(super) struct Failed;

/// Something that a guest can wait for: a stream, which is always ready, or a time.
pub(super) struct Waiting;

const OUT: u32 = 1;
const ERR: u32 = 2;

const READY: u32 = 0;
const LATER: u32 = 1;

impl Waiting {
    /// Waits for `wait` nanoseconds. It is ready only if `wait` is 0.
    pub fn until_over(wait: u64) -> Resource<Self> {
        Resource::new_own(if wait == 0 { READY } else { LATER })
    }
}

/// The guest waited for a time. This is refused, because a guest that sleeps holds a slot in which another guest could
/// run.
#[derive(Debug, thiserror::Error)]
#[error("it sleeps, which plugins cannot do: answer `snooze` instead")]
struct Sleeps;

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
#[allow(dead_code, reason = "the whole of the type, as WASI has it")]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<Failed>),
    #[component(name = "closed")]
    Closed,
}

/// The most bytes that a guest is told to write at once.
const WRITE_BYTES_MAX: u64 = 64 << 10;

/// Links the function `name`. Returns false if there is no such function here.
pub(super) fn answer(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-stdin" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Resource::<Input>::new_own(0),))
        })?,
        "get-stdout" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Resource::<Output>::new_own(OUT),))
        })?,
        "get-stderr" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Resource::<Output>::new_own(ERR),))
        })?,
        "[method]error.to-debug-string" => linked.func_wrap(name, |mut store, (_,): (Resource<Failed>,)| {
            store.data_mut().count_call()?;
            Ok((String::new(),))
        })?,
        "[method]output-stream.check-write" => linked.func_wrap(name, |mut store, (_,): (Resource<Output>,)| {
            store.data_mut().count_call()?;
            Ok((Ok::<u64, StreamError>(WRITE_BYTES_MAX),))
        })?,
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            linked.func_wrap(name, |mut store, (output, bytes): (Resource<Output>, Vec<u8>)| {
                store.data_mut().count_call()?;
                let stream = if output.rep() == ERR { Stream::Err } else { Stream::Out };
                store.data_mut().speak(stream, &bytes);
                Ok((Ok::<(), StreamError>(()),))
            })?
        }
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            linked.func_wrap(name, |mut store, (_,): (Resource<Output>,)| {
                store.data_mut().count_call()?;
                Ok((Ok::<(), StreamError>(()),))
            })?
        }
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => {
            linked.func_wrap(name, |mut store, (_, _): (Resource<Input>, u64)| {
                store.data_mut().count_call()?;
                Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
            })?
        }
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => {
            linked.func_wrap(name, |mut store, (_, _): (Resource<Input>, u64)| {
                store.data_mut().count_call()?;
                Ok((Err::<u64, _>(StreamError::Closed),))
            })?
        }
        "[method]output-stream.subscribe" => linked.func_wrap(name, |mut store, (_,): (Resource<Output>,)| {
            store.data_mut().count_call()?;
            Ok((Resource::<Waiting>::new_own(READY),))
        })?,
        "[method]input-stream.subscribe" => linked.func_wrap(name, |mut store, (_,): (Resource<Input>,)| {
            store.data_mut().count_call()?;
            Ok((Resource::<Waiting>::new_own(READY),))
        })?,
        "[method]pollable.ready" => linked.func_wrap(name, |mut store, (waiting,): (Resource<Waiting>,)| {
            store.data_mut().count_call()?;
            Ok((waiting.rep() == READY,))
        })?,
        "[method]pollable.block" => linked.func_wrap(name, |mut store, (waiting,): (Resource<Waiting>,)| {
            store.data_mut().count_call()?;
            if waiting.rep() == READY { Ok(()) } else { Err(Sleeps.into()) }
        })?,
        "poll" => linked.func_wrap(name, |mut store, (waiting,): (Vec<Resource<Waiting>>,)| {
            store.data_mut().count_call()?;
            let ready: Vec<u32> = (0..).zip(&waiting).filter(|(_, it)| it.rep() == READY).map(|(at, _)| at).collect();
            if ready.is_empty() { Err(Sleeps.into()) } else { Ok((ready,)) }
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}
