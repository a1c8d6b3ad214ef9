//! A copy of a file sends what it still has, under an identity of its own, and takes nothing for sent that was not.

use std::collections::BTreeSet;

use millpond::{Millpond, Priority};
use millpond_links::{Fault, MemoryLog};

use crate::support::*;

/// The origins from which the jobs in the log come.
fn origins(log: &MemoryLog) -> BTreeSet<String> {
    log.envelopes().iter().map(|envelope| envelope.header("ce-source").unwrap().to_owned()).collect()
}

/// Sends these jobs with an answer that is lost, and stops the link: the file does not know whether the engine has them. Returns the
/// engine as it answers again.
async fn with_an_answer_lost(pond: &Millpond, log: &MemoryLog, fault: Fault, texts: &[&str]) -> MemoryLog {
    let to_hub = forward(pond, log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([fault].into_iter().chain([Fault::Unavailable; 1_000]));
    enqueue(pond, texts).await;
    until(&to_hub, |state| !state.connected && state.last_error.is_some()).await;
    to_hub.stop().await;
    let answers = MemoryLog::new();
    answers.go_back(&log.snapshot());
    answers
}

#[tokio::test]
async fn a_backup_that_is_opened_sends_what_it_still_has_and_jobs_with_reused_ids_arrive() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let (to_hub, mut arrived, _from) = (forward(&device, &log).await, handled(&hub), receive(&hub, &log));
    enqueue(&device, &["sent"]).await;
    until(&to_hub, |state| state.jobs == 1).await;
    wait_until(|| device.queue("readings").unwrap().counts().completed_total == 1).await;
    to_hub.stop().await;
    enqueue(&device, &["waits"]).await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    close(device).await;

    // The original has sent nothing since, so the engine's cursor says nothing of a copy.
    let copy = open(dir.path(), "copy.redb");
    enqueue(&copy, &["new"]).await;
    let to_hub = forward(&copy, &log).await;
    let state = until(&to_hub, |state| state.jobs == 2).await;
    assert_eq!(state.file_went_back, 1);
    assert_eq!(next(&mut arrived, 3).await, ["new", "sent", "waits"]);
    to_hub.stop().await;
    close(copy).await;

    // It is a file like any other from now on.
    let copy = open(dir.path(), "copy.redb");
    let to_hub = forward(&copy, &log).await;
    enqueue(&copy, &["later"]).await;
    assert_eq!(next(&mut arrived, 1).await, ["later"]);
    assert_eq!(until(&to_hub, |state| state.jobs == 1).await.file_went_back, 0);
    assert_eq!(origins(&log).len(), 2);
}

#[tokio::test]
async fn the_original_beside_its_copy_goes_on_as_before() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let (to_hub, mut arrived, _from) = (forward(&device, &log).await, handled(&hub), receive(&hub, &log));
    enqueue(&device, &["a1"]).await;
    until(&to_hub, |state| state.jobs == 1).await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    let copy = open(dir.path(), "copy.redb");
    let from_copy = forward(&copy, &log).await;
    // The same ids, one after the other, and then at the same time.
    enqueue(&copy, &["b1"]).await;
    until(&from_copy, |state| state.jobs == 1).await;
    for n in 2..20 {
        enqueue(&copy, &[&format!("b{n}")]).await;
        enqueue(&device, &[&format!("a{n}")]).await;
    }
    let state = until(&to_hub, |state| state.jobs == 19).await;
    assert_eq!((state.file_went_back, state.engine_went_back, state.known), (0, 0, 0), "{state:?}");
    let state = until(&from_copy, |state| state.jobs == 19).await;
    assert_eq!((state.file_went_back, state.engine_went_back, state.known), (1, 0, 0), "{state:?}");
    let arrived: BTreeSet<String> = next(&mut arrived, 38).await.into_iter().collect();
    assert_eq!(arrived.len(), 38, "{arrived:?}");
    assert_eq!(hub.queue("readings").unwrap().counts().enqueued_total, 38);
    assert_eq!(origins(&log).len(), 2);
}

#[tokio::test]
async fn what_a_backup_was_sending_is_not_sent_again_if_the_engine_has_it() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let answers = with_an_answer_lost(&device, &log, Fault::AnswerLost, &["in doubt"]).await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    close(device).await;

    let copy = open(dir.path(), "copy.redb");
    let to_hub = forward(&copy, &answers).await;
    enqueue(&copy, &["new"]).await;
    wait_until(|| copy.queue("readings").unwrap().counts().completed_total == 2).await;
    assert_eq!(texts(&answers), ["in doubt", "new"]);
    let state = to_hub.state();
    assert_eq!((state.known, state.jobs, state.file_went_back), (1, 1, 1));
}

