//! Tests of the SDK through its test host: the answers of a handler, and every call that a handler can make.

use std::time::{Duration, UNIX_EPOCH};

use millpond_guest::enqueue::{self, NewJob, Unique, enqueue_many};
use millpond_guest::log::Level;
use millpond_guest::testing::{Host, Outcome};
use millpond_guest::{
    Error, Json, OrElse, Raw, Result, attempt, clock, config, progress, random, state, streams, topics,
};

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    id: u64,
    #[serde(default)]
    items: Vec<String>,
}

fn retry(reason: &str) -> Outcome {
    Outcome::Retry { reason: reason.into(), delay: None }
}

#[test]
fn a_payload_is_json_and_so_is_the_result() {
    let count = |order: Order| -> Result<(u64, usize)> { Ok((order.id, order.items.len())) };
    let order = Order { id: 7, items: vec!["a".into(), "b".into()] };
    assert_eq!(Host::new().run(count, &order), Outcome::Done(b"[7,2]".to_vec()));
    // Fields of a payload can be missing or new, because jobs can be older or newer than the handler's struct.
    assert_eq!(Host::new().run_raw(count, *b"{\"id\":8,\"new\":1}").json(), Some((8, 0)));
}

#[test]
fn raw_bytes_go_in_and_out_as_they_are() {
    let reversed = |bytes: Raw| -> Result<Raw> { Ok(Raw(bytes.iter().rev().copied().collect())) };
    assert_eq!(Host::new().run_raw(reversed, [0xff, 0, 1]), Outcome::Done(vec![1, 0, 0xff]));
}

#[test]
fn a_handler_that_returns_nothing_has_no_result() {
    assert_eq!(
        Host::new().run(|_: Order| -> Result { Ok(()) }, &Order { id: 1, items: vec![] }),
        Outcome::Done(vec![])
    );
    assert_eq!(Host::new().run_raw(|| -> Result<Option<u8>> { Ok(None) }, *b"not looked at"), Outcome::Done(vec![]));
    assert_eq!(Host::new().run_raw(|| -> Result<Option<u8>> { Ok(Some(1)) }, *b""), Outcome::Done(b"1".to_vec()));
}

