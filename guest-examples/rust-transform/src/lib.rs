//! A transform: a consumer of the stream of a shop's clicks calls it, and it appends each click to another stream, without what tells who
//! the visitor is.

use std::net::IpAddr;

use millpond_guest::enqueue::NewJob;
use millpond_guest::{OrElse, Result, attempt, config, info, streams};
use serde::{Deserialize, Serialize};

/// A click as the web server appended it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Click {
    /// The address of the visitor.
    pub address: String,
    /// What was clicked.
    pub page: String,
    /// What the visitor's program calls itself.
    #[serde(default)]
    pub agent: String,
}

/// A click as the other stream has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anonymous {
    /// The network that the visitor came from.
    pub network: String,
    /// What was clicked.
    pub page: String,
}

/// Setting `to`: the stream; `clicks-anonymous` if it is not set.
#[millpond_guest::handler]
fn transform(click: Click) -> Result {
    if click.agent.contains("bot") {
        info!("a robot has clicked on {}", click.page);
        return Ok(());
    }
    let address: IpAddr = click.address.parse().or_dead_letter()?;
    let anonymous = Anonymous { network: network(address), page: click.page };
    let mut out = NewJob::new("anonymous-click", &anonymous)?;
    if let Some(entry) = attempt::entry() {
        out = out.header("source", &format!("{}/{}", entry.stream, entry.offset));
        if let Some(key) = &entry.key {
            out = out.group(key); // so the order of each key stays
        }
    }
    streams::append(&config::get("to").unwrap_or_else(|| "clicks-anonymous".into()), out)?;
    Ok(())
}

/// The first half of the address.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            format!("{a}.{b}.0.0/16")
        }
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            format!("{a:x}:{b:x}::/32")
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_guest::testing::{Host, Outcome};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_click_loses_its_visitor_and_keeps_its_key() {
        let mut host = Host::new().entry("clicks", 7).group("shop-1");
        for address in ["203.0.113.9", "2001:db8:1:2::9"] {
            let done = host.run(transform, &json!({ "address": address, "page": "kettle" }));
            assert_eq!(done, Outcome::Done(vec![]));
        }
        let appended = host.appended("clicks-anonymous");
        let networks: Vec<_> = appended.iter().map(|entry| entry.json::<Anonymous>().unwrap().network).collect();
        assert_eq!(networks, ["203.0.0.0/16", "2001:db8::/32"]);
        assert_eq!(appended[0].key(), Some("shop-1"));
    }

    #[test]
    fn the_clicks_of_robots_are_left_out() {
        let mut host = Host::new();
        let robot = json!({ "address": "203.0.113.9", "page": "kettle", "agent": "searchbot/2" });
        assert!(host.run(transform, &robot).is_done());
        assert!(host.appended("clicks-anonymous").is_empty());
        assert_eq!(host.logs().len(), 1);
    }

    #[test]
    fn a_click_without_an_address_is_a_dead_letter() {
        assert!(Host::new().run(transform, &json!({ "address": "", "page": "kettle" })).is_dead_letter());
    }

    #[test]
    fn without_the_grant_it_is_tried_again_and_nothing_is_appended() {
        let mut host = Host::new().config("to", "elsewhere").grant_append(&["anonymous-click@clicks-anonymous"]);
        assert!(host.run(transform, &json!({ "address": "203.0.113.9", "page": "kettle" })).is_retried());
        assert!(host.appended("elsewhere").is_empty());
    }
}
