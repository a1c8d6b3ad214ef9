//! A job that ends as dead or cancelled undoes those of its steps that say how, the last one first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millpond::{
    CancelOutcome, Context, Error, Event, Job, JobFilter, JobId, Millpond, Outcome, Retry, State, StepState, Unique,
};
use redb::TableDefinition;

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// What ran, in order.
type Ran = Log<String>;

fn not_yet(failures: &Failures) -> Result<(), &'static str> {
    failures.next().map_err(|_| "it cannot be undone yet")
}

fn every_second(max_attempts: u32) -> Retry {
    Retry::fixed(SECOND).jitter(0.0).max_attempts(max_attempts)
}

/// Runs three steps, of which the first and the last say how to undo them.
async fn three_steps(ctx: &Context, ran: &Ran, failures: &Failures) -> Result<(), millpond::BoxError> {
    let step = |name: &'static str, result: u64| {
        let ran = ran.clone();
        move || async move {
            ran.push(name.into());
            Ok::<_, Error>(result)
        }
    };
    let undo = |name: &'static str| {
        let (ran, failures) = (ran.clone(), failures.clone());
        move |result: u64| async move {
            not_yet(&failures)?;
            ran.push(format!("undo {name} {result}"));
            Ok::<_, &str>(())
        }
    };
    ctx.step("charge", step("charge", 7)).undo(undo("charge")).await?;
    ctx.step("note", step("note", 8)).await?;
    ctx.step("pack", step("pack", 9)).undo(undo("pack")).await?;
    Ok(())
}

/// A worker that runs the three steps and then ends as `end` says. The first `failures` undos fail.
fn worker(pond: &Millpond, retry: Retry, failures: u64, end: fn() -> Result<Outcome, &'static str>) -> Ran {
    let (ran, failures) = (Ran::new(), Failures::of(failures));
    let seen = ran.clone();
    pond.worker("q")
        .retry(retry)
        .handle(move |_: Job<Work>, ctx: Context| {
            let (ran, failures) = (seen.clone(), failures.clone());
            async move {
                three_steps(&ctx, &ran, &failures).await?;
                ran.push("end".into());
                Ok::<_, millpond::Failure>(end()?)
            }
        })
        .start()
        .unwrap();
    ran
}

fn are_undone(pond: &Millpond, id: JobId) -> Vec<bool> {
    let mut steps = pond.steps(id).unwrap();
    steps.sort_by(|a, b| a.name.cmp(&b.name));
    steps.iter().map(|step| matches!(step.state, StepState::Undone { .. })).collect()
}

const FORWARD: [&str; 4] = ["charge", "note", "pack", "end"];
const BACK: [&str; 3] = ["end", "undo pack 9", "undo charge 7"];

#[tokio::test]
async fn a_dead_letter_has_undone_its_steps_the_last_one_first() {
    let (_clock, pond) = memory();
    let mut events = pond.events();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::dead_letter("sold out")));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(ran.take(), [&FORWARD[..], &BACK[..]].concat());
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts, job.undoing), (State::Dead, 1, None));
    assert_eq!(job.reason.as_deref(), Some("sold out"));
    assert_eq!(are_undone(&pond, id), [true, false, true]);
    let heard = heard(&mut events);
    let told = |is: fn(&Event) -> bool| heard.iter().position(is);
    let undoing = told(|event| matches!(event, Event::Undoing { reason, .. } if reason == "sold out"));
    assert!(undoing.is_some() && undoing < told(|event| matches!(event, Event::Dead { .. })), "{heard:#?}");
    assert_eq!(heard.iter().filter(|event| matches!(event, Event::Dead { .. })).count(), 1);
    assert_eq!(pond.finished(id).await.unwrap().state, State::Dead);
    assert_eq!(pond.queue("q").unwrap().counts().dead, 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_without_attempts_left_undoes_its_steps_and_keeps_its_errors() {
    let (clock, pond) = memory();
    let ran = worker(&pond, every_second(2), 0, || Err("always"));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.take(), [&FORWARD[..], &["end"], &BACK[..]].concat());
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts, job.errors.len()), (State::Dead, 2, 2));
    assert_eq!(job.reason.as_deref(), Some("no attempts left"));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_its_handler_cancels_undoes_its_steps() {
    let (_clock, pond) = memory();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::cancel("not needed")));
    pond.queue("q").unwrap().configure(keep_all()).await.unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(ran.take(), [&FORWARD[..], &BACK[..]].concat());
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("not needed")));
    assert_sound(&pond).await;
}

fn keep_all() -> millpond::QueueSettings {
    let keep = millpond::Retention::default().cancelled(millpond::Keep::FOREVER);
    millpond::QueueSettings::default().retention(keep)
}

