//! WASI's environment, arguments, directories and terminals, which are all empty, and `exit`, which breaks the attempt.

use wasmtime::component::{LinkerInstance, Resource};

use super::denied::Denied;
use crate::executor::wasm::guest::Guest;

#[derive(Debug, thiserror::Error)]
#[error("it ended itself with {0}: a handler has to return instead")]
struct Exited(&'static str);

fn exited(is_ok: bool) -> wasmtime::Error {
    Exited(if is_ok { "a success" } else { "a failure" }).into()
}

/// Links the function `name`. Returns false if there is no such function here.
pub(super) fn answer(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-environment" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Vec::<(String, String)>::new(),))
        })?,
        "get-arguments" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Vec::<String>::new(),))
        })?,
        "initial-cwd" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((None::<String>,))
        })?,
        "exit" => linked.func_wrap(name, |_, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            Err(exited(status.is_ok()))
        })?,
        "exit-with-code" => {
            linked.func_wrap(name, |_, (code,): (u8,)| -> wasmtime::Result<()> { Err(exited(code == 0)) })?
        }
        "get-terminal-stdin" | "get-terminal-stdout" | "get-terminal-stderr" => {
            linked.func_wrap(name, |mut store, ()| {
                store.data_mut().count_call()?;
                Ok((None::<Resource<Denied>>,))
            })?
        }
        "get-directories" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((Vec::<(Resource<Denied>, String)>::new(),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}
