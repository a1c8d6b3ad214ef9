//! Payloads, results and error texts pass the payload codec on their way into the file and out of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use millpond::{
    BoxError, Codec, Context, Error, FailureKind, Job, JobFilter, JobPatch, Millpond, NewJob, Outcome, PayloadCodec,
    Retention, Retry, State,
};
use redb::backends::InMemoryBackend;

use crate::support::*;

/// Shifts each byte by its key, in front of which it writes the key. Reads what has a key that it knows.
#[derive(Clone, Default)]
struct Shifted(Arc<Watched>);

#[derive(Default)]
struct Watched {
    /// Whether the key 2 is known, and used for new bytes.
    knows_two: AtomicBool,
    encoded: AtomicUsize,
    decoded: AtomicUsize,
}

impl Shifted {
    fn with_two() -> Self {
        let shifted = Self::default();
        shifted.0.knows_two.store(true, Ordering::SeqCst);
        shifted
    }

    fn calls(&self) -> (usize, usize) {
        (self.0.encoded.swap(0, Ordering::SeqCst), self.0.decoded.swap(0, Ordering::SeqCst))
    }
}

impl PayloadCodec for Shifted {
    fn name(&self) -> &str {
        "shifted"
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        self.0.encoded.fetch_add(1, Ordering::SeqCst);
        if bytes.windows(6).any(|word| word == b"refuse") {
            return Err("this codec refuses it".into());
        }
        if bytes.windows(5).any(|word| word == b"panic") {
            panic!("this codec panics");
        }
        if bytes.windows(7).any(|word| word == b"explode") {
            return Ok(vec![1; 20 << 20].into());
        }
        let key = if self.0.knows_two.load(Ordering::SeqCst) { 2 } else { 1 };
        Ok(std::iter::once(key).chain(bytes.iter().map(|byte| byte.wrapping_add(key))).collect())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        self.0.decoded.fetch_add(1, Ordering::SeqCst);
        match bytes.split_first() {
            Some((&key @ 1..=2, rest)) if key == 1 || self.0.knows_two.load(Ordering::SeqCst) => {
                Ok(rest.iter().map(|byte| byte.wrapping_sub(key)).collect())
            }
            _ => Err("its key is not known".into()),
        }
    }
}

fn coded() -> (millpond::testing::ManualClock, Millpond) {
    memory_with(|builder| builder.payload_codec(Shifted::default()))
}

fn text(text: &str) -> NewJob {
    NewJob::json("text", text)
}

/// Answers as the text says.
async fn answer(job: Job<Bytes>, ctx: Context) -> Result<Outcome, millpond::Failure> {
    let text: String = serde_json::from_slice(&job).unwrap();
    match text.split_once(' ') {
        Some(("fail", rest)) => Err(rest.into()),
        Some(("dead", rest)) => Ok(Outcome::dead_letter(rest)),
        Some(("cancel", rest)) => Ok(Outcome::cancel(rest)),
        Some(("result", rest)) => Ok(Outcome::done_with(rest.to_owned())),
        Some(("hook", rest)) => {
            let rest = rest.to_owned();
            ctx.on_complete(move |_| Err(rest.clone().into()));
            Ok(Outcome::done())
        }
        _ => Ok(Outcome::done()),
    }
}

