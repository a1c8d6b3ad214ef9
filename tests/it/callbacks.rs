//! Code of the application that the queue calls can call the queue. A call that could only wait for itself is refused
//! by name, and the queue continues.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::task::{Context as TaskContext, Wake, Waker};

use millpond::{BoxError, Context, Enqueued, Error, Job, JobId, Millpond, NewJob, Outcome, Retry, State};
use millpond_testkit::{Fault, SimDisk};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::support::on_event::OnEvent;
use crate::support::*;

/// A queue that callbacks made before it can reach, and the answers that their waiting calls got.
#[derive(Clone, Default)]
struct Caller {
    pond: Arc<OnceLock<Millpond>>,
    answers: Arc<Mutex<Vec<Result<Enqueued, Error>>>>,
    calls: Arc<AtomicBool>,
}

impl Caller {
    fn new() -> Self {
        Self { calls: Arc::new(true.into()), ..Self::default() }
    }

    /// The callbacks call the queue from [`Self::begin`] on.
    fn later() -> Self {
        Self::default()
    }

    fn begin(&self) {
        self.calls.store(true, Ordering::SeqCst);
    }

    /// Calls the queue and waits for it. It is called once.
    fn call(&self) {
        let Some(pond) = self.pond.get() else { return };
        if self.calls.swap(false, Ordering::SeqCst) {
            let answer = pond.enqueue("called-back", work(1)).wait();
            self.answers.lock().unwrap().push(answer);
        }
    }

    fn holds(&self, pond: &Millpond) {
        self.pond.set(pond.clone()).unwrap();
    }

    fn answers(&self) -> Vec<Result<Enqueued, Error>> {
        std::mem::take(&mut self.answers.lock().unwrap())
    }

    /// The call was refused, and the queue continues.
    #[track_caller]
    fn was_refused(&self) {
        match &self.answers()[..] {
            [Err(Error::WouldDeadlock)] => {}
            other => panic!("{other:?}"),
        }
        let pond = self.pond.get().unwrap();
        pond.enqueue("afterwards", work(2)).wait().unwrap();
        pond.transaction(|tx| Ok(tx.enqueue("afterwards", work(3))?)).wait().unwrap();
    }
}

#[test]
fn a_wait_for_the_queue_in_the_dead_letter_hook_is_refused() {
    in_time("a hook that waits", || {
        let caller = Caller::new();
        let (hook, (told, hears)) = (caller.clone(), mpsc::channel());
        let (_, pond) = memory_with(|builder| {
            builder.on_first_dead_letter(move |_| {
                hook.call();
                told.send(()).unwrap();
            })
        });
        caller.holds(&pond);
        let dies = |_: Job<Work>| async { Ok(Outcome::dead_letter("on purpose")) };
        pond.worker("q").handle(dies).start().unwrap();
        pond.enqueue("q", work(1)).wait().unwrap();
        hears.recv().unwrap();
        caller.was_refused();
        assert_eq!(pond.queue("q").unwrap().counts().dead, 1);
    });
}

#[test]
fn every_call_that_waits_is_refused_in_the_dead_letter_hook() {
    in_time("a hook that waits", || {
        let held: Arc<OnceLock<Millpond>> = Arc::default();
        let (in_hook, (told, hears)) = (held.clone(), mpsc::channel());
        let (_, pond) = memory_with(|builder| {
            builder.on_first_dead_letter(move |_| {
                let pond = in_hook.get().unwrap();
                let queue = pond.queue("q").unwrap();
                let dir = tempfile::tempdir().unwrap();
                let answers = [
                    pond.enqueue("x", work(1)).wait().map(drop),
                    pond.enqueue_many("x", [work(1)]).wait().map(drop),
                    pond.transaction(|_| Ok(())).wait(),
                    pond.begin_write().map(drop),
                    pond.cancel(JobId::new(1), "x").wait().map(drop),
                    queue.pause().wait().map(drop),
                    queue.rate().reset().wait(),
                    pond.dead_letters()
                        .redrive_all(&millpond::JobFilter::new(), millpond::Pace::default())
                        .wait()
                        .map(drop),
                    pond.verify().wait().map(drop),
                    pond.backup(dir.path().join("copy.redb")).wait().map(drop),
                    pond.shutdown(SECOND).wait(),
                ];
                // A call that does not wait succeeds.
                assert_eq!(queue.counts().dead, 1);
                told.send(answers.map(|answer| matches!(answer, Err(Error::WouldDeadlock)))).unwrap();
            })
        });
        held.set(pond.clone()).unwrap();
        let dies = |_: Job<Work>| async { Ok(Outcome::dead_letter("on purpose")) };
        pond.worker("q").handle(dies).start().unwrap();
        pond.enqueue("q", work(1)).wait().unwrap();
        assert_eq!(hears.recv().unwrap(), [true; 11]);
        pond.enqueue("q", work(2)).wait().unwrap();
    });
}

