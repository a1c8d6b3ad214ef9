//! Topics and their bindings.

use crate::{Binding, Matched, Millpond, Recipient, TopicInfo, TopicSettings};

use super::actions::{done, new_job, unchanged};
use super::api::{self, Done, Paging, Problem, Topic, TopicDetail, TopicMessage, TopicPage};
use super::jobs::time;

pub(super) fn list(pond: &Millpond, page: &Paging) -> Result<TopicPage, Problem> {
    let all = pond.topics()?;
    let total = all.len() as u64;
    let start = page.start().unwrap_or_default();
    let mut rest = all.into_iter().filter(|topic| topic.name.as_str() > start).peekable();
    let topics: Vec<_> = rest.by_ref().take(page.entries()).map(shown).collect();
    let next = rest.peek().and(topics.last()).map(|topic| topic.name.clone());
    Ok(TopicPage { total, topics, next })
}

/// A topic with a page of its bindings. A page begins at a number: bindings have no other name.
pub(super) fn get(pond: &Millpond, name: &str, page: &Paging) -> Result<TopicDetail, Problem> {
    let start = page.start().unwrap_or("0");
    let start: usize = start.parse().map_err(|_| Problem::invalid(format!("`after` is no number: {start:?}")))?;
    let all = pond.topic(name)?.bindings()?;
    let topic = pond.topics()?.into_iter().find(|topic| topic.name == name);
    let topic = topic.map(shown).ok_or_else(|| Problem::not_found(format!("there is no topic {name:?}")))?;
    let end = start.saturating_add(page.entries());
    let next = (end < all.len()).then(|| end.to_string());
    let bindings = all.into_iter().skip(start).take(page.entries()).map(shown_binding).collect();
    Ok(TopicDetail { topic, bindings, next })
}

pub(super) fn matches(pond: &Millpond, name: &str, message: &TopicMessage) -> Result<api::Matched, Problem> {
    let headers: Vec<_> =
        message.headers.lines().filter(|line| !line.trim().is_empty()).map(header).collect::<Result<_, _>>()?;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let Matched { queues, streams, used_alternate } = pond.topic(name)?.matches(&message.key, &headers)?;
    Ok(api::Matched { queues, streams, used_alternate })
}

pub(super) fn bind(pond: &Millpond, topic: &str, given: api::Binding) -> Result<Done, Problem> {
    let to = recipient(&given)?;
    let is_new = pond.topic(topic)?.bind(binding(given)?).wait()?;
    let said = format!("{to} is bound to topic {topic}");
    Ok(if is_new { done(said) } else { unchanged(format!("{said} like this already")) })
}

pub(super) fn unbind(pond: &Millpond, topic: &str, given: api::Binding) -> Result<Done, Problem> {
    let to = recipient(&given)?;
    match pond.topic(topic)?.unbind(binding(given)?).wait()? {
        true => Ok(done(format!("a binding of {to} to topic {topic} is removed"))),
        false => Err(Problem::not_found(format!("topic {topic} has no such binding to {to}"))),
    }
}

pub(super) fn configure(
    pond: &Millpond,
    topic: &str,
    alternate: Option<String>,
    is_mandatory: bool,
) -> Result<Done, Problem> {
    let settings = TopicSettings { alternate, mandatory: is_mandatory };
    pond.topic(topic)?.configure(settings).wait()?;
    Ok(done(format!("topic {topic} has new settings")))
}

pub(super) fn remove(pond: &Millpond, topic: &str) -> Result<Done, Problem> {
    match pond.topic(topic)?.remove().wait()? {
        true => Ok(done(format!("topic {topic} is removed"))),
        false => Err(Problem::not_found(format!("there is no topic {topic:?}"))),
    }
}

pub(super) fn publish(pond: &Millpond, topic: &str, key: &str, job: api::NewJob) -> Result<Done, Problem> {
    if !job.queue.is_empty() {
        return Err(Problem::invalid("the bindings of the topic say who gets a message: leave out `queue`"));
    }
    let published = pond.topic(topic)?.publish(key, new_job(job)?).wait()?;
    let jobs = published.jobs.iter().map(|sent| format!("job {} in queue {}", sent.job.id, sent.queue));
    let entries = published.entries.iter().map(|entry| format!("entry {} of stream {}", entry.offset, entry.stream));
    let all: Vec<_> = jobs.chain(entries).collect();
    let said = match &all[..] {
        [] => return Ok(unchanged(format!("no binding of topic {topic} matches: nobody got the message"))),
        _ if published.used_alternate => {
            format!("no binding matches, so the alternate queue got it: {}", all.join(", "))
        }
        _ => all.join(", "),
    };
    Ok(Done { changed: all.len() as u64, ..done(said) })
}

/// Where a binding leads to, in words.
fn recipient(given: &api::Binding) -> Result<String, Problem> {
    given.recipient().ok_or_else(|| Problem::invalid("say to which queue or to which stream the binding leads"))
}

fn binding(given: api::Binding) -> Result<Binding, Problem> {
    let headers = |lines: Vec<String>| lines.iter().map(|line| header(line)).collect::<Result<Vec<_>, _>>();
    let binding = match given.stream {
        Some(stream) => Binding::to_stream(stream),
        None => Binding::to(given.queue.unwrap_or_default()),
    };
    let binding = binding.headers_all(headers(given.headers_all)?).headers_any(headers(given.headers_any)?);
    Ok(given.key.into_iter().fold(binding, Binding::key))
}

/// A header in one text.
fn header(line: &str) -> Result<(String, String), Problem> {
    let (name, value) = line
        .split_once('=')
        .ok_or_else(|| Problem::invalid(format!("write a header as `name=value`, not {line:?}")))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn shown_binding(binding: Binding) -> api::Binding {
    let headers =
        |headers: Vec<(String, String)>| headers.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (queue, stream) = match binding.to {
        Recipient::Queue(queue) => (Some(queue), None),
        Recipient::Stream(stream) => (None, Some(stream)),
    };
    api::Binding {
        queue,
        stream,
        key: binding.key,
        headers_all: headers(binding.headers_all),
        headers_any: headers(binding.headers_any),
    }
}

fn shown(topic: TopicInfo) -> Topic {
    Topic {
        name: topic.name,
        bindings: topic.bindings as u64,
        alternate: topic.settings.alternate,
        is_mandatory: topic.settings.mandatory,
        created_at: time(topic.created_at),
    }
}
