//! The engine that all plugins of a process share: its settings, the pool that their instances come from, and the
//! ticker. Plugins with canonical NaN share a second engine, which is made with the first of them.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use wasmparser::WasmFeatures;
use wasmtime::{Config, Enabled, Engine, Inlining, PoolingAllocationConfig};

use super::limits::{MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};
use super::places::{Place, Places, Share};
use super::ticker::{Ticked, Ticker};
use crate::sync::thread::{self, Thread};

/// The number of guests that can be alive at a time on a machine with few processors. Until they run, more guests cost
/// only address space.
const GUESTS_MIN: u32 = 32;

/// The guests per processor. There is more than one, because a guest that waits for the network holds its slot.
const GUESTS_PER_CPU: u32 = 8;

/// The most guests that can be alive at a time. Each reserves 16 GiB of the 128 TiB of address space.
const GUESTS_MAX: u32 = 256;

/// The plugins that have a place of their own beside the shared ones. With it a plugin can run one guest at a time,
/// whatever the other plugins do. Further plugins have only the shared places. An own place costs as much as a shared
/// one.
const OWN_PLACES: u32 = 64;

/// The memory of a slot that stays resident between two guests, in bytes. If less is used, nothing is unmapped:
/// unmapping would make two threads slower than one.
const KEEP_RESIDENT_BYTES: usize = 4 << 20;

/// The most memories of a guest. The pool has as many for each guest. A guest in JavaScript has 3.
pub(super) const MEMORIES_MAX: u64 = 4;

/// The most tables of a guest. The pool has as many for each guest. A guest in JavaScript has 3.
pub(super) const TABLES_MAX: u64 = 8;

/// The most core instances of a guest. The pool has as many for each guest, which costs nothing. CPython has 38.
pub(super) const CORE_INSTANCES_MAX: u64 = 100;

/// The stack of a guest in bytes. WebAssembly code can use `WASM_STACK_BYTES` of it, host functions the rest.
const STACK_BYTES: usize = 2 << 20;
const WASM_STACK_BYTES: usize = 512 << 10;

/// The most frames of a trap's backtrace.
const BACKTRACE_FRAMES: usize = 16;

/// The bits of a NaN (not a number).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nan {
    /// The processor decides them, so two machines can differ.
    AsItComes,
    /// They are the same everywhere.
    Canonical,
}

pub(super) struct Sandbox {
    pub engine: Engine,
    /// Places for guests that run.
    running: Places,
    /// Places for instances that are kept to be used again.
    kept: Places,
    ticker: Arc<Ticker>,
    ticking: Thread,
}

/// What a guest needs to run: a place, and a running ticker. Dropping it frees the place.
pub(super) struct Slot {
    /// `None` for a kept instance, which has a place already.
    _place: Option<Place>,
    _ticked: Ticked<'static>,
}

/// The number of processors that this process can use.
pub(super) fn cpus() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One plugin's access to the places of both kinds.
pub(super) struct PluginPlaces {
    sandbox: &'static Sandbox,
    running: Share,
    kept: Share,
}

impl Sandbox {
    /// The engine of this process for plugins with this setting. It is made at the first call.
    pub fn shared(nan: Nan) -> Result<&'static Self, String> {
        static SHARED: [OnceLock<Result<Sandbox, String>>; 2] = [OnceLock::new(), OnceLock::new()];
        let guests = u32::try_from(cpus()).unwrap_or(GUESTS_MAX).saturating_mul(GUESTS_PER_CPU);
        let made = SHARED[nan as usize].get_or_init(|| {
            let guests = guests.clamp(GUESTS_MIN, GUESTS_MAX);
            // Every guest that has a place finds room in the pool, whatever the other guests hold: the pool has enough
            // of everything for as many guests of the largest size as there are places of both kinds.
            Self::new(guests, pool(2 * (guests + OWN_PLACES)), nan)
        });
        made.as_ref().map_err(Clone::clone)
    }

    pub(super) fn new(guests: u32, pool: PoolingAllocationConfig, nan: Nan) -> Result<Self, String> {
        let engine = match Engine::new(config(nan).allocation_strategy(pool)) {
            Ok(engine) => engine,
            Err(error) => {
                tracing::warn!(%error, "no pool for plugins: each attempt maps its own memory, which is slower");
                Engine::new(&config(nan)).map_err(|error| format!("{error:#}"))?
            }
        };
        let ticker = Arc::new(Ticker::default());
        let ticking = ticker.start(engine.weak()).map_err(|error| format!("could not start a thread: {error}"))?;
        let places = || Places::new(guests as usize, OWN_PLACES as usize);
        Ok(Self { engine, running: places(), kept: places(), ticker, ticking })
    }

    /// Registers one more plugin.
    pub fn places(&'static self) -> PluginPlaces {
        PluginPlaces { sandbox: self, running: self.running.share(), kept: self.kept.share() }
    }

    /// The number of ticks so far.
    pub fn ticks(&self) -> u64 {
        self.ticker.ticks()
    }
}

impl PluginPlaces {
    /// Takes a place for an instance that is kept, if one is free.
    pub fn kept_place(&self) -> Option<Place> {
        self.kept.try_take()
    }

    /// Takes a slot, if one is free.
    pub fn free_slot(&self) -> Option<Slot> {
        self.running.try_take().map(|place| self.occupied(Some(place)))
    }

    /// Waits for a slot.
    pub async fn slot(&self) -> Slot {
        let place = self.running.take().await;
        self.occupied(Some(place))
    }

    /// The slot for a kept instance, which has a place already.
    pub fn kept_slot(&self) -> Slot {
        self.occupied(None)
    }

    fn occupied(&self, place: Option<Place>) -> Slot {
        Slot { _place: place, _ticked: self.sandbox.ticker.enter(&self.sandbox.ticking) }
    }
}

/// The WebAssembly features that plugins can use. All others are off, including those that a later version of the
/// engine turns on by default.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::TAIL_CALL);

/// The engine's settings. Also settings that equal today's defaults are written out, because a later version of the
/// engine can change its defaults.
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

/// A pool with room for `guests` guests, each of the largest size that a component can have.
pub(super) fn pool(guests: u32) -> PoolingAllocationConfig {
    let (memories, tables, instances) = (MEMORIES_MAX as u32, TABLES_MAX as u32, CORE_INSTANCES_MAX as u32);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_core_instances(instances * guests)
        .max_core_instances_per_component(instances)
        .total_memories(memories * guests)
        .max_memories_per_module(memories)
        // `wants` checks the memories and tables of the whole component, with a clearer error.
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
    fn a_sandbox_works_without_a_pool_if_the_address_space_has_no_room_for_it() {
        let roomy = Sandbox::new(GUESTS_MIN, pool(GUESTS_MIN), Nan::AsItComes).unwrap();
        assert!(roomy.engine.pooling_allocator_metrics().is_some());
        // 4 memories of 4 GiB for each of 20 million.
        let cramped = Sandbox::new(GUESTS_MIN, pool(20_000_000), Nan::AsItComes).unwrap();
        assert!(cramped.engine.pooling_allocator_metrics().is_none());
    }

    #[test]
    fn the_ticker_wakes_up_for_a_new_guest() {
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
