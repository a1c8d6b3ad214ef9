//! What is kept of the plugins that a job has to do with.

use serde::{Deserialize, Serialize};

use super::attempt::ATTEMPT_ERRORS_MAX;
use super::plugin_hash::PluginHash;

/// How plugins are involved in a job. Most jobs have none of this: it is stored in rows of a version of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// 0 for a job that the application enqueued, one more than its parent's for a plugin's follow-up job.
    pub generation: u32,
    /// Which version made its attempts, from which one on.
    pub plugins: Vec<(u32, PluginHash)>,
}

impl Lineage {
    /// This attempt was made by that version. The first and the latest changes are kept.
    pub fn ran(&mut self, attempt: u32, hash: PluginHash) {
        if self.plugins.last().is_some_and(|(_, last)| *last == hash) {
            return;
        }
        if self.plugins.len() == ATTEMPT_ERRORS_MAX {
            self.plugins.remove(1);
        }
        self.plugins.push((attempt, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_noted_once_for_all_its_attempts() {
        let (old, new) = (PluginHash::new([1; 32]), PluginHash::new([2; 32]));
        let mut lineage = Lineage::default();
        for (attempt, hash) in [(1, old), (2, old), (3, new), (4, new), (5, old)] {
            lineage.ran(attempt, hash);
        }
        assert_eq!(lineage.plugins, [(1, old), (3, new), (5, old)]);
        for attempt in 6..200 {
            lineage.ran(attempt, if attempt % 2 == 0 { new } else { old });
        }
        assert_eq!((lineage.plugins.len(), lineage.plugins[0]), (ATTEMPT_ERRORS_MAX, (1, old)));
        assert_eq!(lineage.plugins.last(), Some(&(199, old)));
    }
}
