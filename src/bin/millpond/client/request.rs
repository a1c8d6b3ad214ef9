//! Requests, and how their answers are read.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, header};
use millpond::dashboard::Answer;
use millpond::dashboard::api::{Code, Problem};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Client;
use super::connect::connect;

/// The body of a request.
pub(super) type Sent = Full<Bytes>;

/// Bytes of an answer, at most. A page of jobs that are exported has less: 8 MiB and a job, of which each byte can be six in JSON.
const ANSWER_BYTES_MAX: usize = 128 << 20;

impl Client {
    pub(super) fn get<T: DeserializeOwned + Send + 'static>(&self, path: String) -> Answer<'_, T> {
        Box::pin(async move { parsed(self.send(Method::GET, &path, Bytes::new()).await?).await })
    }

    pub(super) fn post<T: DeserializeOwned + Send + 'static>(&self, path: &'static str, body: Value) -> Answer<'_, T> {
        Box::pin(async move { parsed(self.send(Method::POST, path, body.to_string().into()).await?).await })
    }

    pub(super) async fn text(&self, path: &str) -> Result<String, Problem> {
        let bytes = read(self.send(Method::GET, path, Bytes::new()).await?).await?;
        String::from_utf8(bytes.into()).map_err(|_| unreadable("it is not text"))
    }

    /// Sends a request, and returns its answer if the process has done what was asked for.
    pub(super) async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.base))
            .header(header::HOST, &self.address.host)
            .header(header::ACCEPT, "application/json, text/event-stream, */*");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request =
            request.body(Full::new(body)).map_err(|error| Problem::invalid(format!("cannot ask for that: {error}")))?;
        let sent = connect(&self.address, self.tls.as_ref()).await?.send_request(request).await;
        let answer = sent.map_err(|error| match error.is_parse() || error.is_incomplete_message() {
            true => unavailable(&format!("{error}; if a server with TLS is there, the address begins with https://")),
            false => unavailable(&error.to_string()),
        })?;
        if answer.status().is_success() { Ok(answer) } else { Err(problem(answer).await) }
    }
}

async fn parsed<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Problem> {
    let bytes = read(answer).await?;
    serde_json::from_slice(&bytes).map_err(|error| unreadable(&error.to_string()))
}

async fn read(answer: Response<Incoming>) -> Result<Bytes, Problem> {
    let collected = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| unavailable(&error.to_string()))?.to_bytes())
}

/// What the process says of a request that it has refused.
async fn problem(answer: Response<Incoming>) -> Problem {
    let status = answer.status();
    if let Some(location) = answer.headers().get(header::LOCATION) {
        let location = String::from_utf8_lossy(location.as_bytes());
        let why = "a redirect is not followed, because the token is for the given address only";
        return Problem::new(Code::Internal, format!("the answer is {status} to {location}: {why}"));
    }
    let told = read(answer).await.ok().and_then(|bytes| serde_json::from_slice::<Problem>(&bytes).ok());
    let Some(problem) = told else {
        let code = match status.as_u16() {
            401 => Code::Unauthorized,
            403 => Code::Forbidden,
            404 => Code::NotFound,
            503 => Code::Unavailable,
            _ => Code::Internal,
        };
        return Problem::new(
            code,
            format!("the answer is {status}: does the address end where the dashboard is mounted?"),
        );
    };
    match problem.code {
        Code::Unauthorized => {
            Problem::new(problem.code, format!("{}: give it with `--token` or MILLPOND_TOKEN", problem.detail))
        }
        _ => problem,
    }
}

fn unavailable(why: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("the process did not answer: {why}"))
}

fn unreadable(why: &str) -> Problem {
    Problem::new(Code::Internal, format!("the answer cannot be read: {why}; the process may have another version"))
}
