//! Webhooks by HTTP.

use std::time::Duration;

use anyhow::{Result, bail};
use millpond::{JobId, Outcome};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

/// The timeout of a request; if it takes longer, the attempt has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the queue waits after a 429 that does not say how long.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// One service's webhook.
pub struct Webhook {
    client: Client,
    url: String,
}

impl Webhook {
    pub fn new(url: &str) -> Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { client, url: url.to_owned() })
    }

    /// Posts a job's payload, and returns what the answer means for the job. An error can be temporary: the server
    /// cannot be reached, or answers 5xx.
    pub async fn post(&self, job: JobId, body: Vec<u8>) -> Result<Outcome> {
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            // The key is the same in every attempt, so a receiver that remembers it acts only once.
            .header("idempotency-key", job.to_string())
            .body(body);
        let answer = request.send().await?;
        match answer.status() {
            status if status.is_success() => Ok(Outcome::Done(None)),
            StatusCode::TOO_MANY_REQUESTS => Ok(Outcome::rate_limited(retry_after(&answer))),
            status if status.is_server_error() => bail!("{} answered {}", self.url, status.as_u16()),
            // The same request would be refused again, so retries do not help.
            status => Ok(Outcome::dead_letter(format!("{} answered {}", self.url, status.as_u16()))),
        }
    }
}

fn retry_after(answer: &Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs)
}
