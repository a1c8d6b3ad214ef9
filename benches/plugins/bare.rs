//! wasmtime alone: the lowest possible cost of a fresh sandbox for each job.

use std::time::Instant;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig, Store};

use crate::Rate;

mod contract {
    wasmtime::component::bindgen!({ path: "wit", world: "job-handler", exports: { default: async } });
}

pub struct Bare {
    engine: Engine,
    pre: contract::JobHandlerPre<()>,
}

impl Bare {
    pub fn new(module: &[u8]) -> Self {
        // As in src/executor/wasm/sandbox.rs, for 64 guests.
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(64)
            .total_core_instances(2_560)
            .total_memories(256)
            .max_memories_per_module(4)
            .total_tables(256)
            .total_stacks(64)
            .max_memory_size(256 << 20)
            .linear_memory_keep_resident(4 << 20)
            .table_keep_resident(64 << 10)
            .pagemap_scan(Enabled::Auto)
            .max_unused_warm_slots(64)
            .max_core_instances_per_component(50)
            .table_elements(20_000);
        let mut config = Config::new();
        config.epoch_interruption(true).async_stack_size(2 << 20).max_wasm_stack(512 << 10);
        let engine = Engine::new(config.allocation_strategy(pool)).unwrap();
        let component = Component::from_binary(&engine, &encoded(module)).unwrap();
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap();
        let linked = linker.instantiate_pre(&component).unwrap();
        Self { pre: contract::JobHandlerPre::new(linked).unwrap(), engine }
    }

    pub fn run(&self, threads: usize, jobs: u64, payload: &[u8]) -> Rate {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| pollster::block_on(self.calls(jobs / threads as u64, payload)));
            }
        });
        jobs as f64 / start.elapsed().as_secs_f64()
    }

    async fn calls(&self, jobs: u64, payload: &[u8]) {
        for _ in 0..jobs {
            let mut store = Store::new(&self.engine, ());
            store.epoch_deadline_async_yield_and_update(1);
            store.set_epoch_deadline(1);
            let handler = self.pre.instantiate_async(&mut store).await.unwrap();
            let answer = handler.millpond_jobs_handler().call_handle(&mut store, payload).await.unwrap();
            assert!(answer.is_ok());
        }
    }
}

/// Makes a component of a module, like the queue does.
fn encoded(module: &[u8]) -> Vec<u8> {
    if wasmparser::Parser::is_component(module) {
        return module.to_vec();
    }
    crate::guest::component(module)
}
