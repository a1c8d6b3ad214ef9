//! A write transaction that the application holds keeps the queue from writing. A caller that waits for the queue
//! gets a named error that says that nothing of the call is stored; the queue continues when the transaction ends.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use millpond::{Error, Event, Job, Millpond};
use redb::{Database, TableDefinition};

use crate::support::*;

const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");

/// How long the queue waits in these tests.
const WAIT: Duration = Duration::from_millis(100);

struct Attached {
    database: Arc<Database>,
    pond: Millpond,
    _dir: tempfile::TempDir,
}

fn attached() -> Attached {
    attached_with(WAIT)
}

fn attached_with(write_wait_max: Duration) -> Attached {
    let dir = tempfile::tempdir().unwrap();
    let database = Arc::new(Database::create(dir.path().join("app.redb")).unwrap());
    let pond = Millpond::builder().write_wait_max(write_wait_max).attach(database.clone()).unwrap();
    Attached { database, pond, _dir: dir }
}

#[track_caller]
fn is_held<T: std::fmt::Debug>(answer: Result<T, Error>) {
    match answer {
        Err(error @ Error::WriteHeld { waited, .. }) => {
            assert!(waited >= WAIT && error.is_transient(), "{error:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// The queue accepts calls again, by itself.
fn assert_recovers(pond: &Millpond) {
    while pond.degraded().is_some() {
        thread::sleep(Duration::from_millis(1));
    }
    pond.enqueue("afterwards", work(1)).wait().unwrap();
}

#[test]
fn a_call_on_the_thread_that_holds_the_databases_transaction_gets_a_named_error() {
    in_time("a call inside the application's transaction", || {
        for waits in [true, false] {
            let Attached { database, pond, _dir } = attached();
            let mut events = pond.events();
            let txn = database.begin_write().unwrap();
            let call = pond.enqueue("q", work(1));
            is_held(if waits { call.wait() } else { block_on(call) });
            // No other caller waits as long until the transaction ends.
            let reason = pond.degraded().expect("it is degraded");
            assert!(reason.contains("write transaction"), "{reason}");
            match pond.enqueue("q", work(2)).wait() {
                Err(Error::Degraded { reason: told, .. }) => assert_eq!(told, reason),
                other => panic!("{other:?}"),
            }
            txn.commit().unwrap();
            assert_recovers(&pond);
            assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0, "nothing of the refused calls is stored");
            assert!(matches!(events.next_blocking().unwrap(), Some(Ok(Event::Degraded { .. }))));
            assert!(matches!(events.next_blocking().unwrap(), Some(Ok(Event::Healed))));
            assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
        }
    });
}

#[test]
fn every_kind_of_write_gets_an_error_while_the_transaction_is_held() {
    in_time("calls inside the application's transaction", || {
        type Call = fn(&Millpond) -> Result<(), Error>;
        let calls: [Call; 5] = [
            |pond| pond.enqueue("q", work(1)).wait().map(drop),
            |pond| pond.transaction(|_| Ok(())).wait(),
            |pond| pond.queue("q")?.pause().wait().map(drop),
            |pond| pond.begin_write().map(drop),
            |pond| pond.cancel(millpond::JobId::new(1), "x").wait().map(drop),
        ];
        for call in calls {
            let Attached { database, pond, _dir } = attached();
            let txn = database.begin_write().unwrap();
            is_held(call(&pond));
            txn.abort().unwrap();
            assert_recovers(&pond);
        }
    });
}

#[test]
fn a_job_that_ends_while_the_transaction_is_held_ends_once() {
    in_time("an attempt beside the application's transaction", || {
        let Attached { database, pond, _dir } = attached();
        let (told, ran) = mpsc::channel();
        let handler = move |job: Job<Work>| {
            told.send(job.n).unwrap();
            Ok(())
        };
        pond.worker("q").handle_blocking(handler).start().unwrap();
        let txn = database.begin_write();
        let call = pond.enqueue("q", work(1));
        drop(txn);
        call.wait().unwrap();
        ran.recv().unwrap();
        let txn = database.begin_write().unwrap();
        // The end of the attempt may have waited longer already.
        let answer = pond.enqueue("other", work(2)).wait();
        assert!(matches!(answer, Err(Error::WriteHeld { .. } | Error::Degraded { .. })), "{answer:?}");
        txn.commit().unwrap();
        assert_recovers(&pond);
        block_on(drained(&pond));
        assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
        assert!(ran.try_recv().is_err());
    });
}

#[test]
fn a_short_transaction_of_the_application_is_waited_for() {
    in_time("short transactions", || {
        let Attached { database, pond, _dir } = attached_with(HOUR);
        let writer = thread::spawn(move || {
            for n in 0..50 {
                let txn = database.begin_write().unwrap();
                txn.open_table(USERS).unwrap().insert(n, "x").unwrap();
                txn.commit().unwrap();
            }
        });
        for n in 0..50 {
            pond.enqueue("q", work(n)).wait().unwrap();
        }
        writer.join().unwrap();
        assert_eq!((pond.queue("q").unwrap().counts().pending, pond.degraded()), (50, None));
    });
}

#[test]
fn a_caller_that_waits_for_a_guard_that_is_held_for_long_gets_an_error() {
    in_time("calls beside a guard", || {
        let (_, pond) = memory_with(|builder| builder.write_wait_max(WAIT));
        let (go, writer) = guard_elsewhere(&pond, enqueue_and_commit);
        let callers: Vec<_> = [true, false]
            .map(|waits| {
                let call = pond.enqueue("q", work(2));
                thread::spawn(move || if waits { call.wait() } else { block_on(call) })
            })
            .into();
        for caller in callers {
            match caller.join().unwrap() {
                Err(Error::WriteHeld { .. } | Error::Degraded { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(pond.degraded().unwrap().contains("begin_write"));
        go.send(()).unwrap();
        writer.join().unwrap().unwrap();
        assert_recovers(&pond);
        assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 1);
    });
}

/// One task waits for another one, which waits for the queue, and both share one thread.
#[test]
fn a_caller_that_holds_a_guard_and_waits_for_another_call_is_not_blocked_for_ever() {
    in_time("a guard whose holder waits for another call", || {
        let (_, pond) = memory_with(|builder| builder.write_wait_max(WAIT));
        block_on(async {
            let mut guard = pond.begin_write().unwrap();
            guard.enqueue("q", work(1)).unwrap();
            let other = pond.clone();
            let call = thread::spawn(move || block_on(other.enqueue("q", work(2))));
            let answer = tokio::task::spawn_blocking(|| call.join().unwrap()).await.unwrap();
            assert!(matches!(answer, Err(Error::WriteHeld { .. })), "{answer:?}");
            guard.commit().unwrap();
        });
        assert_recovers(&pond);
    });
}