#[test]
fn a_result_that_is_null_is_kept_if_it_is_wrapped_in_json() {
    let none = || -> Result<Json<Option<u8>>> { Ok(Json(None)) };
    assert_eq!(Host::new().run_raw(none, *b""), Outcome::Done(b"null".to_vec()));
    let some = |order: Order| -> Result<Json<Order>> { Ok(Json(order)) };
    let outcome = Host::new().run(some, &Order { id: 7, items: vec!["a".into()] });
    assert_eq!(outcome, Outcome::Done(br#"{"id":7,"items":["a"]}"#.to_vec()));
}

#[test]
fn a_float_that_json_does_not_have_makes_a_dead_letter_instead_of_null() {
    let outcome = Host::new().run_raw(|| -> Result<Vec<f64>> { Ok(vec![f64::NAN]) }, *b"");
    let Outcome::DeadLetter(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("NaN or infinite"), "{reason}");
    let others: [fn() -> Result; 2] = [|| state::set("key", &f64::NAN), || NewJob::new("mail", &f64::NAN).map(|_| ())];
    for other in others {
        assert!(Host::new().run_raw(other, *b"").is_dead_letter());
    }
}

#[test]
fn a_job_whose_payload_cannot_be_read_becomes_a_dead_letter_with_the_position_of_the_error() {
    let outcome = Host::new().run_raw(|order: Order| -> Result<u64> { Ok(order.id) }, *b"{\"id\":\"x\"}");
    let Outcome::DeadLetter(reason) = outcome else { panic!("{outcome:?}") };
    assert!(
        reason.starts_with("the payload is not what this handler takes: ") && reason.contains("column"),
        "{reason}"
    );
}

#[test]
fn any_error_that_can_be_displayed_is_a_retry() {
    fn standard(text: String) -> Result<u8> {
        Ok(text.parse::<u8>()?)
    }
    fn boxed() -> Result<(), Box<dyn std::error::Error>> {
        Err("boxed")?
    }
    fn text() -> Result<(), &'static str> {
        Err("text")
    }
    assert_eq!(Host::new().run(standard, "x"), retry("invalid digit found in string"));
    assert_eq!(Host::new().run_raw(boxed, *b""), retry("boxed"));
    assert_eq!(Host::new().run_raw(text, *b""), retry("text"));
}

#[test]
fn each_answer_of_a_handler_is_its_outcome() {
    let hour = Duration::from_secs(3600);
    let answers = [
        (Error::retry("busy"), retry("busy")),
        (Error::retry_after("busy", hour), Outcome::Retry { reason: "busy".into(), delay: Some(hour) }),
        (Error::cancel("closed"), Outcome::Cancel("closed".into())),
        (Error::dead_letter("gone"), Outcome::DeadLetter("gone".into())),
        (Error::snooze(hour), Outcome::Snooze(hour)),
        (Error::rate_limited(hour), Outcome::RateLimited(hour)),
        (Error::rate_limited_queue(hour), Outcome::RateLimitedQueue(hour)),
    ];
    for (error, outcome) in answers {
        assert_eq!(Host::new().run_raw(move || -> Result { Err(error.clone()) }, *b""), outcome);
    }
    let failed = || "x".parse::<u8>();
    assert!(failed().or_dead_letter().is_err_and(|error| error == Error::dead_letter("invalid digit found in string")));
    assert_eq!(failed().or_snooze(hour), Err(Error::snooze(hour)));
    assert_eq!(failed().or_retry_after(hour), Err(Error::retry_after("invalid digit found in string", hour)));
}

#[test]
fn a_panic_is_an_outcome_with_its_message() {
    let mut host = Host::new();
    let outcome = host.run(|id: u64| -> Result { panic!("no order {id}") }, &3);
    assert_eq!(outcome, Outcome::Panicked("no order 3".into()));
    assert!(outcome.is_retried());
    assert!(host.run_raw(|| -> Result { Ok(()) }, *b"").is_done());
}

#[test]
fn only_a_job_that_completes_leaves_state_and_follow_ups() {
    fn work(fail: bool) -> Result {
        state::set("last", &attempt::number())?;
        state::increment("runs", 1)?;
        state::increment("runs", 1)?;
        assert_eq!(state::counter("runs")? % 2, 0);
        NewJob::new("next", &1)?.enqueue()?;
        if fail { Err(Error::retry("not today")) } else { Ok(()) }
    }
    let mut host = Host::new();
    host.run(work, &true);
    assert_eq!((host.keys().count(), host.enqueued().len()), (0, 0));
    host.run(work, &false);
    host.run(work, &true);
    host.run(work, &false);
    assert_eq!((host.value::<u32>("last"), host.counter("runs"), host.enqueued().len()), (Some(1), 4, 2));
}

#[test]
fn only_a_job_that_completes_appends_and_publishes() {
    fn work(fail: bool) -> Result {
        let entry = attempt::entry().expect("it is one");
        let copy = NewJob::new("copy", &entry.offset)?.group(&entry.key.unwrap_or_default());
        streams::append("copies", copy.header("of", &entry.stream))?;
        topics::publish("copied", "copy.done", NewJob::new("copied", &7)?)?;
        if fail { Err(Error::retry("not today")) } else { Ok(()) }
    }
    let mut host = Host::new().entry("orders", 41).group("ada");
    assert!(host.run(work, &true).is_retried());
    assert_eq!((host.appended("copies").len(), host.published("copied").len()), (0, 0));
    assert!(host.run(work, &false).is_done());
    let copies = host.appended("copies");
    assert_eq!((copies.len(), copies[0].kind(), copies[0].json(), copies[0].key()), (1, "copy", Some(41), Some("ada")));
    let published = host.published("copied");
    assert_eq!((published.len(), published[0].0, published[0].1.json()), (1, "copy.done", Some(7)));
    assert!(host.appended("others").is_empty() && host.published("others").is_empty());
}

#[test]
fn an_entry_or_a_message_that_is_refused_says_why() {
    let append = || -> Result { Ok(streams::append("copies", NewJob::raw("copy", *b""))?) };
    let publish = || -> Result { Ok(topics::publish("orders", "order.x", NewJob::raw("copy", *b""))?) };
    let denied = Host::new().grant_append(&["copy@others"]).run_raw(append, *b"");
    assert_eq!(denied, retry("this handler may not append such an entry to this stream"));
    let denied = Host::new().grant_publish(&["other@orders"]).run_raw(publish, *b"");
    assert_eq!(denied, retry("this handler may not publish such a message to this topic"));
    let mut host = Host::new().refusing_topic("orders", topics::Error::Unroutable);
    assert_eq!(host.run_raw(publish, *b""), retry("nothing that is bound to the topic matches the message"));
    assert!(host.grant_publish(&["copy@orders"]).published("orders").is_empty());
}

#[test]
fn a_follow_up_keeps_its_options_and_gets_an_id_of_its_own() {
    fn fan_out() -> Result<Vec<String>> {
        let first = NewJob::raw("resize", [1, 2]).queue("images").group("g").delay(Duration::from_secs(1));
        let second = NewJob::new("mail", "ada")?.priority(0).max_attempts(3).unique_key("ada");
        Ok(vec![first.enqueue()?, second.enqueue()?])
    }
    let mut host = Host::new();
    let (one, two) = (host.run_raw(fan_out, *b""), host.run_raw(fan_out, *b""));
    assert_eq!(
        one.json(),
        Some(["1+1".to_owned(), "1+2".into()]),
        "the ids count up from the running job's id, which is 1 here"
    );
    assert_eq!(two.json(), Some(["1+1".to_owned(), "1+2".into()]));
    assert_eq!(host.enqueued().len(), 3, "a job with this unique key is enqueued already");
    let expected = NewJob::raw("resize", [1, 2]).queue("images").group("g").delay(Duration::from_secs(1));
    assert_eq!(host.enqueued()[0], expected);
    assert_eq!((host.enqueued()[1].kind(), host.enqueued()[1].json::<String>()), ("mail", Some("ada".into())));
}

#[test]
fn a_follow_up_that_is_not_granted_or_not_valid_is_refused() {
    let enqueue = |job: NewJob| move || -> Result<String, enqueue::Error> { job.clone().enqueue() };
    let mut host = Host::new().grant(&["mail", "page@pages"]);
    assert!(host.run_raw(enqueue(NewJob::raw("mail", [])), *b"").is_done());
    assert!(host.run_raw(enqueue(NewJob::raw("page", []).queue("pages")), *b"").is_done());
    let mail = || NewJob::raw("mail", []);
    let refused = [
        NewJob::raw("page", []),
        mail().queue("pages"),
        mail().priority(10),
        mail().max_attempts(0),
        mail().unique_key(&"k".repeat(1_025)),
        mail().group(""),
        mail().tag("a\nb"),
        mail().tags((0..17).map(|n| n.to_string())),
        mail().header("", "value"),
        mail().header("name", &"v".repeat(4 << 10)),
        mail().timeout(Duration::ZERO),
        mail().weight(0),
        mail().unique_for(Duration::ZERO),
        mail().unique("key", Unique::throttle(Duration::ZERO)),
        mail().unique("key", Unique::keep_latest()).group("g"),
        NewJob::raw("mail", vec![0; (1 << 20) + 1]),
    ];
    for job in refused {
        assert!(host.run_raw(enqueue(job), *b"").is_retried());
    }
    assert_eq!(host.enqueued().len(), 2);
    let any_text = mail().unique_key("ada@example.org").group(&"é\0".repeat(341));
    assert!(host.run_raw(enqueue(any_text), *b"").is_done());
    let mut host = Host::new();
    for job in [NewJob::raw("e mail", []), mail().queue("über"), mail().queue("")] {
        assert_eq!(host.run_raw(enqueue(job), *b""), retry(&enqueue::Error::AccessDenied.to_string()));
    }
}

#[test]
fn a_batch_is_enqueued_as_a_whole_or_not_at_all() {
    let batch = |kinds: Vec<String>| -> Result<Vec<String>, enqueue::RefusedJob> {
        NewJob::raw("mail", []).enqueue().expect("it is granted");
        enqueue_many(kinds.iter().map(|kind| NewJob::raw(kind, [])))
    };
    let mut host = Host::new().grant(&["mail"]);
    let ids = ["1+2".to_owned(), "1+3".into()];
    assert_eq!(host.run(batch, &["mail", "mail"]).json(), Some(ids));
    assert_eq!(host.enqueued().len(), 3);
    let outcome = host.run(batch, &["mail", "page", "mail"]);
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("index 1") && reason.contains("may not enqueue"), "{reason}");

    let goes_on = || -> Result<usize> {
        let refused = enqueue_many([NewJob::raw("mail", []), NewJob::raw("page", [])]).unwrap_err();
        assert_eq!((refused.index, &refused.error), (1, &enqueue::Error::AccessDenied));
        assert_eq!(enqueue_many([])?, [""; 0]);
        Ok(enqueue_many(vec![NewJob::raw("mail", []); 100])?.len())
    };
    let mut host = Host::new().grant(&["mail"]);
    assert_eq!(host.run_raw(goes_on, *b"").json(), Some(100), "a refused batch uses nothing of the quota");
    assert_eq!(host.enqueued().len(), 100);
}