#[tokio::test]
async fn what_the_engine_has_lost_of_a_backup_is_sent_again_before_the_backup_begins_anew() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let empty = log.snapshot();
    let to_hub = forward(&device, &log).await;
    enqueue(&device, &["sent"]).await;
    until(&to_hub, |state| state.jobs == 1).await;
    wait_until(|| device.queue("readings").unwrap().counts().completed_total == 1).await;
    to_hub.stop().await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    log.go_back(&empty);
    let copy = open(dir.path(), "copy.redb");
    let from_copy = forward(&copy, &log).await;
    enqueue(&copy, &["new"]).await;
    let state = until(&from_copy, |state| state.jobs == 1).await;
    assert_eq!((state.engine_went_back, state.lost_batches, state.file_went_back), (1, 0, 1));
    // The original finds what it has sent, as it was.
    let to_hub = forward(&device, &log).await;
    enqueue(&device, &["of the original"]).await;
    until(&to_hub, |state| state.jobs == 1).await;
    let (mut arrived, _from) = (handled(&hub), receive(&hub, &log));
    assert_eq!(next(&mut arrived, 3).await, ["new", "of the original", "sent"]);
    assert_eq!(hub.queue("readings").unwrap().counts().enqueued_total, 3);
}

/// `cp` does not mark a copy. Both files number a batch 1 with a job of id 1.
#[tokio::test]
async fn a_batch_of_another_copy_with_the_same_number_and_ids_is_not_taken_for_the_own_one() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    device.identity().await.unwrap();
    close(device).await;
    std::fs::copy(dir.path().join("device.redb"), dir.path().join("copy.redb")).unwrap();

    // The copy is about to send its batch, and the engine does not get it.
    let copy = open(dir.path(), "copy.redb");
    let log = with_an_answer_lost(&copy, &log, Fault::Unavailable, &["of the copy"]).await;
    close(copy).await;
    let device = open(dir.path(), "device.redb");
    enqueue(&device, &["of the original"]).await;
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.jobs == 1).await;

    let copy = open(dir.path(), "copy.redb");
    let to_hub = forward(&copy, &log).await;
    let state = until(&to_hub, |state| state.jobs + state.known == 1).await;
    assert_eq!((state.jobs, state.file_went_back), (1, 1));
    assert_eq!(texts(&log), ["of the original", "of the copy"]);
}

/// The same after both were acknowledged, because the engine has lost the first one.
#[tokio::test]
async fn an_acknowledged_batch_of_another_copy_is_not_taken_for_the_own_one() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    device.identity().await.unwrap();
    close(device).await;
    std::fs::copy(dir.path().join("device.redb"), dir.path().join("copy.redb")).unwrap();
    let empty = log.snapshot();
    for name in ["device.redb", "copy.redb"] {
        log.go_back(&empty);
        let pond = open(dir.path(), name);
        enqueue(&pond, &[name]).await;
        let to_hub = forward(&pond, &log).await;
        assert_eq!(until(&to_hub, |state| state.jobs == 1).await.file_went_back, 0);
        to_hub.stop().await;
        close(pond).await;
    }
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    enqueue(&device, &["new"]).await;
    let state = until(&to_hub, |state| state.jobs == 1).await;
    assert_eq!(state.file_went_back, 1);
    assert_eq!(texts(&log), ["copy.redb", "new"]);
}

#[tokio::test]
async fn jobs_that_were_sent_are_not_sent_again_after_a_batch_of_others() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let answers = with_an_answer_lost(&device, &log, Fault::AnswerLost, &["a", "b", "c", "d"]).await;
    // The engine has a to d, and they have not ended here when e and f are sent.
    let first = ["e", "f"].map(|text| reading(text).priority(Priority::FIRST));
    device.enqueue_many("readings", first).await.unwrap();
    let to_hub = forwarding(&device, &answers).batch(2).start().await.unwrap();
    wait_until(|| device.queue("readings").unwrap().counts().completed_total == 6).await;
    assert_eq!(texts(&answers), ["a", "b", "c", "d", "e", "f"]);
    to_hub.stop().await;
}

#[tokio::test]
async fn a_receiver_whose_file_is_an_older_copy_gets_again_what_has_come_since() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let _to_hub = forward(&device, &log).await;
    let (mut arrived, from_device) = (handled(&hub), receive(&hub, &log));
    enqueue(&device, &["before"]).await;
    assert_eq!(next(&mut arrived, 1).await, ["before"]);
    hub.backup(dir.path().join("copy.redb")).await.unwrap();
    enqueue(&device, &["since 1", "since 2"]).await;
    assert_eq!(next(&mut arrived, 2).await, ["since 1", "since 2"]);
    from_device.stop().await;
    close(hub).await;

    let copy = open(dir.path(), "copy.redb");
    let (mut arrived, _from_device) = (handled(&copy), receive(&copy, &log));
    enqueue(&device, &["then"]).await;
    assert_eq!(next(&mut arrived, 3).await, ["since 1", "since 2", "then"]);
    assert_eq!(copy.queue("readings").unwrap().counts().enqueued_total, 4, "what it had already does not come again");
}
