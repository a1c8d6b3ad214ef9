//! Asks the nodes of a fleet over the core of NATS: nothing is stored.

use std::time::Duration;

use async_nats::{StatusCode, Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use millpond_links::{ANSWERS_MAX, Fleet, Unavailable};

use crate::JetStream;

/// How long a question may wait for its way to the server.
const SENT_WITHIN: Duration = Duration::from_secs(2);

fn unavailable(error: &dyn std::fmt::Display) -> Unavailable {
    Unavailable(error.to_string())
}

/// The subject of questions is `STREAM-nodes`. It must not be one of the stream's, or the server would store each question and answer
/// it itself.
fn subject(stream: &str) -> String {
    format!("{stream}-nodes")
}

/// Whether an answer may go there. Anybody can ask: an answer is no job, and asks nothing of the server.
fn is_inbox(reply: &str, stream: &str) -> bool {
    let of_stream = reply.strip_prefix(stream).is_some_and(|rest| rest.starts_with(['.', '-']));
    !of_stream && !reply.starts_with('$')
}

impl Fleet for JetStream {
    async fn serve<A>(&self, answer: impl Fn() -> A + Send + Sync) -> Unavailable
    where
        A: Future<Output = Bytes> + Send,
    {
        let (client, stream) = self.core();
        let mut questions = match client.subscribe(subject(stream)).await {
            Ok(questions) => questions,
            Err(error) => return unavailable(&error),
        };
        while let Some(question) = questions.next().await {
            let Some(reply) = question.reply.filter(|reply| is_inbox(reply, stream)) else { continue };
            if let Err(error) = client.publish(reply, answer().await).await {
                tracing::debug!(%error, "a question of the fleet is not answered");
            }
        }
        Unavailable("the connection is closed".into())
    }

    async fn ask(&self, within: Duration) -> Result<Vec<Bytes>, Unavailable> {
        let (client, stream) = self.core();
        let inbox = Subject::from(client.new_inbox());
        let mut heard = client.subscribe(inbox.clone()).await.map_err(|error| unavailable(&error))?;
        let sent = async {
            let asked = client.publish_with_reply(subject(stream), inbox, Bytes::new()).await;
            asked.map_err(|error| unavailable(&error))?;
            client.flush().await.map_err(|error| unavailable(&error))
        };
        let sent = tokio::time::timeout(SENT_WITHIN, sent).await;
        sent.map_err(|_| Unavailable("the server does not answer".into()))??;
        let mut answers = Vec::new();
        let all = async {
            while answers.len() < ANSWERS_MAX
                && let Some(answer) = heard.next().await
            {
                if answer.status == Some(StatusCode::NO_RESPONDERS) {
                    return;
                }
                answers.push(answer.payload);
            }
        };
        let _ = tokio::time::timeout(within, all).await;
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_no_subject_of_the_stream_and_to_none_of_the_server() {
        for reply in ["_INBOX.abc.1", "MPX.a", "answers.MP.job", "MP"] {
            assert!(is_inbox(reply, "MP"), "{reply}");
        }
        for reply in
            ["MP.job.hub.0", "MP.cursor.hub.x", "MP-SHARED.job.thumbnails", "MP-nodes", "$JS.API.STREAM.DELETE.MP"]
        {
            assert!(!is_inbox(reply, "MP"), "{reply}");
        }
    }
}