#[test]
fn a_wait_for_the_queue_in_a_custom_backoff_is_refused() {
    // The delay is computed where the attempt ends, or on the writer's thread if the writes of the attempt have
    // failed.
    for writes in [false, true] {
        in_time("a back-off that waits", move || {
            let caller = Caller::new();
            let backoff = caller.clone();
            let (_, pond) = memory();
            caller.holds(&pond);
            let fails = move |_: Job<Work>, ctx: Context| async move {
                match writes {
                    true => ctx.on_complete(|_| Err("no".into())),
                    false => return Err("no".into()),
                }
                Ok(())
            };
            let retry = Retry::custom(move |_| {
                backoff.call();
                SECOND
            });
            pond.worker("q").retry(retry).handle(fails).start().unwrap();
            let id = pond.enqueue("q", work(1)).wait().unwrap();
            block_on(drained(&pond));
            assert_eq!(state(&pond, id), State::Retrying);
            caller.was_refused();
        });
    }
}

/// Calls the queue when it is dropped.
struct CallsWhenDropped(Caller, mpsc::Sender<()>);

impl Drop for CallsWhenDropped {
    fn drop(&mut self) {
        self.0.call();
        let _ = self.1.send(());
    }
}

/// A value that calls the queue when it is dropped, and the receiver that reports the drop.
fn calls_when_dropped(pond: &Millpond) -> (CallsWhenDropped, Caller, mpsc::Receiver<()>) {
    let (caller, (told, dropped)) = (Caller::new(), mpsc::channel());
    caller.holds(pond);
    (CallsWhenDropped(caller.clone(), told), caller, dropped)
}

#[test]
fn captures_of_a_closure_are_dropped_where_a_wait_for_the_queue_is_allowed() {
    in_time("a closure that waits when it is dropped", || {
        let (_, pond) = memory();
        for fails in [false, true] {
            for alone in [true, false] {
                let (value, caller, _) = calls_when_dropped(&pond);
                let call = pond.transaction(move |tx| {
                    let _ = &value;
                    tx.enqueue("q", work(1))?;
                    if fails { Err("no".into()) } else { Ok(()) }
                });
                let answer = if alone { call.wait() } else { block_on(call) };
                assert_eq!(answer.is_err(), fails);
                match &caller.answers()[..] {
                    [Ok(_)] => {}
                    other => panic!("fails: {fails}, alone: {alone}: {other:?}"),
                }
            }
        }
    });
}

#[test]
fn an_unused_result_of_a_closure_is_dropped_where_a_wait_for_the_queue_is_allowed() {
    in_time("a value that waits when it is dropped", || {
        let disk = SimDisk::new();
        let again = disk.clone();
        let pond = Millpond::builder().open_backend_with(move || Ok(again.clone())).unwrap();
        let (value, caller, _) = calls_when_dropped(&pond);
        let value = Mutex::new(Some(value));
        disk.fail(Fault::FULL);
        let call = pond.transaction(move |tx| {
            tx.enqueue("q", work(1))?;
            Ok(value.lock().unwrap().take())
        });
        assert!(block_on(call).is_err());
        assert!(matches!(&caller.answers()[..], [Err(Error::Degraded { .. } | Error::StorageFull)]));
    });
}

#[test]
fn dropping_the_closure_of_an_abandoned_call_does_not_block_the_queue() {
    in_time("a closure that waits when it is dropped", || {
        let disk = SimDisk::new();
        let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
        let (value, caller, dropped) = calls_when_dropped(&pond);
        disk.hold_syncs();
        let first = pond.clone();
        let first = std::thread::spawn(move || first.enqueue("q", work(0)).wait());
        disk.wait_for_sync();
        let mut call = Box::pin(pond.transaction(move |_| {
            let _ = &value;
            Ok(())
        }));
        // The call is submitted and then dropped.
        assert!(call.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())).is_pending());
        drop(call);
        disk.release_syncs();
        first.join().unwrap().unwrap();
        dropped.recv().unwrap();
        assert!(matches!(&caller.answers()[..], [Ok(_) | Err(Error::WouldDeadlock)]));
        pond.enqueue("afterwards", work(1)).wait().unwrap();
    });
}

#[test]
fn dropping_what_a_handlers_writes_capture_does_not_block_the_queue() {
    for fails in [false, true] {
        in_time("a completion that waits when it is dropped", move || {
            let (_, pond) = memory();
            let (value, caller, dropped) = calls_when_dropped(&pond);
            let value = Mutex::new(Some(value));
            pond.worker("q")
                .retry(Retry::none())
                .handle(move |_: Job<Work>, ctx: Context| {
                    let value = value.lock().unwrap().take();
                    ctx.on_complete(move |_| {
                        let _ = &value;
                        if fails { Err("no".into()) } else { Ok(()) }
                    });
                    async { Ok(()) }
                })
                .start()
                .unwrap();
            pond.enqueue("q", work(1)).wait().unwrap();
            dropped.recv().unwrap();
            assert!(matches!(&caller.answers()[..], [Ok(_) | Err(Error::WouldDeadlock)]));
            pond.enqueue("afterwards", work(1)).wait().unwrap();
        });
    }
}

