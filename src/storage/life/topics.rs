//! Topics and their bindings: their rows, the verbs that change them, and what a verification finds of them. They do not
//! depend on jobs: the jobs of a publish enter through the door like any other, and its entries are appended as all are.
//!
//! All bindings are in memory too (`job/topic/`). A batch that changes some works on a copy, which is shared after its commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use redb::ReadableTable;

use super::verifier::Verifier;
use crate::error::Error;
use crate::events::Event;
use crate::job::{
    BINDINGS_MAX, Binding, BindingRow, Destination, QueueId, Recipient, TOPICS_MAX, TopicRoutes, TopicRow,
    TopicSettings, Topics,
};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::ReadTables;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::version::{TOPIC_VERSION, raise_to};
use crate::text::printable;

fn topic_row(row: &[u8]) -> Result<TopicRow, Fault> {
    codec::decode(TableName::Topics, 0, row)
}

fn binding_row(number: u64, row: &[u8]) -> Result<BindingRow, Fault> {
    codec::decode(TableName::Bindings, number, row)
}

/// Reads all topics. Rows that cannot be read, and bindings to queues that have no row, are left out: [`rebuild`] removes them. It
/// makes streams that have no row.
pub(in crate::storage) fn read(tables: &ReadTables<'_>, has_row: impl Fn(QueueId) -> bool) -> Result<Topics, Fault> {
    let mut topics = Topics::default();
    for row in tables.topics()?.iter()? {
        let (topic, row) = row?;
        if let Ok(mut row) = topic_row(row.value()) {
            row.alternate = row.alternate.filter(|to| to.queue().is_none_or(&has_row));
            topics.add(topic.value(), row);
        }
    }
    for row in tables.bindings()?.iter()? {
        let (key, row) = row?;
        let (topic, number) = key.value();
        if let Ok(row) = binding_row(number, row.value())
            && row.to.queue().is_none_or(&has_row)
        {
            // A topic whose row cannot be read has no settings.
            if topics.get(topic).is_none() {
                topics.add(topic, TopicRow { created_at: row.created_at, ..TopicRow::default() });
            }
            topics.get_mut(topic).expect("it was added").add(number, row);
        }
    }
    Ok(topics)
}

