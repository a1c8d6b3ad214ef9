//! Answers functions of WASI that plugins cannot use.

use wasmtime::component::{LinkerInstance, Type, Val};

use crate::executor::wasm::guest::Guest;

/// The type of resources that no guest ever gets: files, sockets, terminals.
pub(super) struct Denied;

/// The guest called a function that plugins do not have and that cannot return an error.
#[derive(Debug, thiserror::Error)]
#[error("it called {name} of wasi:{interface}, which plugins do not have")]
struct NotThere {
    interface: String,
    name: String,
}

/// The error cases with which WASI's interfaces deny a call, the most fitting first.
const NO: [&str; 4] = ["access-denied", "not-permitted", "not-supported", "unsupported"];

/// Links the function so that it returns its interface's error for a denied call. If its type has no such error, the
/// attempt breaks.
pub(super) fn answer(linked: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let (interface, called) = (interface.to_owned(), name.to_owned());
    linked.func_new(name, move |mut store, ty, _, results| {
        store.data_mut().count_call()?;
        match (ty.results().next().as_ref().and_then(no), results) {
            (Some(no), [result]) => {
                *result = Val::Result(Err(Some(Box::new(Val::Enum(no.to_owned())))));
                Ok(())
            }
            _ => Err(NotThere { interface: interface.clone(), name: called.clone() }.into()),
        }
    })
}

fn no(result: &Type) -> Option<&'static str> {
    let Type::Result(result) = result else { return None };
    let Some(Type::Enum(errors)) = result.err() else { return None };
    NO.into_iter().find(|no| errors.names().any(|name| name == *no))
}
