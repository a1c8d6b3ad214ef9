//! `millpond stream tail --follow`: entries of a stream as they are appended, a line each.

use std::convert::Infallible;
use std::time::Duration;

use clap::ArgMatches;
use millpond::dashboard::api::{Entry, EntryQuery, Paging};
use millpond::printable;

use super::From;
use crate::Result;
use crate::at::At;
use crate::output::{self, cut};
use crate::shown::shown_json;

/// The time between two looks at a stream that had nothing new.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Prints entries until Ctrl-C. It begins with the latest ones, or with an offset.
pub async fn follow(matches: &ArgMatches, at: &At, stream: &str, from: From, latest: u64) -> Result<()> {
    let print_all = async {
        let from = from.offset(at, stream, latest).await?;
        print_from(matches, at, stream, from).await
    };
    tokio::select! {
        // First, so that it is heard from the first line on.
        biased;
        asked = tokio::signal::ctrl_c() => Ok(asked?),
        Err(error) = print_all => Err(error),
    }
}

async fn print_from(matches: &ArgMatches, at: &At, stream: &str, mut from: u64) -> Result<Infallible> {
    loop {
        let query = EntryQuery { from: Some(from), limit: Some(Paging::LIMIT_MAX) };
        let page = at.source.entries(stream, query).await?;
        for entry in &page.entries {
            print(matches, entry)?;
            from = entry.offset + 1;
        }
        if page.next.is_none() {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

fn print(matches: &ArgMatches, entry: &Entry) -> Result<()> {
    if matches.get_flag("json") {
        return output::line(&shown_json(&serde_json::to_string(entry)?));
    }
    let Entry { offset, appended_at, kind, key, payload, .. } = entry;
    let words = [offset.to_string(), appended_at.to_string(), kind.clone(), key.clone().unwrap_or_default()];
    let words = words.into_iter().chain([cut(&payload.text, 120)]).filter(|word| !word.is_empty());
    output::line(&printable(&words.collect::<Vec<_>>().join("  ")))
}