#[test]
fn a_follow_up_that_replaces_takes_the_place_of_one_of_its_kind() {
    fn index((kind, text): (String, String)) -> Result {
        NewJob::new(&kind, &text)?.unique("shop", Unique::keep_latest()).enqueue()?;
        Ok(())
    }
    let mut host = Host::new();
    for job in [("index", "one"), ("index", "two"), ("other", "three")] {
        assert!(host.run(index, &job).is_done());
    }
    let [job] = host.enqueued() else { panic!("{:?}", host.enqueued()) };
    assert_eq!((job.kind(), job.json::<String>().as_deref()), ("index", Some("two")));
}

#[test]
fn an_attempt_has_the_limits_that_the_queue_has_by_default() {
    fn flood() -> Result<(usize, usize)> {
        let jobs = (0..200).take_while(|_| NewJob::raw("mail", []).enqueue().is_ok()).count();
        let keys = (0..2_000).take_while(|n| state::set(&n.to_string(), &1).is_ok()).count();
        (0..2_000).for_each(|_| millpond_guest::info!("again"));
        Ok((jobs, keys))
    }
    let mut host = Host::new();
    assert_eq!(host.run_raw(flood, *b"").json(), Some((100, 1_000)));
    assert_eq!(host.logs().len(), 1_000);
    let large = || -> Result<Raw> { Ok(Raw(vec![0; (1 << 20) + 1])) };
    assert!(host.run_raw(large, *b"").is_retried());
}

