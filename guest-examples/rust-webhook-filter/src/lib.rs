//! Passes on the webhook deliveries that matter: each once, in the order of its source, and counts the rest.

use millpond_guest::enqueue::{NewJob, name_for};
use millpond_guest::{Result, config, info, state};
use serde::{Deserialize, Serialize};

/// A delivery as the web server enqueued it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Delivery {
    /// The sender's id for it: a sender that got no answer sends it again.
    pub id: String,
    /// Who sent it.
    pub source: String,
    /// What happened, as `order.paid`.
    pub event: String,
    /// What the sender says about it.
    #[serde(default)]
    pub body: serde_json::Value,
}

/// What became of a delivery: the job's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// A follow-up job brings it to who wants to know.
    Passed,
    /// Nobody wants to know of such events.
    Ignored,
    /// It was here before.
    Seen,
}

/// Setting `events`: what is passed on, separated by commas, a trailing `*` for all that begins so; all if it is not set.
/// Setting `kind`: what the follow-up jobs are; `webhook` if it is not set.
#[millpond_guest::handler]
fn filter(delivery: Delivery) -> Result<Answer> {
    // What a sender sends may be any text, of any length.
    let (id, source, event) = (name_for(&delivery.id), name_for(&delivery.source), name_for(&delivery.event));
    let seen = format!("seen/{id}");
    if state::get::<bool>(&seen)?.is_some() {
        return Ok(Answer::Seen);
    }
    state::set(&seen, &true)?;
    state::increment(&format!("events/{event}"), 1)?;
    if !wanted(&delivery.event) {
        info!("nobody wants {} from {}", delivery.event, delivery.source);
        return Ok(Answer::Ignored);
    }
    let kind = config::get("kind").unwrap_or_else(|| "webhook".into());
    NewJob::new(&kind, &delivery)?.group(&source).unique_key(&id).enqueue()?;
    Ok(Answer::Passed)
}

fn wanted(event: &str) -> bool {
    let Some(list) = config::get("events") else { return true };
    list.split(',').map(str::trim).any(|entry| match entry.strip_suffix('*') {
        Some(beginning) => event.starts_with(beginning),
        None => event == entry,
    })
}

#[cfg(test)]
mod tests {
    use millpond_guest::testing::Host;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_delivery_is_passed_on_once() {
        let mut host = Host::new();
        let delivery = json!({ "id": "d1", "source": "shop", "event": "order.paid" });
        assert_eq!(host.run(filter, &delivery).json(), Some(Answer::Passed));
        assert_eq!(host.run(filter, &delivery).json(), Some(Answer::Seen));
        assert_eq!(host.enqueued().len(), 1);
        assert_eq!(host.counter("events/order.paid"), 1);
    }

    #[test]
    fn what_nobody_wants_is_counted_and_not_passed_on() {
        let mut host = Host::new().config("events", "order.*, refund");
        for (id, event) in [("a", "order.paid"), ("b", "login"), ("c", "refund"), ("d", "refunded")] {
            host.run(filter, &json!({ "id": id, "source": "shop", "event": event }));
        }
        let passed: Vec<_> = host.enqueued().iter().map(|job| job.json::<Delivery>().unwrap().event).collect();
        assert_eq!(passed, ["order.paid", "refund"]);
        assert_eq!(host.counter("events/login"), 1);
        assert_eq!(host.logs().len(), 2);
    }

    #[test]
    fn whatever_a_sender_calls_itself_and_its_deliveries_is_passed_on() {
        let mut host = Host::new();
        for id in ["d 1", "ada@example.org", "名前", "", ".", &"long".repeat(200)] {
            let delivery = json!({ "id": id, "source": format!("https://{id}/"), "event": format!("{id}.paid") });
            assert_eq!(host.run(filter, &delivery).json(), Some(Answer::Passed), "{id}");
            assert_eq!(host.run(filter, &delivery).json(), Some(Answer::Seen), "{id}");
        }
        assert_eq!(host.enqueued().len(), 6);
    }

    #[test]
    fn a_delivery_without_an_id_is_dead_letter() {
        assert!(Host::new().run(filter, &json!({ "event": "order.paid" })).is_dead_letter());
    }

    #[test]
    fn a_refused_follow_up_leaves_the_delivery_unseen() {
        let delivery = json!({ "id": "d1", "source": "shop", "event": "order.paid" });
        let mut host = Host::new().grant(&["mail"]);
        assert!(host.run(filter, &delivery).is_retried());
        assert_eq!(host.keys().count(), 0);
    }
}
