//! What the attempts of one worker share.

use std::sync::Arc;

use super::data_map::DataMap;
use super::read_flow::ReadFlow;
use super::step_store::StepStore;
use super::steps_in_memory::StepsInMemory;
use crate::events::EventBus;
use crate::sync::Tasks;

/// What the attempts of one worker share.
pub(crate) struct Shared {
    /// What the worker was given with `.data(...)`.
    pub data: DataMap,
    /// Where the progress of the attempts is published.
    pub bus: Arc<EventBus>,
    /// Reads the flows of their jobs; `None` if no queue runs the handlers.
    pub flows: Option<Box<dyn ReadFlow>>,
    /// Keeps the steps of their jobs.
    pub steps: Option<Box<dyn StepStore>>,
    /// The async runtime of the handlers, if there is one.
    tasks: Option<Tasks>,
}

impl Shared {
    pub fn new(
        data: DataMap,
        bus: Arc<EventBus>,
        flows: Box<dyn ReadFlow>,
        steps: Box<dyn StepStore>,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self { data, bus, flows: Some(flows), steps: Some(steps), tasks: Some(tasks) })
    }

    /// Of handlers that no queue runs: nobody hears their events.
    pub fn of_no_queue(data: DataMap) -> Arc<Self> {
        Arc::new(Self {
            data,
            bus: Arc::new(EventBus::new(1, None)),
            flows: None,
            steps: Some(Box::new(StepsInMemory)),
            tasks: None,
        })
    }
}

/// The data is dropped in the context of the runtime, as the handlers are.
impl Drop for Shared {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        match self.tasks.take() {
            Some(tasks) => tasks.in_context(|| drop(data)),
            None => drop(data),
        }
    }
}