#[test]
fn data_of_a_worker_can_wait_for_the_queue_when_it_is_dropped() {
    in_time("a worker that waits when it is dropped", || {
        for stops in [false, true] {
            let (_, pond) = memory();
            let (value, caller, dropped) = calls_when_dropped(&pond);
            let worker = pond.worker("q").data(value).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
            if stops {
                worker.stop();
            } else {
                pond.shutdown(SECOND).wait().unwrap();
            }
            dropped.recv().unwrap();
            match &caller.answers()[..] {
                [Ok(_)] if stops => {}
                [Err(Error::Closed)] if !stops => {}
                other => panic!("stops: {stops}: {other:?}"),
            }
        }
    });
}

/// An error that calls the queue when it is displayed.
struct CallsWhenShown(Caller);

impl std::fmt::Debug for CallsWhenShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for CallsWhenShown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.call();
        f.write_str("shown")
    }
}

impl std::error::Error for CallsWhenShown {}

#[test]
fn a_wait_for_the_queue_while_the_writer_displays_an_error_is_refused() {
    in_time("an error that waits when it is shown", || {
        let (_, pond) = memory();
        let caller = Caller::new();
        caller.holds(&pond);
        let error = caller.clone();
        pond.worker("q")
            .retry(Retry::none())
            .handle(move |_: Job<Work>, ctx: Context| {
                let error = error.clone();
                ctx.on_complete(move |_| Err::<(), BoxError>(CallsWhenShown(error.clone()).into()));
                async { Ok(()) }
            })
            .start()
            .unwrap();
        let id = pond.enqueue("q", work(1)).wait().unwrap();
        block_on(drained(&pond));
        assert_eq!(state(&pond, id), State::Dead);
        caller.was_refused();
    });
}

#[derive(Debug)]
struct PanicsWhenShown;

impl std::fmt::Display for PanicsWhenShown {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("it cannot be shown")
    }
}

impl std::error::Error for PanicsWhenShown {}

#[test]
fn an_error_that_cannot_be_displayed_affects_only_its_own_job() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|_: Job<Work>, ctx: Context| {
            ctx.on_complete(|_| Err::<(), BoxError>(PanicsWhenShown.into()));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).wait().unwrap();
    block_on(drained(&pond));
    assert_eq!((state(&pond, id), pond.degraded()), (State::Dead, None));
    assert!(pond.transaction(|_| Err::<(), BoxError>(PanicsWhenShown.into())).wait().is_err());
    pond.enqueue("q", work(2)).wait().unwrap();
}

/// A task's waker that calls the queue, as the waker of an executor that polls at once can.
struct CallsWhenWoken(Caller, mpsc::Sender<()>);

impl Wake for CallsWhenWoken {
    fn wake(self: Arc<Self>) {
        self.0.call();
        let _ = self.1.send(());
    }
}

#[test]
fn a_wait_for_the_queue_in_a_waker_is_refused() {
    in_time("a waker that waits", || {
        let (_, pond) = memory();
        let caller = Caller::new();
        caller.holds(&pond);
        let (told, woken) = mpsc::channel();
        let waker = Waker::from(Arc::new(CallsWhenWoken(caller.clone(), told)));
        let mut call = Box::pin(pond.enqueue("q", work(1)));
        let mut task = TaskContext::from_waker(&waker);
        if call.as_mut().poll(&mut task).is_pending() {
            woken.recv().unwrap();
            caller.was_refused();
        }
    });
}

/// The same for a waker that is woken because its attempt has reached its timeout: it can even ask about that
/// attempt.
#[test]
fn a_waker_of_an_ended_attempt_can_call_the_queue() {
    struct AsksWhenWoken(Millpond, JobId, mpsc::Sender<bool>);
    impl Wake for AsksWhenWoken {
        fn wake(self: Arc<Self>) {
            let _ = self.2.send(self.0.job(self.1).is_ok() && self.0.metrics().stuck == 0);
        }
    }
    in_time("a waker that asks", || {
        let (clock, pond) = memory();
        let (told, woken) = mpsc::channel();
        let (inner, told) = (pond.clone(), Mutex::new(told));
        let (entered, entries) = mpsc::channel();
        let handler = move |job: Job<Work>, ctx: Context| {
            let waker = Waker::from(Arc::new(AsksWhenWoken(inner.clone(), job.id(), told.lock().unwrap().clone())));
            let mut cancelled = Box::pin(async move { ctx.cancelled().await });
            assert!(cancelled.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_pending());
            entered.send(()).unwrap();
            async move {
                let _still_waits = cancelled;
                std::future::pending::<millpond::Handled>().await
            }
        };
        pond.worker("q").timeout(SECOND).retry(Retry::none()).handle(handler).start().unwrap();
        pond.enqueue("q", work(1)).wait().unwrap();
        entries.recv().unwrap();
        clock.advance(SECOND);
        assert!(woken.recv().unwrap());
        pond.enqueue("afterwards", work(1)).wait().unwrap();
    });
}

