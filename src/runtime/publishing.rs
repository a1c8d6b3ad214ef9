//! Publishes: the caller matches the message and prepares what it becomes, and the writer checks that the bindings are the same.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::handler::handler_here;
use crate::job::{CallSize, Delivery, EntryOf, NewJob, Published, TopicRoutes, Topics};
use crate::text::printable;
use crate::transaction::{Deliveries, Publication};
use crate::writer::{Publish, PublishAnswer};

impl Engine {
    /// All topics as of the last commit.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn topics(&self) -> Result<Arc<Topics>, Error> {
        self.check_process()?;
        Ok(self.store.catalog.topics.get())
    }

    /// A topic as of the last commit.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`], [`Error::Forked`].
    pub fn topic(&self, topic: &str) -> Result<Arc<TopicRoutes>, Error> {
        let topics = self.topics()?;
        topics.get(topic).cloned().ok_or_else(|| Error::NoSuchTopic { topic: topic.to_owned() })
    }

    /// Publishes a job to a topic.
    pub fn publish(self: &Arc<Self>, topic: &str, key: &str, job: NewJob) -> Commit<Published> {
        let engine = self.clone();
        let message = Publication::new(&*engine.prepare, topic, key, job);
        Commit::new(async move {
            let mut message = Box::new(message?);
            loop {
                let (topic, key) = (message.topic.clone(), message.key.clone());
                match engine.try_publish(message).await? {
                    PublishAnswer::PrepareAgain(again) => message = again,
                    PublishAnswer::Published(published) => {
                        for Delivery { queue, job } in &published.jobs {
                            let key = &*printable(key.as_str());
                            tracing::debug!(id = job.id.get(), queue = &**queue, topic = &*topic, key, "published");
                        }
                        for EntryOf { stream, offset } in &published.entries {
                            let key = &*printable(key.as_str());
                            tracing::debug!(offset, stream = &**stream, topic = &*topic, key, "published");
                        }
                        return Ok(published);
                    }
                }
            }
        })
    }

    async fn try_publish(self: &Arc<Self>, message: Box<Publication>) -> Result<PublishAnswer, Error> {
        // A topic that is not there yet can be there in the batch.
        let seen = self.topics()?.get(&message.topic).map(|routes| (routes.clone(), message.routed(routes)));
        let deliveries = match &seen {
            Some((_, routed)) => message.deliveries(&*self.prepare, routed, &mut CallSize::default())?,
            None => Deliveries::default(),
        };
        let (reply, answer) = oneshot::channel();
        let handler = handler_here().map(|inside| self.waiting_handler(inside));
        let bytes = message.bytes();
        self.submit(Publish::new(message, seen, deliveries, reply, handler), bytes).await?;
        answer.await.map_err(|_| self.unanswered())?
    }
}
