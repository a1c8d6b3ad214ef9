//! The one way of every change: is it permitted, make it, tell who has made it.

use crate::api::{Action, Check, Code, Done, Problem};
use crate::options::{Actor, Audited};
use crate::site::Site;

/// Makes a change, if it is permitted.
pub(crate) async fn make(site: &Site, actor: &Actor, action: Action) -> Result<Done, Problem> {
    if action == Action::Check {
        return Ok(check(site, actor).await?.into_done());
    }
    let done = match site.options.permits(actor, &action) {
        Ok(()) => site.source.act(action.clone()).await,
        Err(problem) => Err(problem),
    };
    let outcome = done.as_ref().map(|done| done.message.as_str());
    site.options.tell(&Audited { actor, action: &action, outcome });
    done
}

/// Checks the whole file, if that is permitted. One check runs at a time.
pub(crate) async fn check(site: &Site, actor: &Actor) -> Result<Check, Problem> {
    let action = Action::Check;
    let check = match (site.options.permits(actor, &action), site.checking.try_lock()) {
        (Ok(()), Ok(_checking)) => site.source.check().await,
        (Ok(()), Err(_)) => Err(Problem::new(Code::Conflict, "another check runs: try again when it has ended")),
        (Err(problem), _) => Err(problem),
    };
    let told = check.as_ref().map(Check::sentence);
    site.options.tell(&Audited { actor, action: &action, outcome: told.as_deref().map_err(|problem| *problem) });
    check
}
