//! WASI's random numbers, which are those of the contract. WASI's insecure random numbers are the same here.

use wasmtime::component::LinkerInstance;

use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::random::BYTES_MAX;

/// The guest asked for more bytes than the limit. WASI has no way to return fewer bytes than it asked for.
#[derive(Debug, thiserror::Error)]
#[error("it asked for {0} random bytes at once, the limit is {BYTES_MAX}")]
struct TooMany(u64);

/// Links the function `name`. Returns false if there is no such function here.
pub(super) fn answer(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> wasmtime::Result<bool> {
    match name {
        "get-random-u64" | "get-insecure-random-u64" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            Ok((store.data_mut().random.number()?,))
        })?,
        "get-random-bytes" | "get-insecure-random-bytes" => linked.func_wrap(name, |mut store, (len,): (u64,)| {
            store.data_mut().count_call()?;
            if len > BYTES_MAX {
                return Err(TooMany(len).into());
            }
            let mut bytes = vec![0; len as usize];
            store.data_mut().random.fill(&mut bytes)?;
            Ok((bytes,))
        })?,
        "insecure-seed" | "get-insecure-seed" => linked.func_wrap(name, |mut store, ()| {
            store.data_mut().count_call()?;
            let random = &mut store.data_mut().random;
            Ok(((random.number()?, random.number()?),))
        })?,
        _ => return Ok(false),
    }
    Ok(true)
}