#[tokio::test]
async fn a_completed_job_undoes_nothing() {
    let (_clock, pond) = memory();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::done()));
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), FORWARD);
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
    assert_sound(&pond).await;
}

/// A worker that runs the three steps, and sleeps for an hour.
fn sleeper(pond: &Millpond) -> Ran {
    let ran = Ran::new();
    let seen = ran.clone();
    pond.worker("q")
        .handle(move |_: Job<Work>, ctx: Context| {
            let ran = seen.clone();
            async move {
                three_steps(&ctx, &ran, &Failures::default()).await?;
                ctx.sleep("an hour", HOUR).await?;
                ran.push("awake".into());
                Ok(())
            }
        })
        .start()
        .unwrap();
    ran
}

#[tokio::test]
async fn a_job_that_is_cancelled_in_its_sleep_undoes_its_steps() {
    for member_of in [None, Some("g")] {
        let (_clock, pond) = memory();
        let ran = sleeper(&pond);
        pond.queue("q").unwrap().configure(keep_all()).await.unwrap();
        let job = work(1).unique("key", Unique::until_ended());
        let id = pond.enqueue("q", member_of.iter().fold(job, |job, group| job.group(*group))).await.unwrap().id;
        drained(&pond).await;
        ran.take();
        pond.queue("q").unwrap().pause().await.unwrap();
        assert_eq!(pond.cancel(id, "changed my mind").await.unwrap(), CancelOutcome::Requested);
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.undoing), (State::Pending, Some(State::Cancelled)));
        assert_eq!(pond.cancel(id, "again").await.unwrap(), CancelOutcome::Requested);
        assert!(!pond.enqueue("q", work(2).unique("key", Unique::until_ended())).await.unwrap().is_stored());
        assert_sound(&pond).await;
        pond.queue("q").unwrap().resume().await.unwrap();
        drained(&pond).await;
        assert_eq!(ran.take(), BACK[1..]);
        let job = pond.job(id).unwrap();
        assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("changed my mind")));
        assert!(pond.enqueue("q", work(2).unique("key", Unique::until_ended())).await.unwrap().is_stored());
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_runs_undoes_its_steps() {
    let (clock, pond) = memory();
    let (ran, (gate, mut keeper)) = (Ran::new(), gate());
    let seen = ran.clone();
    pond.worker("q")
        .handle(move |_: Job<Work>, ctx: Context| {
            let (ran, gate) = (seen.clone(), gate.clone());
            async move {
                three_steps(&ctx, &ran, &Failures::default()).await?;
                ctx.step("wait", || async {
                    gate.pass(1).await;
                    Err::<(), _>("it was told to stop")
                })
                .await?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.queue("q").unwrap().configure(keep_all()).await.unwrap();
    let id = pond.enqueue("q", work(1).expires_in(HOUR)).await.unwrap().id;
    keeper.entered().await;
    pond.queue("q").unwrap().pause().await.unwrap();
    assert_eq!(pond.cancel(id, "enough").await.unwrap(), CancelOutcome::Requested);
    keeper.let_go(1);
    drained(&pond).await;
    clock.advance(2 * HOUR);
    drained(&pond).await;
    assert_eq!(
        pond.job(id).unwrap().undoing,
        Some(State::Cancelled),
        "it does not expire before it has undone its steps"
    );
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take()[3..], BACK[1..]);
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("enough")));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_undo_that_fails_is_tried_again_and_the_ones_before_it_are_not() {
    let (clock, pond) = memory();
    let (ran, broken) = (Ran::new(), Failures::of(1));
    let seen = ran.clone();
    pond.worker("q")
        .retry(every_second(3))
        .handle(move |_: Job<Work>, ctx: Context| {
            let (ran, broken) = (seen.clone(), broken.clone());
            async move {
                let undo_first = {
                    let ran = ran.clone();
                    move |(): ()| async move {
                        not_yet(&broken)?;
                        ran.push("undo first".into());
                        Ok::<_, &str>(())
                    }
                };
                let undo_second = move |(): ()| async move {
                    ran.push("undo second".into());
                    Ok::<_, &str>(())
                };
                ctx.step("first", || async { Ok::<_, Error>(()) }).undo(undo_first).await?;
                ctx.step("second", || async { Ok::<_, Error>(()) }).undo(undo_second).await?;
                Ok(Outcome::dead_letter("broken"))
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.undoing, job.attempts), (State::Retrying, Some(State::Dead), 1));
    assert_eq!(are_undone(&pond, id), [false, true]);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.take(), ["undo second", "undo first"]);
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("broken")));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_whose_steps_cannot_be_undone_is_dead_and_goes_on_undoing_after_a_redrive() {
    let (clock, pond) = memory();
    let ran = worker(&pond, every_second(2), 2, || Ok(Outcome::dead_letter("sold out")));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.undoing), (State::Dead, Some(State::Dead)));
    assert_eq!(job.reason.as_deref(), Some("its steps could not be undone: no attempts left"));
    assert!(job.errors.last().unwrap().message.contains("it cannot be undone yet"), "{job:#?}");
    assert_eq!(are_undone(&pond, id), [false, false, false]);
    ran.take();
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), BACK);
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.undoing), (State::Dead, None));
    assert_eq!(are_undone(&pond, id), [true, false, true]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn after_a_redrive_the_undone_steps_run_again_and_no_others() {
    let (_clock, pond) = memory();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::dead_letter("sold out")));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    ran.take();
    pond.dead_letters().redrive(id).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [&["charge", "pack", "end"], &BACK[..]].concat());
    assert_eq!(state(&pond, id), State::Dead);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn rows_that_a_step_has_written_are_removed_by_its_undo() {
    let (_clock, pond) = memory();
    let writer = pond.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |job: Job<Work>, ctx: Context| {
            let (pond, key) = (writer.clone(), job.n);
            async move {
                let write = move |tx: &millpond::Transaction<'_>| {
                    tx.open_table(ROWS)?.insert(key, 1)?;
                    Ok(key)
                };
                let undo = |key: u64| async move {
                    let remove = move |tx: &millpond::Transaction<'_>| {
                        tx.open_table(ROWS)?.remove(key)?;
                        Ok(())
                    };
                    pond.transaction(remove).await
                };
                ctx.step_tx("row", write).undo(undo).await?;
                Ok(Outcome::dead_letter("no"))
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(5)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(are_undone(&pond, id), [true]);
    assert!(pond.begin_read().unwrap().open_table(ROWS).unwrap().get(5).unwrap().is_none());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn handlers_that_block_undo_their_steps_too() {
    let (_clock, pond) = memory();
    let ran = Ran::new();
    let seen = ran.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle_blocking(move |_: Job<Work>, ctx: Context| {
            for n in 1..=2_u64 {
                let ran = seen.clone();
                let undo = move |n: u64| {
                    ran.push(format!("undo {n}"));
                    Ok::<_, Error>(())
                };
                ctx.step_blocking_with_undo("step", || Ok::<_, Error>(n), undo)?;
            }
            Ok(Outcome::dead_letter("no"))
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(ran.take(), ["undo 2", "undo 1"]);
    assert_eq!(are_undone(&pond, id), [true, true]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_undoing_repeats_no_undo_that_is_durable() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (ran, (gate, mut keeper)) = (Ran::new(), gate());
    let start = |pond: &Millpond, ran: &Ran, gate: Option<Gate>| {
        let ran = ran.clone();
        pond.worker("q")
            .handle(move |_: Job<Work>, ctx: Context| {
                let (ran, gate) = (ran.clone(), gate.clone());
                async move {
                    for (n, name) in ["first", "second"].into_iter().enumerate() {
                        let (ran, gate) = (ran.clone(), gate.clone());
                        let undo = move |(): ()| async move {
                            if let (0, Some(gate)) = (n, gate) {
                                gate.pass(1).await;
                            }
                            ran.push(format!("undo {name}"));
                            Ok::<_, Error>(())
                        };
                        ctx.step(name, || async { Ok::<_, Error>(()) }).undo(undo).await?;
                    }
                    Ok(Outcome::dead_letter("broken"))
                }
            })
            .start()
            .unwrap();
    };
    start(&pond, &ran, Some(gate));
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    keeper.entered().await;
    assert_eq!(ran.take(), ["undo second"]);
    let killed = disk.crashed("killed.redb");
    assert_sound(&killed).await;
    let after = Ran::new();
    start(&killed, &after, None);
    drained(&killed).await;
    assert_eq!(after.take(), ["undo first"]);
    let job = killed.job(id).unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("broken")));
    assert_sound(&killed).await;
    keeper.let_go(1);
    drained(&pond).await;
}

/// A worker that runs the three steps, and stays in its handler until it is let go.
fn stuck(pond: &Millpond) -> Keeper {
    let (gate, keeper) = gate();
    pond.worker("q")
        .handle(move |_: Job<Work>, ctx: Context| {
            let gate = gate.clone();
            async move {
                three_steps(&ctx, &Ran::new(), &Failures::default()).await?;
                gate.pass(1).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    keeper
}

#[tokio::test]
async fn a_cancel_that_was_requested_before_a_kill_undoes_the_steps() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let mut keeper = stuck(&pond);
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    keeper.entered().await;
    pond.cancel(id, "enough").await.unwrap();
    let killed = disk.crashed("killed.redb");
    assert_eq!(killed.job(id).unwrap().undoing, Some(State::Cancelled));
    assert_sound(&killed).await;
    let ran = worker(&killed, Retry::none(), 0, || Ok(Outcome::done()));
    killed.queue("q").unwrap().configure(keep_all()).await.unwrap();
    drained(&killed).await;
    assert_eq!(ran.take(), BACK);
    assert_eq!(killed.job(id).unwrap().reason.as_deref(), Some("enough"));
    assert_sound(&killed).await;
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_job_that_kills_the_process_undoes_its_steps() {
    let disk = OnDisk::new();
    let mut files = vec![disk.open()];
    let mut keepers = vec![stuck(&files[0])];
    let id = files[0].enqueue("q", work(1).max_attempts(1)).await.unwrap().id;
    keepers[0].entered().await;
    for n in 0..2 {
        // The process dies while the job runs: in the second process it runs alone.
        let copy = disk.path().with_file_name(format!("{n}.redb"));
        let from = if n == 0 { disk.path() } else { disk.path().with_file_name("0.redb") };
        std::fs::copy(from, &copy).unwrap();
        files.push(disk.builder().open(&copy).unwrap());
        if n == 0 {
            keepers.push(stuck(&files[1]));
            keepers[1].entered().await;
        }
    }
    let job = files[2].job(id).unwrap();
    assert_eq!((job.undoing, job.errors.len()), (Some(State::Dead), 2), "{job:#?}");
    assert_sound(&files[2]).await;
    let ran = worker(&files[2], Retry::none(), 0, || Ok(Outcome::done()));
    drained(&files[2]).await;
    assert_eq!(ran.take(), BACK);
    let job = files[2].job(id).unwrap();
    assert_eq!((job.state, job.attempts), (State::Dead, 1));
    assert!(job.reason.unwrap().contains("the process died"));
    assert_sound(&files[2]).await;
    for (pond, keeper) in files.iter().zip(&keepers) {
        keeper.let_go(1);
        drained(pond).await;
    }
}

#[tokio::test]
async fn a_step_to_which_the_handler_does_not_come_is_told_by_name() {
    let (_clock, pond) = memory();
    let calls = Arc::new(AtomicU64::new(0));
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |_: Job<Work>, ctx: Context| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                if call > 0 {
                    return Err("the service is down".into());
                }
                three_steps(&ctx, &Ran::new(), &Failures::default()).await?;
                Ok::<_, millpond::Failure>(Outcome::dead_letter("no"))
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap().id;
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.undoing), (State::Dead, Some(State::Dead)));
    let error = &job.errors.last().unwrap().message;
    assert!(error.contains("\"charge\"") && error.contains("the service is down"), "{error}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_runs_at_most_once_is_not_called_again_to_undo_its_steps() {
    let (_clock, pond) = memory();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::dead_letter("no")));
    let id = pond.enqueue("q", work(1).at_most_once()).await.unwrap().id;
    drained(&pond).await;
    assert_eq!(ran.take(), FORWARD);
    assert_eq!((state(&pond, id), are_undone(&pond, id)), (State::Dead, vec![false; 3]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_flow_waits_until_the_steps_of_its_job_are_undone() {
    let (_clock, pond) = memory();
    let ran = worker(&pond, Retry::none(), 0, || Ok(Outcome::dead_letter("sold out")));
    let cleaned = record(&pond, "clean", 1);
    pond.flow("order", |flow| {
        let order = flow.job("q", work(1)).named("order");
        flow.job("clean", work(2)).after_or(&order, millpond::OnFailure::Run);
    })
    .await
    .unwrap();
    while ran.len() < FORWARD.len() {
        tokio::task::yield_now().await;
    }
    drained(&pond).await;
    assert_eq!(ran.take(), [&FORWARD[..], &BACK[..]].concat());
    assert_eq!(cleaned.take(), [2]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn jobs_that_undo_their_steps_are_found_by_their_state() {
    let (_clock, pond) = memory();
    let _ran = sleeper(&pond);
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    let selected = pond.select(&JobFilter::new().queue("q")).cancel("all").await.unwrap();
    let undoing = |id: JobId| pond.job(id).unwrap().undoing;
    assert!(ids.iter().all(|id| undoing(id.id) == Some(State::Cancelled)), "{selected:?}");
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().cancelled_total, 3);
    assert_sound(&pond).await;
}
