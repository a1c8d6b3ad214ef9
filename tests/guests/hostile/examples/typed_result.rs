//! Does no harm: its result has a type that an application reads it as.

use millpond_guest::{Json, Result};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Words {
    text: String,
}

#[derive(Serialize)]
struct Counted {
    words: u64,
    longest: Option<String>,
}

/// None where there is nothing to count, which is a result as well.
#[millpond_guest::handler]
fn count(job: Words) -> Result<Json<Option<Counted>>> {
    let words: Vec<&str> = job.text.split_whitespace().collect();
    let longest = words.iter().max_by_key(|word| word.len()).map(|word| (*word).to_owned());
    Ok(Json(longest.is_some().then_some(Counted { words: words.len() as u64, longest })))
}
