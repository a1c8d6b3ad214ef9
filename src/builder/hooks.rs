//! Code of the application that runs whenever a job is enqueued, and around each attempt of all workers.

use std::future::Future;

use super::Builder;
use crate::error::BoxError;
use crate::handler::{Context, Next, NextBlocking};
use crate::job::{NewJob, Outcome};

impl Builder {
    /// Adds a hook that gets each job before it is stored, with the name of its queue, and returns the job that is stored
    /// instead. It can add headers, tags, or an option, or refuse the job with an error. Several hooks are called in the order
    /// in which they were added.
    ///
    /// It is called for the jobs of every call that enqueues: also in transactions, guards and completions, and for follow-up
    /// jobs of plugins. A schedule's job passes it when the schedule is stored, not at each firing. A new payload for a job
    /// that is already stored does not pass it.
    ///
    /// It runs on the thread of the caller; in a transaction or a completion, on the writer's thread, where all other calls
    /// wait for it. It can be called more than once for one job, if a commit has to be repeated. A plugin's grants are checked
    /// before, with the queue and the kind that the plugin named. The hook is dropped with the queue, so it must not hold a
    /// handle of this very queue.
    ///
    /// # Errors of the hook
    /// If it returns an error or panics, the call that enqueues returns [`Error::EnqueueRefused`], and nothing of that call is
    /// stored.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// # fn current_tenant() -> Option<&'static str> { Some("ada") }
    /// let pond = Millpond::builder()
    ///     .on_enqueue(|_queue, job| match current_tenant() {
    ///         Some(tenant) => Ok(job.header("tenant", tenant)),
    ///         None => Err("a job needs a tenant".into()),
    ///     })
    ///     .open_backend(memory)?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// assert_eq!(pond.job(id)?.headers["tenant"], "ada");
    /// # Ok(()) });
    /// ```
    ///
    /// [`Error::EnqueueRefused`]: crate::Error::EnqueueRefused
    pub fn on_enqueue(
        mut self,
        hook: impl Fn(&str, NewJob) -> Result<NewJob, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.enqueue_hooks.add(hook);
        self
    }

    /// Keeps the [events](crate::Event) of the queue in a stream: a durable history of what has happened to jobs, in the commits
    /// in which it has happened. Default: none.
    ///
    /// The entries are of the kind `event` and have the event as JSON; their key is the name of the queue, if the event is about one.
    /// Left out are events of running attempts (their start and progress), those of the recovery after a crash, and those of
    /// consumers of this very stream. Give the stream a [retention](crate::Stream::configure), because it grows with every job.
    ///
    /// A name that no stream can have is [`Error::InvalidName`](crate::Error::InvalidName) when the file is opened.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().events_to("audit").open_backend(memory)?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// pond.cancel(id, "not needed").await?;
    ///
    /// let audit = pond.stream("audit")?.read(0, 100)?;
    /// let types: Vec<_> = audit.iter().map(|entry| entry.payload.decode::<serde_json::Value>()).collect();
    /// # let types: Vec<_> = types.into_iter().map(|event| event.unwrap()["type"].as_str().unwrap().to_owned()).collect();
    /// assert_eq!(types, ["Enqueued", "Cancelled"]);
    /// # Ok(()) });
    /// ```
    pub fn events_to(mut self, stream: impl Into<String>) -> Self {
        self.events_to = Some(stream.into());
        self
    }

    /// Puts middleware around every attempt of the async handlers of all workers. It is outside of the middleware of each
    /// worker; see [`WorkerBuilder::wrap`](crate::WorkerBuilder::wrap) for all else. It is dropped with the queue, so it must
    /// not hold a handle of this very queue.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// use millpond::{Context, Next};
    ///
    /// async fn timed(context: Context, next: Next) -> Outcome {
    ///     let start = std::time::Instant::now();
    ///     let outcome = next.run().await;
    ///     println!("{} {} took {:?}", context.kind(), context.job_id(), start.elapsed());
    ///     outcome
    /// }
    ///
    /// let pond = Millpond::builder().wrap(timed).open_backend(memory)?;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn wrap<F, Fut>(mut self, middleware: F) -> Self
    where
        F: Fn(Context, Next) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        self.middleware.add(middleware);
        self
    }

    /// Puts middleware around every attempt of the handlers of all workers that may block. It is outside of the middleware of
    /// each worker; see [`WorkerBuilder::wrap_blocking`](crate::WorkerBuilder::wrap_blocking) for all else. It is dropped with
    /// the queue, so it must not hold a handle of this very queue.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder()
    ///     .wrap_blocking(|context, next| {
    ///         println!("{} {} starts", context.kind(), context.job_id());
    ///         next.run()
    ///     })
    ///     .open_backend(memory)?;
    /// pond.worker("reports").handle_blocking(|_: Job<Charge>| Ok(())).start()?;
    /// # pond.enqueue("reports", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("reports")?.counts().completed_total, 1);
    /// # Ok(()) });
    /// ```
    pub fn wrap_blocking<F>(mut self, middleware: F) -> Self
    where
        F: Fn(&Context, NextBlocking<'_>) -> Outcome + Send + Sync + 'static,
    {
        self.middleware.add_blocking(middleware);
        self
    }
}
