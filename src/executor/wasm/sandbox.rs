//! The engine that all plugins of a process share: its settings, the pool their instances come from, the ticker. Those
//! that were asked for with one bit pattern for what is no number have an engine of their own, made with the first of them.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use wasmparser::WasmFeatures;
use wasmtime::{Config, Enabled, Engine, Inlining, PoolingAllocationConfig};

use super::limits::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use super::places::{Place, Places, Share};
use super::ticker::{Ticked, Ticker};
use crate::sync::thread::{self, Thread};

/// Fewest guests that may be alive at a time. More costs address space only, until they run.
const GUESTS_MIN: u32 = 32;

/// Guests per processor: one that waits for the network holds its slot.
const GUESTS_PER_CPU: u32 = 8;

/// Most guests at a time: each reserves 16 GiB of address space, of which there are 128 TiB.
const GUESTS_MAX: u32 = 256;

/// Plugins that have a place of their own beside these: with it a plugin runs one guest at a time whatever the others do. More
/// plugins than that share what is left. It costs as much as a place for all.
const OWN_PLACES: u32 = 64;

/// Memory of a slot that stays resident between two guests: below it none of it is unmapped, which is what
/// would make two threads slower than one.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// Memories that a guest may have: the pool has so many for each. One of JavaScript has 3.
pub(super) const MEMORIES_MAX: u64 = 4;

/// Tables that a guest may have: the pool has so many for each. One of JavaScript has 3.
pub(super) const TABLES_MAX: u64 = 8;

/// Core instances that a guest may consist of: the pool has so many for each, which costs nothing. CPython has 38.
pub(super) const CORE_INSTANCES_MAX: u64 = 100;

/// A guest's own stack in bytes; wasm code may use a quarter of it, host functions the rest.
const STACK_BYTES: usize = 2 << 20;
const WASM_STACK_BYTES: usize = 512 << 10;

/// Frames of a trap that are looked up.
const BACKTRACE_FRAMES: usize = 16;

/// The bits of what is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nan {
    /// As the processor has them: two machines may differ.
    AsItComes,
    /// The same everywhere.
    Canonical,
}

pub(super) struct Sandbox {
    pub engine: Engine,
    /// Places for guests that run.
    running: Places,
    /// Instances that are kept to be used again have places beside those that run.
    kept: Places,
    ticker: Arc<Ticker>,
    ticking: Thread,
}

/// Lets a guest run: it has a place, and it is ticked.
pub(super) struct Slot {
    /// None for an instance that has a place of its own.
    _place: Option<Place>,
    _ticked: Ticked<'static>,
}

/// Processors that this process may use.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One plugin's right to places.
pub(super) struct PluginPlaces {
    sandbox: &'static Sandbox,
    running: Share,
    kept: Share,
}

impl Sandbox {
    /// The process's own.
    pub fn shared(nan: Nan) -> Result<&'static Self, String> {
        static SHARED: [OnceLock<Result<Sandbox, String>>; 2] = [OnceLock::new(), OnceLock::new()];
        let guests = u32::try_from(cpus()).unwrap_or(GUESTS_MAX).saturating_mul(GUESTS_PER_CPU);
        let made = SHARED[nan as usize].get_or_init(|| {
            let guests = guests.clamp(GUESTS_MIN, GUESTS_MAX);
            // Whoever has a place finds room in the pool, whatever the others hold: each kind of thing is there as often as
            // there are places, times what a component may have of it.
            Self::new(guests, pool(2 * (guests + OWN_PLACES)), nan)
        });
        made.as_ref().map_err(Clone::clone)
    }

    pub(super) fn new(guests: u32, pool: PoolingAllocationConfig, nan: Nan) -> Result<Self, String> {
        let engine = match Engine::new(config(nan).allocation_strategy(pool)) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(%error, "no pool for plugins: each attempt maps its memory anew, which is slower");
                Engine::new(&config(nan)).map_err(|error| format!("{error:#}"))?
            }
        };
        let ticker = Arc::new(Ticker::default());
        let ticking = ticker.start(engine.weak()).map_err(|error| format!("could not start a thread: {error}"))?;
        let places = || Places::new(guests as usize, OWN_PLACES as usize);
        Ok(Self { engine, running: places(), kept: places(), ticker, ticking })
    }

    /// For one more plugin.
    pub fn places(&'static self) -> PluginPlaces {
        PluginPlaces { sandbox: self, running: self.running.share(), kept: self.kept.share() }
    }

    /// Ticks so far.
    pub fn ticks(&self) -> u64 {
        self.ticker.ticks()
    }
}

impl PluginPlaces {
    /// A place for an instance that is kept, if there is one left.
    pub fn kept_place(&self) -> Option<Place> {
        self.kept.try_take()
    }

    /// A slot, if one is free.
    pub fn free_slot(&self) -> Option<Slot> {
        self.running.try_take().map(|place| self.occupied(Some(place)))
    }

    /// Waits for a slot.
    pub async fn slot(&self) -> Slot {
        let place = self.running.take().await;
        self.occupied(Some(place))
    }

    /// The slot of an instance that was kept, and has its place already.
    pub fn kept_slot(&self) -> Slot {
        self.occupied(None)
    }

    fn occupied(&self, place: Option<Place>) -> Slot {
        Slot { _place: place, _ticked: self.sandbox.ticker.enter(&self.sandbox.ticking) }
    }
}

/// The parts of WebAssembly that there are here. All others are off, also those that the next version of the engine may turn on.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::TAIL_CALL);

/// Whatever is not said here may change its default with the next version, so it is said.
fn config(nan: Nan) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(BACKTRACE_FRAMES))
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .compiler_inlining(Inlining::No)
        .cranelift_nan_canonicalization(nan == Nan::Canonical);
    config
}

/// Room for so many guests, each of which may have as much as a component may.
pub(super) fn pool(guests: u32) -> PoolingAllocationConfig {
    let (memories, tables, instances) = (MEMORIES_MAX as u32, TABLES_MAX as u32, CORE_INSTANCES_MAX as u32);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_core_instances(instances * guests)
        .max_core_instances_per_component(instances)
        .total_memories(memories * guests)
        .max_memories_per_module(memories)
        // What a component has in all is held against these by `wants`, which says so in words of its own.
        .max_memories_per_component(u32::MAX)
        .total_tables(tables * guests)
        .max_tables_per_module(tables)
        .max_tables_per_component(u32::MAX)
        .total_stacks(guests)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(guests)
        .table_elements(TABLE_ELEMENTS_MAX);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_the_address_space_has_no_room_for_is_done_without() {
        let roomy = Sandbox::new(GUESTS_MIN, pool(GUESTS_MIN), Nan::AsItComes).unwrap();
        assert!(roomy.engine.pooling_allocator_metrics().is_some());
        // 4 memories of 4 GiB for each of 20 million.
        let cramped = Sandbox::new(GUESTS_MIN, pool(20_000_000), Nan::AsItComes).unwrap();
        assert!(cramped.engine.pooling_allocator_metrics().is_none());
    }

    #[test]
    fn the_ticker_goes_on_after_it_has_slept() {
        let sandbox: &Sandbox = Box::leak(Box::new(Sandbox::new(1, pool(1), Nan::AsItComes).unwrap()));
        for _ in 0..3 {
            let places = sandbox.places();
            let slot = crate::sync::block_on(places.slot());
            while sandbox.ticker.is_asleep() {
                thread::yield_now();
            }
            drop(slot);
            while !sandbox.ticker.is_asleep() {
                thread::yield_now();
            }
        }
    }
}
