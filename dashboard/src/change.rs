//! The one way of every change: is it permitted, make it, tell who has made it.

use crate::api::{Action, Done, Problem};
use crate::options::{Actor, Audited};
use crate::site::Site;

/// Makes a change, if it is permitted.
pub(crate) async fn make(site: &Site, actor: &Actor, action: Action) -> Result<Done, Problem> {
    let done = match site.options.permits(actor, &action) {
        Ok(()) => site.source.act(action.clone()).await,
        Err(problem) => Err(problem),
    };
    let outcome = done.as_ref().map(|done| done.message.as_str());
    site.options.tell(&Audited { actor, action: &action, outcome });
    done
}
