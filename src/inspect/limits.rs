//! The limits that jobs share, and how much of each is in use.

use serde::Serialize;

use crate::runtime::Engine;
use crate::scheduler::LimitKey;

/// A limit that jobs share ([`Builder::limit`](crate::Builder::limit)), and how much of it is in use.
///
/// ```
/// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
/// let pond = Millpond::builder().limit("gpu", 4).open_backend(memory)?;
/// let gpu = &pond.limits()[0];
/// assert_eq!((&*gpu.name, gpu.units, gpu.used), ("gpu", 4, 0));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitInfo {
    /// Its name.
    pub name: String,
    /// How many units it has.
    pub units: u32,
    /// How many units running jobs use. More than it has, if it was made smaller while they ran.
    pub used: u64,
}

/// All limits that jobs share.
pub(crate) fn limits(engine: &Engine) -> Vec<LimitInfo> {
    let named = (0..).zip(engine.limit_names());
    named
        .map(|(number, name)| {
            let (units, used) = engine.limit_usage(LimitKey::Named(number));
            LimitInfo { name: name.to_owned(), units, used }
        })
        .collect()
}
