//! The limits that jobs of any queues share: their names, their units, and how many units are in use.

use super::engine::Engine;
use crate::scheduler::LimitKey;

impl Engine {
    /// The names of all limits, in the order of their numbers.
    pub fn limit_names(&self) -> impl Iterator<Item = &str> {
        self.config.limits.iter().map(|(name, _)| &**name)
    }

    /// The number of the limit of this name.
    pub fn find_limit(&self, name: &str) -> Option<u32> {
        let number = self.limit_names().position(|known| known == name)?;
        u32::try_from(number).ok()
    }

    /// The name of a limit.
    pub fn limit_name(&self, limit: u32) -> &str {
        self.config.limits.get(limit as usize).map_or("", |(name, _)| &**name)
    }

    /// How many units a limit has, and how many are in use.
    pub fn limit_usage(&self, key: LimitKey) -> (u32, u64) {
        self.scheduler().limit_usage(key)
    }

    /// Sets the units of a limit. Returns false if there is no such limit.
    pub fn set_limit(&self, name: &str, units: u32) -> bool {
        let Some(limit) = self.find_limit(name) else { return false };
        self.scheduler().set_limit(limit, units);
        self.wake_dispatcher();
        true
    }
}
