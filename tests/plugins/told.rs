//! What a plugin can read from the host, and what it can log.

use std::fmt::Debug;

use millpond::{Millpond, NewJob, Plugin, PluginLimits};
use tracing::Event;
use tracing::field::{Field, Visit};

use super::guest::{module_with, plugin};
use super::outcomes::{info, ran};
use crate::support::on_event::on_plugin_line;
use crate::support::*;

struct Line<'l>(&'l Log<String>);

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.0.push(text.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, text: &dyn Debug) {
        if field.name() == "message" {
            self.0.push(format!("{text:?}"));
        }
    }
}

/// The lines that plugins log on this thread, for as long as the guard lives.
pub fn heard() -> (Log<String>, tracing::subscriber::DefaultGuard) {
    let lines = Log::new();
    let heard = lines.clone();
    let listener = on_plugin_line(move |event: &Event<'_>| event.record(&mut Line(&heard)));
    (lines, tracing::subscriber::set_default(listener))
}

/// The lines that an attempt logged. It runs on this thread, as the whole test does.
pub async fn lines(pond: &Millpond, plugin: Plugin, payload: &'static str) -> Vec<String> {
    let (lines, _heard) = heard();
    ran(pond, plugin, payload).await;
    lines.take()
}

#[tokio::test]
async fn a_plugin_reads_its_settings() {
    let body = "(call $config (i32.const 1024) (i32.const 5) (i32.const 256))
        (call $ok (i32.load (i32.const 260)) (i32.load (i32.const 264)))";
    let module = module_with(body, r#"(data (i32.const 1024) "width")"#);
    let plugin = Plugin::from_bytes("guest", module).unwrap().config("width", "320").config("height", "200");
    assert_eq!(info(plugin, "x").await.result.as_deref(), Some(&b"320"[..]));
}

#[tokio::test]
async fn a_plugin_reads_its_job_and_the_time_of_the_queues_clock() {
    let (clock, pond) = memory();
    let id = ran(&pond, plugin("(call $now (i32.const 256)) (call $ok (i32.const 256) (i32.const 12))"), "x").await;
    let result = pond.job(id).unwrap().result.unwrap();
    let seconds = i64::from_le_bytes(result[..8].try_into().unwrap());
    let nanoseconds = u32::from_le_bytes(result[8..].try_into().unwrap());
    let now = millpond::Clock::wall(&clock).as_millis();
    assert_eq!((seconds as u64, nanoseconds as u64), (now / 1_000, now % 1_000 * 1_000_000));

    let own = "(call $job_id (i32.const 256)) (call $ok (i32.load (i32.const 256)) (i32.load (i32.const 260)))";
    let (_, pond) = memory();
    let id = ran(&pond, plugin(own), "x").await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(id.to_string().as_bytes()));
}

#[tokio::test]
async fn the_remaining_time_is_that_of_the_shortest_limit() {
    let left = "(i64.store (i32.const 256) (call $time_left)) (call $ok (i32.const 256) (i32.const 8))";
    let job = info(plugin(left).limits(PluginLimits::default().time(SECOND * 7)), "x").await;
    assert_eq!(u64::from_le_bytes(job.result.unwrap()[..].try_into().unwrap()), 7_000_000_000);
}

const RANDOM: &str = "(i64.store (i32.const 256) (call $random)) (call $ok (i32.const 256) (i32.const 8))";

#[tokio::test]
async fn random_numbers_come_from_the_system() {
    let number = || async {
        let pond = Millpond::builder().open_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let id = ran(&pond, plugin(RANDOM), "x").await;
        pond.job(id).unwrap().result.unwrap()
    };
    assert_ne!(number().await, number().await);
}

#[tokio::test]
async fn random_numbers_follow_the_queues_seed_if_it_has_one() {
    let random = RANDOM;
    let (one, same) = (info(plugin(random), "x").await.result, info(plugin(random), "x").await.result);
    assert_eq!(one, same);
    let (_, pond) = memory();
    pond.worker("q").handle_wasm("job", plugin(random)).start().unwrap();
    let ids = pond.enqueue_many("q", [NewJob::raw("job", ""), NewJob::raw("job", "")]).await.unwrap();
    drained(&pond).await;
    assert_ne!(pond.job(ids[0]).unwrap().result, pond.job(ids[1]).unwrap().result);
}

#[tokio::test]
async fn control_characters_in_a_log_are_escaped() {
    let (_, pond) = memory();
    let log = plugin("(call $log (i32.const 2) (local.get $p) (local.get $n)) (call $ok (i32.const 0) (i32.const 0))");
    let lines = lines(&pond, log, "\u{1b}[2Jgone\nnext \u{202e}txt").await;
    assert_eq!(lines, [r"\u{1b}[2Jgone\nnext \u{202e}txt"]);
}