fn worker(pond: &Millpond, retry: Retry) {
    pond.worker("q").concurrency(1).retry(retry).handle_raw("text", answer).start().unwrap();
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn nothing_that_a_job_says_is_in_the_file_as_it_was_given_and_everything_is_read_back() {
    let disk = OnDisk::new();
    let open = || {
        let builder = disk.builder().retention(Retention::default().completed(millpond::Keep::FOREVER));
        builder.payload_codec(Shifted::default()).open(disk.path()).unwrap()
    };
    let pond = open();
    worker(&pond, Retry::fixed(HOUR).jitter(0.0).max_attempts(2));
    let mut events = pond.events();
    let says = ["done secret", "fail secret", "dead secret", "cancel secret", "result secret", "hook secret"];
    let ids = pond.enqueue_many("q", says.map(text)).await.unwrap();
    drained(&pond).await;

    let check = |pond: &Millpond| {
        let jobs: Vec<_> = ids.iter().map(|id| pond.job(*id).unwrap()).collect();
        for (job, said) in jobs.iter().zip(says) {
            assert_eq!((job.payload.decode::<String>().unwrap().as_str(), &job.codec_error), (said, &None));
        }
        assert_eq!(jobs[1].errors[0].message, "secret");
        assert_eq!((jobs[2].state, jobs[2].reason.as_deref()), (State::Dead, Some("secret")));
        assert_eq!((jobs[3].state, jobs[3].reason.as_deref()), (State::Cancelled, Some("secret")));
        assert_eq!(jobs[4].result.as_deref(), Some(&b"secret"[..]));
        assert!(jobs[5].errors[0].message.ends_with("secret"), "{:?}", jobs[5].errors);
        let found = pond.jobs(&JobFilter::new().error_contains("secret"), None, 10).unwrap();
        assert_eq!(found.jobs.len(), 4);
        assert_eq!(found.jobs[0].payload.codec, Codec::Json);
        assert!(pond.jobs(&JobFilter::new().error_contains("coded"), None, 10).unwrap().jobs.is_empty());
    };
    check(&pond);
    let heard: Vec<_> = heard(&mut events).into_iter().map(|event| format!("{event:?}")).collect();
    for said in ["Retrying", "Dead", "Cancelled"] {
        assert!(heard.iter().any(|event| event.starts_with(said) && event.contains("secret")), "{said}: {heard:?}");
    }
    assert!(!heard.iter().any(|event| event.contains("coded")), "{heard:?}");
    close(pond).await;
    assert!(!contains(&std::fs::read(disk.path()).unwrap(), "secret"));
    let pond = open();
    check(&pond);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_handler_gets_what_was_given_by_every_way_to_give_it() {
    let (_, pond) = coded();
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.enqueue("q", text("one")).await.unwrap();
    pond.enqueue_many("q", [text("two")]).await.unwrap();
    pond.enqueue_all([("q", text("three"))]).await.unwrap();
    pond.transaction(|tx| Ok(tx.enqueue_many("q", [text("four")])?)).await.unwrap();
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("q", text("five")).unwrap();
    guard.commit().unwrap();
    let updated = pond.enqueue("q", text("wrong")).await.unwrap();
    pond.update(updated, JobPatch::new().payload(text("six"))).await.unwrap();
    pond.enqueue("q", NewJob::raw("raw", "seven")).await.unwrap();
    pond.enqueue("q", Packed { text: "eight".into() }).await.unwrap();

    let log = Log::new();
    let (texts, raws, packed) = (log.clone(), log.clone(), log.clone());
    pond.worker("q")
        .concurrency(1)
        .handle_raw("text", move |job: Job<Bytes>| {
            texts.push(serde_json::from_slice::<String>(&job).unwrap());
            async { Ok(()) }
        })
        .handle_blocking_raw("raw", move |job: Job<Bytes>| {
            raws.push(String::from_utf8(job.to_vec()).unwrap());
            Ok(())
        })
        .handle(move |job: Job<Packed>| {
            packed.push(job.text.clone());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), ["one", "two", "three", "four", "five", "six", "seven", "eight"]);
}

#[tokio::test]
async fn an_edited_dead_letter_is_coded_and_the_hook_for_dead_jobs_gets_what_was_given() {
    let told = Log::new();
    let seen = told.clone();
    let (_, pond) = memory_with(|builder| {
        builder.payload_codec(Shifted::default()).on_dead(move |_, dead| {
            let payload: String = dead.payload().decode()?;
            let errors: Vec<_> = dead.errors().iter().map(|error| error.message.clone()).collect();
            seen.push((payload, dead.reason().to_owned(), errors));
            Ok(())
        })
    });
    worker(&pond, Retry::none());
    let id = pond.enqueue("q", text("fail first")).await.unwrap();
    drained(&pond).await;
    pond.dead_letters().edit(id, text("dead second")).await.unwrap();
    assert_eq!(pond.job(id).unwrap().payload.decode::<String>().unwrap(), "dead second");
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    let first = ("fail first".to_owned(), "no attempts left".to_owned(), vec!["first".to_owned()]);
    let second = ("dead second".to_owned(), "second".to_owned(), vec!["first".to_owned()]);
    assert_eq!(told.all(), [first, second]);
}

#[tokio::test]
async fn a_payload_that_the_codec_refuses_is_not_stored() {
    let (_, pond) = coded();
    for (said, why) in [("refuse", "this codec refuses it"), ("panic", "this codec panics")] {
        match pond.enqueue("q", text(said)).await {
            Err(Error::Unencodable { kind, source, .. }) => {
                assert!(kind == "text" && source.to_string().contains(why), "{source}");
            }
            other => panic!("{other:?}"),
        }
    }
    let exploded = pond.enqueue("q", text("explode")).await;
    assert!(matches!(exploded, Err(Error::PayloadTooLarge { len, .. }) if len == 20 << 20), "{exploded:?}");
    let in_tx = pond.transaction(|tx| Ok(tx.enqueue_many("q", [text("fine"), text("refuse")])?)).await;
    assert!(matches!(in_tx.unwrap_err().aborted(), Ok(Error::Unencodable { .. })));
    assert_eq!(pond.queues().len(), 0);
}

#[tokio::test]
async fn the_limit_of_a_payload_counts_what_was_given_and_what_is_stored_can_be_a_little_more() {
    let open = |max| {
        let builder = Millpond::builder().payload_bytes_max(max).payload_codec(Shifted::default());
        builder.open_backend(InMemoryBackend::new()).unwrap()
    };
    let pond = open(100);
    pond.enqueue("q", NewJob::raw("raw", vec![7; 100])).await.unwrap();
    let refused = pond.enqueue("q", NewJob::raw("raw", vec![7; 101])).await;
    assert!(matches!(refused, Err(Error::PayloadTooLarge { len: 101, max: 100, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_result_that_the_codec_refuses_fails_the_attempt_and_writes_nothing() {
    let (_, pond) = coded();
    let handler = |job: Job<Work>, ctx: Context| async move {
        ctx.on_complete(|tx| Ok(tx.enqueue("next", work(1)).map(drop)?));
        Ok(Outcome::done_with(["refuse", "panic", "explode"][job.n as usize]))
    };
    pond.worker("q").retry(Retry::none()).handle(handler).start().unwrap();
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    drained(&pond).await;
    for (id, why) in ids.into_iter().zip(["this codec refuses it", "this codec panics", "has made 20971520 bytes"]) {
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.errors[0].kind, &job.result), (State::Dead, FailureKind::Error, &None));
        // The error of the first two is refused by the codec as well, because it has the word in it.
        assert!(job.errors[0].message.contains(why), "{}", job.errors[0].message);
    }
    assert_eq!(pond.queues().len(), 1, "nothing was written with a completion");
}

#[tokio::test]
async fn a_payload_that_the_codec_cannot_read_is_a_dead_letter_and_runs_once_it_can() {
    let disk = OnDisk::new();
    let open = |codec| disk.builder().payload_codec(codec).open(disk.path()).unwrap();
    let pond = open(Shifted::with_two());
    let id = pond.enqueue("q", text("result of two")).await.unwrap();
    close(pond).await;

    let pond = open(Shifted::default());
    worker(&pond, Retry::default());
    let fine = pond.enqueue("q", text("fine")).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Undecodable));
    assert_eq!(job.errors[0].message, "its key is not known");
    assert_eq!((job.codec_error.as_deref(), job.payload.codec), (Some("its key is not known"), Codec::Raw));
    assert_eq!(job.payload.bytes[0], 2, "the bytes as they are stored");
    assert!(matches!(pond.job(fine), Err(Error::NoSuchJob { .. })), "other jobs go on");
    let listed = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap();
    assert_eq!(listed.jobs.len(), 1, "a listing does not fail");
    close(pond).await;

    let pond = open(Shifted::with_two());
    assert_eq!(pond.job(id).unwrap().payload.decode::<String>().unwrap(), "result of two");
    worker(&pond, Retry::default());
    assert!(pond.dead_letters().redrive(id).await.unwrap());
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"of two"[..]));
}

/// Another codec, whose name it is told.
struct Called(&'static str);

impl PayloadCodec for Called {
    fn name(&self) -> &str {
        self.0
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        Ok(bytes)
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        Ok(bytes)
    }
}

#[tokio::test]
async fn a_file_with_a_codec_is_refused_without_it_and_with_another_one_by_name_and_keeps_everything() {
    let disk = OnDisk::new();
    let open = || disk.builder().payload_codec(Called("right")).open(disk.path()).unwrap();
    let pond = open();
    let id = pond.enqueue("q", text("kept")).await.unwrap();
    close(pond).await;
    let without = disk.builder().open(disk.path()).unwrap_err();
    let other = disk.builder().payload_codec(Called("wrong")).open(disk.path()).unwrap_err();
    assert!(matches!(&without, Error::OtherPayloadCodec { stored, given: None, .. } if stored == "right"));
    assert!(matches!(&other, Error::OtherPayloadCodec { given: Some(given), .. } if given == "wrong"));
    assert!(without.to_string().contains("\"right\"") && without.to_string().contains("without one"), "{without}");
    assert!(other.to_string().contains("\"wrong\""), "{other}");
    let pond = open();
    assert_eq!(pond.job(id).unwrap().payload.decode::<String>().unwrap(), "kept");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn the_name_of_a_codec_is_checked_before_a_file_is_created() {
    let disk = OnDisk::new();
    let refused = disk.builder().payload_codec(Called("no name")).open(disk.path());
    assert!(matches!(refused, Err(Error::InvalidName { what: "payload codec", .. })), "{refused:?}");
    assert!(!disk.path().exists());
}

#[tokio::test]
async fn a_file_that_had_no_codec_is_read_as_it_is_and_has_one_from_then_on() {
    let disk = OnDisk::new();
    let retention = Retention::default().completed(millpond::Keep::FOREVER);
    let pond = disk.builder().retention(retention).open(disk.path()).unwrap();
    worker(&pond, Retry::fixed(HOUR).jitter(0.0));
    let old = pond.enqueue_many("q", ["result old", "fail old", "dead old"].map(text)).await.unwrap();
    drained(&pond).await;
    let waits = pond.enqueue("idle", text("waits")).await.unwrap();
    close(pond).await;

    let pond = disk.builder().retention(retention).payload_codec(Shifted::default()).open(disk.path()).unwrap();
    let new = pond.enqueue("idle", text("new")).await.unwrap();
    for (id, said) in [(old[0], "result old"), (old[1], "fail old"), (waits, "waits"), (new, "new")] {
        assert_eq!(pond.job(id).unwrap().payload.decode::<String>().unwrap(), said);
    }
    assert_eq!(pond.job(old[0]).unwrap().result.as_deref(), Some(&b"old"[..]));
    assert_eq!(pond.job(old[1]).unwrap().errors[0].message, "old");
    assert_eq!(pond.job(old[2]).unwrap().reason.as_deref(), Some("old"));
    worker(&pond, Retry::fixed(HOUR).jitter(0.0));
    disk.clock.advance(HOUR);
    drained(&pond).await;
    let messages: Vec<_> = pond.job(old[1]).unwrap().errors.into_iter().map(|error| error.message).collect();
    assert_eq!(messages, ["old", "old"]);
    close(pond).await;
    assert!(matches!(disk.builder().open(disk.path()), Err(Error::OtherPayloadCodec { .. })));
}

#[tokio::test]
async fn a_crash_leaves_the_name_of_the_codec_with_the_first_thing_that_is_coded() {
    let disk = OnDisk::new();
    let pond = disk.builder().payload_codec(Shifted::default()).open(disk.path()).unwrap();
    let id = pond.enqueue("q", text("kept")).await.unwrap();
    let copy = disk.dir.path().join("copy.redb");
    std::fs::copy(disk.path(), &copy).unwrap();
    assert!(matches!(disk.builder().open(&copy), Err(Error::OtherPayloadCodec { .. })));
    let after = disk.builder().payload_codec(Shifted::default()).open(&copy).unwrap();
    assert_eq!(after.job(id).unwrap().payload.decode::<String>().unwrap(), "kept");
    assert_sound(&after).await;
}

#[tokio::test]
async fn a_payload_is_read_only_where_somebody_wants_it() {
    let codec = Shifted::default();
    let (_, pond) = memory_with(|builder| builder.payload_codec(codec.clone()));
    let ids = pond.enqueue_many("q", (0..10).map(|n| text(&n.to_string()))).await.unwrap();
    assert_eq!(codec.calls(), (10, 0));
    for id in &ids[..5] {
        pond.update(*id, JobPatch::new().priority(millpond::Priority::LAST)).await.unwrap();
    }
    pond.cancel(ids[9], "not wanted").await.unwrap();
    pond.verify().await.unwrap();
    assert_eq!(codec.calls(), (0, 0));
    worker(&pond, Retry::none());
    drained(&pond).await;
    assert_eq!(codec.calls(), (0, 9), "each handler reads its own");
    let cancelled = pond.job(ids[9]).unwrap();
    assert_eq!((cancelled.reason.as_deref(), codec.calls()), (Some("not wanted"), (0, 1)));
}

#[tokio::test]
async fn verification_of_payloads_and_refusals_of_the_kinds_codec_come_before_the_payload_codec() {
    let codec = Shifted::default();
    let (_, pond) = memory_with(|builder| builder.verify_payloads(true).payload_codec(codec.clone()));
    pond.enqueue("q", Packed { text: "x".into() }).await.unwrap();
    assert!(pond.enqueue("q", NewJob::json("text", &f64::NAN)).await.is_err());
    assert_eq!(codec.calls(), (1, 0));
}

#[tokio::test]
async fn a_text_of_the_application_that_looks_coded_is_read_as_it_was_given() {
    let (_, pond) = coded();
    worker(&pond, Retry::none());
    let odd = "\u{1}coded:AAAA";
    let id = pond.enqueue("q", text(&format!("dead {odd}"))).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some(odd));
}

/// The schema version that is stored in the file: the number behind the version byte and the checksum of its row.
fn schema(pond: &Millpond) -> u8 {
    let meta = redb::TableDefinition::<&str, &[u8]>::new("millpond/meta");
    let read = pond.begin_read().unwrap();
    read.open_table(meta).unwrap().get("schema").unwrap().unwrap().value()[5]
}

#[tokio::test]
async fn only_a_file_with_a_codec_has_the_version_that_builds_without_codecs_refuse() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let plain = schema(&pond);
    close(pond).await;
    for _ in 0..2 {
        let pond = disk.builder().payload_codec(Called("c")).open(disk.path()).unwrap();
        assert_eq!((plain, schema(&pond)), (4, 5));
        pond.enqueue("q", work(1)).await.unwrap();
        assert_sound(&pond).await;
        close(pond).await;
    }
}
