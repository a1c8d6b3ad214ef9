//! The events of another process.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body_util::BodyExt;
use hyper::Method;
use millpond::dashboard::api::LiveEvent;
use tokio::sync::mpsc;

use super::Client;

/// Events that wait for the reader, at most. The process that tells them waits then, and leaves some out.
const WAITING_MAX: usize = 1_000;

/// Bytes of one event, at most.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// The events from now on, until the connection ends.
pub(super) fn listen(client: Client) -> BoxStream<'static, LiveEvent> {
    let (tell, mut told) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let Ok(answer) = client.send(Method::GET, "/api/v1/events", Bytes::new()).await else { return };
        let mut body = answer.into_body();
        let mut lines = Lines::default();
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            for event in lines.events(&data) {
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    Box::pin(futures_util::stream::poll_fn(move |cx| told.poll_recv(cx)))
}

/// A body that is read as server-sent events, of which only the lines `data:` are of interest.
#[derive(Default)]
struct Lines {
    unread: Vec<u8>,
}

impl Lines {
    fn events(&mut self, data: &[u8]) -> Vec<LiveEvent> {
        let mut events = Vec::new();
        self.unread.extend_from_slice(data);
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.unread.drain(..=end).collect();
            let json = line.strip_prefix(b"data:");
            events.extend(json.and_then(|json| serde_json::from_slice(json).ok()));
        }
        if self.unread.len() > EVENT_BYTES_MAX {
            self.unread.clear();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_body_is_cut() {
        let event = |kind: &str| LiveEvent { kind: kind.into(), ..LiveEvent::default() };
        let body: String = ["completed", "dead"]
            .map(|kind| format!(": a comment\ndata: {}\n\n", serde_json::to_string(&event(kind)).unwrap()))
            .concat();
        for size in [1, 7, 1_000] {
            let mut lines = Lines::default();
            let read: Vec<_> = body.as_bytes().chunks(size).flat_map(|chunk| lines.events(chunk)).collect();
            assert_eq!(read, [event("completed"), event("dead")]);
        }
    }
}