#[test]
fn every_text_has_its_own_valid_name() {
    let texts = ["", ".", "..", "a", "a b", "a:20b", ":", "::", "ada@example.org", "é", "\0", "名前"];
    let long = [128, 129, 200, 300].map(|times| "x".repeat(times));
    let longer = [42, 43, 100].map(|times| "@".repeat(times));
    let texts: Vec<&str> = texts.into_iter().chain(long.iter().chain(&longer).map(String::as_str)).collect();
    let names: std::collections::BTreeSet<String> = texts.iter().map(|text| enqueue::name_for(text)).collect();
    assert_eq!(names.len(), texts.len());
    for name in &names {
        assert!(millpond_rules::is_name(name), "{name}");
    }
}

#[test]
fn the_test_host_refuses_the_state_calls_that_the_queue_refuses() {
    fn refusals() -> Result {
        assert_eq!(state::set_raw("", b"x"), Err(state::Error::KeyTooLarge));
        assert_eq!(state::get_raw(&"k".repeat(257)), Err(state::Error::KeyTooLarge));
        assert_eq!(state::set_raw("k", &[0; 64 * 1024 + 1]), Err(state::Error::ValueTooLarge));
        assert!(matches!(state::increment("text", 1), Err(state::Error::Other(_))));
        assert!(matches!(state::counter("text"), Err(state::Error::Other(_))));
        assert_eq!(state::delete("not there"), Ok(()));
        Ok(())
    }
    assert_eq!(Host::new().state("text", "no counter").run_raw(refusals, *b""), Outcome::Done(vec![]));
}

#[test]
fn a_counter_is_eight_bytes_and_saturates_at_the_ends_of_its_range() {
    fn count() -> Result {
        state::increment("n", i64::MAX)?;
        state::increment("n", 1)?;
        state::increment("m", -2)?;
        Ok(())
    }
    let mut host = Host::new();
    host.run_raw(count, *b"");
    assert_eq!(host.counter("n"), i64::MAX);
    assert_eq!(host.value_raw("m"), Some(&(-2i64).to_le_bytes()[..]));
}