/// A disk that calls the queue.
#[derive(Debug)]
struct CallingDisk(InMemoryBackend, CallingCell);

#[derive(Clone)]
struct CallingCell(Caller);

impl std::fmt::Debug for CallingCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a caller")
    }
}

impl StorageBackend for CallingDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.1.0.call();
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

#[test]
fn a_wait_for_the_queue_in_a_storage_backend_is_refused() {
    for alone in [true, false] {
        in_time("a disk that waits", move || {
            let caller = Caller::later();
            let disk = CallingDisk(InMemoryBackend::new(), CallingCell(caller.clone()));
            let pond = Millpond::builder().open_backend(disk).unwrap();
            caller.holds(&pond);
            caller.begin();
            let call = pond.enqueue("q", work(1));
            if alone { call.wait().map(drop) } else { block_on(call).map(drop) }.unwrap();
            caller.was_refused();
        });
    }
}

#[test]
fn a_wait_for_the_queue_in_a_tracing_subscriber_is_refused() {
    in_time("a subscriber that waits", || {
        let disk = SimDisk::new();
        let again = disk.clone();
        let pond = Millpond::builder().open_backend_with(move || Ok(again.clone())).unwrap();
        let caller = Caller::new();
        caller.holds(&pond);
        let calls = caller.clone();
        let is_error = |metadata: &tracing::Metadata<'_>| *metadata.level() == tracing::Level::ERROR;
        // It calls the queue when the queue logs on this thread.
        let subscriber = OnEvent { wants: is_error, then: move |_: &tracing::Event<'_>| calls.call() };
        let _here = tracing::subscriber::set_default(subscriber);
        disk.fail(Fault::FULL);
        // The commit is made on this thread, so its failure is logged on this thread.
        assert!(matches!(pond.enqueue("q", work(1)).wait(), Err(Error::StorageFull)));
        disk.repair();
        assert!(matches!(&caller.answers()[..], [Err(Error::WouldDeadlock)]));
        while pond.degraded().is_some() {
            std::thread::yield_now();
        }
        pond.enqueue("q", work(2)).wait().unwrap();
    });
}

#[test]
fn an_iterator_of_jobs_and_a_payloads_serialize_can_call_the_queue() {
    struct CallsWhenWritten(Millpond);
    impl serde::Serialize for CallsWhenWritten {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let id = self.0.enqueue("called-back", work(1)).wait().map_err(serde::ser::Error::custom)?;
            serializer.serialize_u64(id.id.get())
        }
    }
    in_time("a payload that calls", || {
        let (_, pond) = memory();
        let jobs = (0..3).map(|n| {
            pond.enqueue("called-back", work(n)).wait().unwrap();
            NewJob::json("k", &CallsWhenWritten(pond.clone()))
        });
        assert_eq!(pond.enqueue_many("q", jobs).wait().unwrap().len(), 3);
        assert_eq!(pond.queue("called-back").unwrap().counts().pending, 6);
    });
}

#[test]
fn a_handler_can_wait_for_the_queue() {
    in_time("a handler that waits", || {
        let (_, pond) = memory();
        let (inner, blocking) = (pond.clone(), pond.clone());
        pond.worker("q")
            .handle(move |_: Job<Work>| {
                let pond = inner.clone();
                async move { Ok(pond.enqueue("x", work(1)).wait().map(drop)?) }
            })
            .start()
            .unwrap();
        pond.worker("b")
            .handle_blocking(move |_: Job<Work>| Ok(blocking.enqueue("x", work(2)).wait().map(drop)?))
            .start()
            .unwrap();
        pond.enqueue_all([("q", work(1)), ("b", work(1))]).wait().unwrap();
        block_on(drained(&pond));
        assert_eq!(pond.queue("x").unwrap().counts().pending, 2);
    });
}

#[test]
fn a_wait_for_events_inside_a_transaction_is_refused() {
    in_time("a listener inside a transaction", || {
        let (_, pond) = memory();
        let events = Mutex::new(pond.events());
        let heard = pond.transaction(move |_| Ok(events.lock().unwrap().next_blocking())).wait().unwrap();
        assert!(matches!(heard, Err(Error::WouldDeadlock)), "{heard:?}");
    });
}
