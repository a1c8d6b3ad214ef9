//! Links the functions and resources of WASI that a component imports.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, ResourceType};

use super::denied::{self, Denied};
use super::streams::{Failed, Input, Output, Waiting};
use super::{clocks, process, random, streams};
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::wants::wasi_interface;

/// Links everything that the component imports from WASI.
pub(in crate::executor::wasm) fn add_to(linker: &mut Linker<Guest>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (import, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(instance)) = (wasi_interface(import), item.ty) else {
            continue;
        };
        let mut linked = linker.instance(import)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => function(&mut linked, interface, name)?,
                ComponentItem::Resource(_) => linked.resource(name, resource(name), |_, _| Ok(()))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn function(linked: &mut LinkerInstance<'_, Guest>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let is_answered = match interface {
        "cli/environment" | "cli/exit" | "filesystem/preopens" => process::answer(linked, name)?,
        "clocks/monotonic-clock" => clocks::answer_monotonic(linked, name)?,
        "clocks/wall-clock" => clocks::answer_wall(linked, name)?,
        "io/error" | "io/poll" | "io/streams" | "cli/stdin" | "cli/stdout" | "cli/stderr" => {
            streams::answer(linked, name)?
        }
        "random/random" | "random/insecure" | "random/insecure-seed" => random::answer(linked, name)?,
        _ if interface.starts_with("cli/terminal-") => process::answer(linked, name)?,
        _ => false,
    };
    if is_answered { Ok(()) } else { denied::answer(linked, interface, name) }
}

/// The host type of a resource. Interfaces use each other's resources by name, so the name alone decides.
fn resource(name: &str) -> ResourceType {
    match name {
        "output-stream" => ResourceType::host::<Output>(),
        "input-stream" => ResourceType::host::<Input>(),
        "pollable" => ResourceType::host::<Waiting>(),
        "error" => ResourceType::host::<Failed>(),
        _ => ResourceType::host::<Denied>(),
    }
}