#[test]
fn a_test_sets_what_the_attempt_sees() {
    fn observe() -> Result<(String, String, String, u32, u32, bool)> {
        assert_eq!(clock::now(), UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(attempt::time_left(), Duration::from_secs(2));
        progress::report(1, Some(2), "half");
        millpond_guest::warn!("{} left", 1);
        Ok((
            attempt::job_id(),
            attempt::kind(),
            attempt::queue(),
            attempt::number(),
            attempt::max_number(),
            attempt::is_cancelled(),
        ))
    }
    let host = Host::new().job_id("j9").job_of("mail", "slow").attempt(2, 3).cancelled();
    let mut host = host.now(UNIX_EPOCH + Duration::from_secs(9)).time_left(Duration::from_secs(2));
    let seen = host.run_raw(observe, *b"").json();
    assert_eq!(seen, Some(("j9".to_owned(), "mail".to_owned(), "slow".to_owned(), 2, 3, true)));
    assert_eq!(host.progress(), Some((1, Some(2), Some("half"))));
    assert_eq!((host.logs()[0].level, host.logs()[0].text.as_str()), (Level::Warn, "1 left"));
}

#[test]
fn a_test_sets_the_labels_of_the_job_and_its_schedule() {
    fn observe() -> Result<(u8, Vec<String>, Option<String>)> {
        assert_eq!((attempt::headers().len(), attempt::group()), (2, Some("g".to_owned())));
        assert_eq!((attempt::header("Tenant"), attempt::run_id()), (None, "2-7".to_owned()));
        assert_eq!(attempt::schedule().as_deref(), Some("daily"));
        assert_eq!(attempt::scheduled_for(), Some(UNIX_EPOCH));
        Ok((attempt::priority(), attempt::tags(), attempt::header("tenant")))
    }
    let host = Host::new().group("g").priority(2).tags(&["a", "b"]).header("tenant", "ada").header("n", "");
    let seen = host.run_id("2-7").scheduled("daily", UNIX_EPOCH).run_raw(observe, *b"").json();
    let tags = vec!["a".to_owned(), "b".into()];
    assert_eq!(seen, Some((2, tags, Some("ada".to_owned()))));
    let nothing = || -> Result<bool> {
        assert!(attempt::tags().is_empty() && attempt::headers().is_empty() && attempt::scheduled_for().is_none());
        Ok(attempt::group().is_none() && attempt::schedule().is_none() && attempt::priority() == 5)
    };
    assert_eq!(Host::new().run_raw(nothing, *b"").json(), Some(true));
}

#[test]
fn a_setting_that_is_missing_or_wrong_is_named() {
    let width = || -> Result<u32> { config::required("width") };
    assert_eq!(Host::new().run_raw(width, *b""), retry("the setting \"width\" is missing"));
    let outcome = Host::new().config("width", "wide").run_raw(width, *b"");
    assert_eq!(outcome, retry("the setting \"width\" cannot be read: invalid digit found in string"));
    assert_eq!(Host::new().config("width", "5").run_raw(width, *b"").json(), Some(5));
}

#[test]
fn the_same_seed_gives_the_same_random_numbers_and_no_seed_gives_others() {
    let draw = || -> Result<(u64, Vec<u8>)> { Ok((random::u64(), random::bytes(100_000))) };
    let drawn = |host: &mut Host| host.run_raw(draw, *b"").json::<(u64, Vec<u8>)>().unwrap();
    let mut seeded = Host::new().seed(1);
    assert_eq!(drawn(&mut seeded), drawn(&mut seeded));
    assert_ne!(drawn(&mut Host::new()), drawn(&mut Host::new()));
    assert_eq!(drawn(&mut Host::new()).1.len(), 100_000);
}

#[cfg(feature = "state-scan")]
#[test]
fn keys_are_listed_by_prefix_and_page() {
    fn list() -> Result<usize> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (keys, next) = state::list_keys("a/", cursor.as_deref())?;
            all.extend(keys);
            let Some(next) = next else { break };
            cursor = Some(next);
        }
        assert!(all.is_sorted());
        Ok(all.len())
    }
    let host = (0..250).fold(Host::new().state("b", &1), |host, n| host.state(&format!("a/{n}"), &n));
    assert_eq!({ host }.run_raw(list, *b"").json(), Some(250));
}

#[cfg(feature = "outbound-http")]
#[test]
fn a_request_gets_the_response_of_the_test_or_is_refused() {
    use millpond_guest::http::{self, Request, Response};

    let ask = || -> Result<u16, http::Error> { Ok(Request::get("http://example.org").header("a", "b").send()?.status) };
    assert!(Host::new().run_raw(ask, *b"").is_retried());
    let mut host = Host::new().web(|request| {
        assert_eq!(request.headers, [("a".to_owned(), b"b".to_vec())]);
        Ok(Response { status: 204, headers: vec![], body: vec![] })
    });
    assert_eq!(host.run_raw(ask, *b"").json(), Some(204));
}