impl Batch<'_> {
    /// A topic with the bindings that it has in this batch.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`].
    pub fn topic(&self, topic: &str) -> Result<Arc<TopicRoutes>, Error> {
        self.all_topics().get(topic).cloned().ok_or_else(|| Error::NoSuchTopic { topic: topic.to_owned() })
    }

    /// All topics as this batch leaves them.
    fn all_topics(&self) -> Arc<Topics> {
        self.topics.clone().unwrap_or_else(|| self.catalog().topics.get())
    }

    /// The topics that lead to this destination.
    pub(in crate::storage) fn topics_with(&self, to: &Destination) -> Vec<Arc<str>> {
        self.all_topics().with(to)
    }

    /// All topics, to be changed.
    fn topics_mut(&mut self) -> &mut Topics {
        let catalog = self.catalog();
        Arc::make_mut(self.topics.get_or_insert_with(|| catalog.topics.get()))
    }

    /// Makes a topic, if it is not there.
    ///
    /// # Errors
    /// [`Error::TooManyTopics`], before anything was written.
    fn make_topic(&mut self, topic: &str) -> Result<TopicRow, Error> {
        if let Ok(routes) = self.topic(topic) {
            return Ok(routes.row.clone());
        }
        if self.topics_mut().len() >= TOPICS_MAX {
            return Err(Error::TooManyTopics { max: TOPICS_MAX });
        }
        let row = TopicRow { created_at: self.now.wall, ..TopicRow::default() };
        self.put_topic(topic, row.clone())?;
        Ok(row)
    }

    fn put_topic(&mut self, topic: &str, row: TopicRow) -> Result<(), Fault> {
        self.touch();
        raise_to(&mut self.tables, TOPIC_VERSION)?;
        self.tables.topics()?.insert(topic, codec::encode(&row).as_slice())?;
        self.topics_mut().add(topic, row);
        Ok(())
    }

    /// The number of a queue that a row of a topic names. A queue that is new gets a row.
    fn bound_queue(&mut self, queue: &str) -> Result<QueueId, Error> {
        let queue = self.queue_named(queue)?;
        if !self.catalog().is_stored(queue) {
            // A number in the file without its name would be another queue's after a restart.
            self.queue_mut(queue);
        }
        Ok(queue)
    }

    /// Makes a binding that was checked. Returns false if it is there already.
    ///
    /// # Errors
    /// [`Error::TooManyTopics`], [`Error::TooManyBindings`], or too many queues, before anything was written.
    pub fn bind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error> {
        self.forgetting_names(|batch| batch.bind_now(topic, binding))
    }

    fn bind_now(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error> {
        let there = self.topic(topic).ok();
        if let Some(there) = &there {
            if let Some(row) = self.find_row_of(binding)
                && there.find(&row).is_some()
            {
                return Ok(false);
            }
            if there.len() >= BINDINGS_MAX {
                return Err(Error::TooManyBindings { topic: topic.to_owned(), max: BINDINGS_MAX });
            }
        }
        // Otherwise the change would copy the topic once more.
        drop(there);
        // The topic and the queue are made only if neither fails.
        if let Recipient::Queue(queue) = &binding.to {
            self.queue_named(queue)?;
        }
        self.make_topic(topic)?;
        let to = match &binding.to {
            Recipient::Queue(queue) => Destination::Queue(self.bound_queue(queue)?),
            Recipient::Stream(stream) => {
                let stream = stream.as_str().into();
                if self.stream(&stream)?.is_none() {
                    self.make_stream(&stream)?;
                }
                Destination::Stream(stream)
            }
        };
        let row = self.row_of(to, binding);
        self.put_binding(topic, row)?;
        Ok(true)
    }

    fn put_binding(&mut self, topic: &str, row: BindingRow) -> Result<(), Fault> {
        // Also behind a row that cannot be read.
        let last = self.tables.bindings()?.range((topic, 0)..=(topic, u64::MAX))?.next_back().transpose()?;
        let number = last.map_or(0, |(key, _)| key.value().1 + 1);
        self.touch();
        self.tables.bindings()?.insert((topic, number), codec::encode(&row).as_slice())?;
        self.topics_mut().get_mut(topic).expect("it was made").add(number, row);
        Ok(())
    }

    fn row_of(&self, to: Destination, binding: &Binding) -> BindingRow {
        let Binding { key, headers_all, headers_any, .. } = binding.clone();
        BindingRow { to, key, headers_all, headers_any, created_at: self.now.wall }
    }

    /// `None` for a queue that is not there, so that no binding leads to it.
    fn find_row_of(&self, binding: &Binding) -> Option<BindingRow> {
        let to = match &binding.to {
            Recipient::Queue(queue) => Destination::Queue(self.find_queue(queue)?),
            Recipient::Stream(stream) => Destination::Stream(stream.as_str().into()),
        };
        Some(self.row_of(to, binding))
    }

    /// Removes a binding. Returns false if it is not there.
    ///
    /// # Errors
    /// [`Error::NoSuchTopic`].
    pub fn unbind(&mut self, topic: &str, binding: &Binding) -> Result<bool, Error> {
        let there = self.topic(topic)?;
        let found = self.find_row_of(binding).and_then(|row| there.find(&row));
        let Some(number) = found else { return Ok(false) };
        drop(there);
        self.remove_binding(topic, number)?;
        Ok(true)
    }

    fn remove_binding(&mut self, topic: &str, number: u64) -> Result<(), Fault> {
        self.touch();
        self.tables.bindings()?.remove((topic, number))?;
        if let Some(routes) = self.topics_mut().get_mut(topic) {
            routes.remove(number);
        }
        Ok(())
    }

    /// Replaces the settings of a topic, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::TooManyTopics`], or too many queues, before anything was written.
    pub fn configure_topic(&mut self, topic: &str, settings: &TopicSettings) -> Result<(), Error> {
        self.forgetting_names(|batch| {
            // The topic and the queue are made only if neither fails.
            settings.alternate.as_deref().map(|queue| batch.queue_named(queue)).transpose()?;
            let before = batch.make_topic(topic)?;
            let alternate = settings.alternate.as_deref().map(|queue| batch.bound_queue(queue)).transpose()?;
            let alternate = alternate.map(Destination::Queue);
            Ok(batch.put_topic(topic, TopicRow { alternate, mandatory: settings.mandatory, ..before })?)
        })
    }

    /// Removes a topic with its bindings. Returns false if it is not there.
    pub fn remove_topic(&mut self, topic: &str) -> Result<bool, Fault> {
        let Ok(there) = self.topic(topic) else { return Ok(false) };
        self.touch();
        for (number, _) in there.bindings() {
            self.tables.bindings()?.remove((topic, number))?;
        }
        self.tables.topics()?.remove(topic)?;
        self.topics_mut().remove(topic);
        Ok(true)
    }

    /// How many bindings lead to a queue. The alternate of a topic counts as one.
    pub(in crate::storage::life) fn bindings_to(&self, queue: QueueId) -> u64 {
        let topics = self.all_topics();
        let to = Destination::Queue(queue);
        let of_topic = |(_, routes): (&Arc<str>, &Arc<TopicRoutes>)| {
            let bindings = routes.bindings().filter(|(_, binding)| binding.to == to).count() as u64;
            bindings + u64::from(routes.row.alternate.as_ref() == Some(&to))
        };
        topics.iter().map(of_topic).sum()
    }

    /// Removes the bindings that lead to a queue that is removed. Returns how many.
    pub(in crate::storage::life) fn remove_bindings_to(&mut self, queue: QueueId) -> Result<u64, Fault> {
        let to = Destination::Queue(queue);
        let topics = self.all_topics();
        let mut removed = 0;
        for topic in topics.with(&to) {
            let Some(routes) = topics.get(&topic) else { continue };
            for (number, _) in routes.bindings().filter(|(_, binding)| binding.to == to) {
                self.remove_binding(&topic, number)?;
                removed += 1;
            }
            if routes.row.alternate.as_ref() == Some(&to) {
                self.put_topic(&topic, TopicRow { alternate: None, ..routes.row.clone() })?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Counts a publish. If nobody gets the message, that is an event.
    pub fn published(&mut self, topic: &str, key: &str, is_routed: bool) {
        self.publishes.published += 1;
        if !is_routed {
            self.publishes.unrouted += 1;
            self.event(|| Event::Unrouted { topic: topic.into(), key: key.into() });
        }
    }
}

// --- verification ---

/// Checks that the rows of topics and bindings can be read and name queues and streams that have rows.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut topics = BTreeSet::new();
    for row in verifier.tables().topics()?.iter()? {
        verifier.work.rows += 1;
        let (topic, row) = row?;
        let topic = topic.value();
        topics.insert(topic.to_owned());
        match topic_row(row.value()) {
            Ok(row) => {
                let queue = row.alternate.as_ref().and_then(Destination::queue);
                if let Some(queue) = queue.filter(|queue| !verifier.queues.contains_key(queue)) {
                    verifier
                        .problem(format!("the alternate of topic {topic:?} is queue number {queue}, which has no row"));
                }
            }
            Err(_) => verifier.problem(format!("the row of topic {topic:?} cannot be read")),
        }
    }
    for row in verifier.tables().bindings()?.iter()? {
        verifier.work.rows += 1;
        let (key, row) = row?;
        let (topic, number) = key.value();
        if !topics.contains(topic) {
            verifier.problem(format!("there is a binding of topic {topic:?}, which has no row"));
        }
        match binding_row(number, row.value()) {
            Ok(BindingRow { to: Destination::Queue(queue), .. }) => {
                if !verifier.queues.contains_key(&queue) {
                    verifier.problem(format!(
                        "binding {number} of topic {topic:?} leads to queue number {queue}, which has no row"
                    ));
                }
            }
            Ok(BindingRow { to: Destination::Stream(stream), .. }) => {
                if verifier.tables().streams()?.get(&*stream)?.is_none() {
                    verifier.problem(format!(
                        "binding {number} of topic {topic:?} leads to stream {stream:?}, which has no row"
                    ));
                }
            }
            Err(_) => verifier.problem(format!("binding {number} of topic {topic:?} cannot be read")),
        }
    }
    Ok(())
}

/// Moves rows of topics and bindings that cannot be read to the quarantine, and removes what leads to queues that have no row,
/// because their numbers will be other queues'. What is left is what [`read`] has read. Streams that have no row are made, as the
/// next message to them would make them.
pub(in crate::storage) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    if batch.tables.topics_if_used()?.is_none() && batch.tables.bindings_if_used()?.is_none() {
        return Ok(());
    }
    let (mut unread, mut without_queue) = (Vec::new(), Vec::new());
    let (mut with_row, mut with_bindings, mut streams) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let catalog = batch.catalog();
    for row in batch.tables.topics()?.iter()? {
        let (topic, row) = row?;
        let topic = topic.value().to_owned();
        match topic_row(row.value()) {
            Ok(row) => {
                let queue = row.alternate.as_ref().and_then(Destination::queue);
                if queue.is_some_and(|queue| !catalog.is_stored(queue)) {
                    without_queue.push((topic.clone(), None));
                }
                with_row.insert(topic);
            }
            Err(_) => unread.push((topic, None)),
        }
    }
    for row in batch.tables.bindings()?.iter()? {
        let (key, row) = row?;
        let (topic, number) = key.value();
        match binding_row(number, row.value()) {
            Ok(row) => {
                with_bindings.insert(topic.to_owned());
                match row.to {
                    Destination::Queue(queue) if !catalog.is_stored(queue) => {
                        without_queue.push((topic.to_owned(), Some(number)));
                    }
                    Destination::Queue(_) => {}
                    Destination::Stream(stream) => drop(streams.insert(stream)),
                }
            }
            Err(_) => unread.push((topic.to_owned(), Some(number))),
        }
    }
    for (topic, number) in &unread {
        let topic_shown = &*printable(topic);
        match number {
            Some(number) => {
                tracing::error!(
                    topic = topic_shown,
                    number,
                    "a binding cannot be read; it is moved to the quarantine, and nothing goes by it any more"
                );
                let row = batch.tables.bindings()?.get_row((topic.as_str(), *number))?.unwrap_or_default();
                batch.quarantine_row_of(TableName::Bindings, &(topic, number), &row, (None, None))?;
                batch.tables.bindings()?.remove((topic.as_str(), *number))?;
            }
            None => {
                tracing::error!(topic = topic_shown, "the row of a topic cannot be read; its settings are lost");
                let row = batch.tables.topics()?.get_row(topic.as_str())?.unwrap_or_default();
                batch.quarantine_row_of(TableName::Topics, topic, &row, (None, None))?;
                batch.tables.topics()?.remove(topic.as_str())?;
            }
        }
    }
    for (topic, number) in without_queue {
        let topic_shown = &*printable(&topic);
        tracing::error!(topic = topic_shown, "a binding leads to a queue that has no row; it is removed");
        batch.touch();
        match number {
            Some(number) => drop(batch.tables.bindings()?.remove((topic.as_str(), number))?),
            None => {
                let row = batch.tables.topics()?.get_row(topic.as_str())?.map(|row| topic_row(&row)).transpose()?;
                let row = TopicRow { alternate: None, ..row.unwrap_or_default() };
                batch.tables.topics()?.insert(topic.as_str(), codec::encode(&row).as_slice())?;
            }
        }
    }
    for stream in streams {
        if batch.stream(&stream)?.is_none() {
            tracing::error!(stream = &*stream, "a binding leads to a stream that has no row; it is made again, empty");
            batch.make_stream(&stream)?;
        }
    }
    for topic in with_bindings.difference(&with_row) {
        let row = batch.topic(topic).map(|routes| routes.row.clone()).unwrap_or_default();
        batch.put_topic(topic, row)?;
    }
    Ok(())
}
