//! Sets tags, headers and keys that no job can have, or far too many of them, and tells what the host answers. The host must not
//! remember more of them than a quota allows.

use millpond_guest::bindings::millpond::jobs::enqueue::{Error, NewJob, enqueue, enqueue_many};
use millpond_guest::{OrElse, Raw, Result};

fn answer<T, E: std::fmt::Debug>(result: std::result::Result<T, E>) -> String {
    match result {
        Ok(_) => "enqueued".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

fn one(set: impl FnOnce(&NewJob)) -> String {
    let job = NewJob::new("follow-up", &[]);
    set(&job);
    answer(enqueue(job))
}

#[millpond_guest::handler]
fn flood(what: Raw) -> Result<Vec<String>> {
    let large = "x".repeat(1 << 20);
    Ok(match std::str::from_utf8(&what).or_dead_letter()? {
        "large tag" => vec![one(|job| job.add_tag(&large))],
        "large header" => vec![one(|job| job.set_header("name", &large)), one(|job| job.set_header(&large, "value"))],
        "control characters" => vec![one(|job| job.add_tag("a\0b")), one(|job| job.set_header("a\0b", "\0"))],
        "empty" => vec![one(|job| job.add_tag("")), one(|job| job.set_header("", "value"))],
        "many tags" => vec![one(|job| (0..17).for_each(|n| job.add_tag(&n.to_string())))],
        "same tag" => vec![one(|job| (0..1_000).for_each(|_| job.add_tag("again")))],
        "many headers" => vec![one(|job| (0..5_000).for_each(|n| job.set_header(&n.to_string(), "")))],
        "same header" => vec![one(|job| (0..1_000).for_each(|_| job.set_header("again", &large[..4_000])))],
        "endless headers" => vec![one(|job| (0..1_000_000).for_each(|n| job.set_header(&n.to_string(), "")))],
        // Each job is within its limits. All of them together are over the quota, also if they are never enqueued.
        "many jobs" => {
            let mut jobs: Vec<NewJob> = (0..900).map(|_| NewJob::new("follow-up", &[])).collect();
            for job in &jobs {
                (0..60).for_each(|n| job.set_header(&n.to_string(), ""));
            }
            let last = jobs.split_off(899);
            vec![answer(enqueue(jobs.swap_remove(0))), answer(enqueue_many(last))]
        }
        "unique" => {
            let key = |set: fn(&NewJob)| {
                one(|job| {
                    job.set_unique_key("key");
                    set(job);
                })
            };
            vec![
                one(NewJob::set_unique_until_started),
                one(|job| job.set_unique_for(1)),
                one(|job| job.set_unique_key(&large)),
                one(|job| job.set_unique_key("a\0b")),
                key(|job| job.set_unique_throttle(0)),
                key(|job| job.set_unique_throttle(u64::MAX)),
                key(|job| job.set_unique_for(u64::MAX)),
                key(|job| job.set_unique_debounce(0, 0)),
                key(|job| job.set_unique_debounce(2, 1)),
                key(|job| {
                    job.set_unique_throttle(1);
                    job.set_unique_replace();
                }),
                key(|job| {
                    job.set_unique_keep_latest();
                    job.set_group("group");
                }),
                key(|job| {
                    job.set_unique_keep_latest();
                    job.set_unique_debounce(1, 1);
                }),
                key(|job| {
                    job.set_unique_debounce(1, 1);
                    job.set_delay(1);
                }),
                key(|job| {
                    job.set_unique_until_started();
                    job.set_unique_for(1);
                }),
            ]
        }
        "numbers" => vec![
            one(|job| job.set_timeout(0)),
            one(|job| job.set_weight(0)),
            one(|job| {
                job.set_timeout(u64::MAX);
                job.set_weight(u32::MAX);
                job.set_expiry(u64::MAX);
            }),
        ],
        "batch" => {
            let job = |kind: &str| NewJob::new(kind, &[]);
            let refused = enqueue_many(vec![job("follow-up"), job("not granted"), job("follow-up")]);
            let over = enqueue_many((0..101).map(|_| job("follow-up")).collect::<Vec<_>>());
            vec![
                format!("{} {:?}", refused.as_ref().map_or_else(|refused| refused.index, |_| 99), refused.is_err()),
                over.map_or_else(
                    |refused| format!("{} {}", refused.index, matches!(refused.error, Error::QuotaExceeded)),
                    |_| "all".to_owned(),
                ),
                answer(enqueue_many(Vec::new())),
                answer(enqueue_many(vec![job("follow-up"), job("follow-up")])),
            ]
        }
        // More handles than a guest can hold at a time.
        "handles" => vec![answer(enqueue_many((0..1_001).map(|_| NewJob::new("follow-up", &[])).collect::<Vec<_>>()))],
        other => vec![format!("{other}?")],
    })
}
