//! The writer's thread: gathers, has it committed, tells everyone.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::events::Event;
use crate::writer::{Command, Committed, Outbox, Then, Writer, call, upkeep};

/// First and longest wait between two tries to open the file again.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(5);

pub(super) fn run(engine: &Arc<Engine>, mut writer: Writer, mut outbox: Outbox) {
    loop {
        let mut round = outbox.next_round();
        if !engine.config.linger.is_zero() && !round.commands.is_empty() && matches!(round.then, Then::Nothing) {
            thread::sleep(engine.config.linger);
            outbox.gather_more(&mut round);
        }
        if !round.commands.is_empty() || writer.has_unfinished() {
            commit(engine, &mut writer, &mut outbox, round.commands);
        }
        match round.then {
            Then::Nothing => {}
            Then::Lease(lease) => {
                let committed = writer.lease(lease, engine.now(), engine.bus.is_heard());
                settle(engine, &mut writer, &mut outbox, committed);
                admit(engine, &mut writer, &mut outbox);
            }
            Then::Between(job) => job(),
            Then::Stop => break,
        }
    }
    close(engine, writer, outbox);
}

fn commit(engine: &Arc<Engine>, writer: &mut Writer, outbox: &mut Outbox, commands: Vec<Command>) {
    let committed = writer.commit(commands, engine.now(), engine.bus.is_heard());
    settle(engine, writer, outbox, committed);
    admit(engine, writer, outbox);
}

/// Lets those in who wait for room, as long as there is some.
fn admit(engine: &Arc<Engine>, writer: &mut Writer, outbox: &mut Outbox) {
    while writer.has_made_room() {
        let committed = writer.commit(Vec::new(), engine.now(), engine.bus.is_heard());
        settle(engine, writer, outbox, committed);
    }
}

/// Dispatch first, so that who is answered and asks again sees it; listeners last.
fn settle(engine: &Arc<Engine>, writer: &mut Writer, outbox: &mut Outbox, mut committed: Committed) {
    let failure = committed.failure.take();
    let events = std::mem::take(&mut committed.events);
    engine.apply(std::mem::take(&mut committed.changes));
    if committed.is_commit {
        engine.metrics.committed();
    }
    engine.metrics.completions_failed(committed.completions_failed);
    committed.answer();
    engine.bus.publish(events);
    if let Some(error) = failure {
        heal(engine, writer, outbox, &error);
    }
}

/// After an I/O error redb refuses writes until the file is opened again. Meanwhile callers get an
/// error at once, and ended jobs wait in the writer.
fn heal(engine: &Arc<Engine>, writer: &mut Writer, outbox: &mut Outbox, error: &Error) {
    let reason = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    tracing::error!(reason, "degraded: the file could not be written");
    engine.set_health(Some(reason.clone()));
    engine.bus.publish([Event::Degraded { reason: reason.clone() }]);
    let mut wait = REOPEN_AFTER;
    while !engine.is_stopping() {
        thread::sleep(wait);
        wait = (wait * 2).min(REOPEN_AFTER_MAX);
        let reopened = engine.store.reopen().and_then(|_| writer.reload());
        turn_away(&mut *writer, outbox, &reason);
        if let Err(error) = reopened {
            tracing::warn!(%error, "still degraded");
            continue;
        }
        let retried = writer.commit(Vec::new(), engine.now(), engine.bus.is_heard());
        if retried.failure.is_none() {
            engine.scheduler().look_again_everywhere();
            engine.set_health(None);
            settle(engine, writer, outbox, retried);
            engine.wake_dispatcher();
            engine.bus.publish([Event::Healed]);
            tracing::info!("healed: the file is open again");
            return;
        }
    }
}

/// Callers who came before they could be told hear it now; ended jobs are kept.
fn turn_away(writer: &mut Writer, outbox: &mut Outbox, reason: &str) {
    for command in outbox.take_commands() {
        let degraded = Err(Error::Degraded { reason: reason.to_owned() });
        match command {
            Command::Finish(finish) => writer.keep(finish),
            Command::Step(step) => step.answer(degraded),
            Command::Mark(mark) => mark.answer(degraded),
        }
    }
}

/// The last commits: what came late, and that the file was closed in order.
fn close(engine: &Arc<Engine>, mut writer: Writer, mut outbox: Outbox) {
    // What was handed out before the stop and waited for its start to be durable may have begun since.
    engine.release(&engine.executor.runs.release_all());
    let late = outbox.leftovers();
    let (mine, theirs): (Vec<_>, Vec<_>) = late.into_iter().partition(|command| matches!(command, Command::Finish(_)));
    if !mine.is_empty() || writer.has_unfinished() {
        let committed = writer.commit(mine, engine.now(), engine.bus.is_heard());
        settle_last(engine, committed);
    }
    let buckets = engine.scheduler().bucket_states(engine.now());
    let (last, _answer) = call(move |batch| {
        upkeep::save_buckets(batch, &buckets)?;
        upkeep::close_clean(batch)
    });
    let committed = writer.commit(vec![Command::Step(last)], engine.now(), false);
    settle_last(engine, committed);
    writer.close();
    for command in theirs {
        match command {
            Command::Step(step) => step.answer(Err(Error::Closed)),
            Command::Mark(mark) => mark.answer(Err(Error::Closed)),
            Command::Finish(_) => {}
        }
    }
    engine.bus.close();
    drop(writer);
    engine.store.close();
    engine.set_closed();
}

fn settle_last(engine: &Arc<Engine>, mut committed: Committed) {
    if let Some(error) = &committed.failure {
        tracing::error!(%error, "the last commit failed: the next open recovers");
    }
    let events = std::mem::take(&mut committed.events);
    engine.apply(std::mem::take(&mut committed.changes));
    committed.answer();
    engine.bus.publish(events);
}
