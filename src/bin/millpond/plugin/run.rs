//! `millpond plugin run`: runs one or several jobs with the same payload through a queue in memory, with the same code
//! as in an application.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use millpond::{
    Event, Events, Explanation, JobFilter, JobId, JobInfo, Keep, Millpond, NewJob, PluginHandle, QueueSettings,
    Retention,
};
use redb::backends::InMemoryBackend;

use super::ended::Ended;
use super::listener::Listener;
use super::sent::Sent;
use super::{report, setting};
use crate::Result;
use crate::shown::shown;

const QUEUE: &str = "run";

/// The payload if none is given: the JSON `null`.
const NO_PAYLOAD: &[u8] = b"null";

/// How often the file is checked with `--watch`.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// The completed jobs that are kept to be reported. With `--repeat` there can be any number of jobs.
const KEPT: Keep = Keep::new(Duration::MAX, 1_000);

/// The jobs on a page of a listing.
const PAGE_JOBS: usize = 1_000;

pub fn command() -> Command {
    Command::new("run")
        .about("Runs a plugin on a payload, and reports how the job ended")
        .arg(setting::file())
        .arg(
            Arg::new("payload")
                .long("payload")
                .value_name("FILE")
                .help("The file with the job's payload, `-` for standard input [default: the JSON null]"),
        )
        .arg(Arg::new("kind").long("kind").value_name("KIND").default_value("job").help("The job's kind"))
        .args(setting::options())
        .arg(
            Arg::new("repeat")
                .long("repeat")
                .value_name("N")
                .default_value("1")
                .value_parser(value_parser!(u32).range(1..))
                .help("Runs N jobs, one after another, and prints their timings"),
        )
        .arg(
            Arg::new("reuse")
                .long("reuse")
                .value_name("N")
                .default_value("1")
                .value_parser(value_parser!(u32).range(1..))
                .help("Uses an instance for up to N jobs"),
        )
        .arg(
            Arg::new("result")
                .long("result")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Writes the job's result to this file"),
        )
        .arg(Arg::new("watch").long("watch").action(ArgAction::SetTrue).help("Runs it again when the file changes"))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(async { Session::start(matches).await?.run().await })
}

struct Session {
    pond: Millpond,
    plugin: PluginHandle,
    events: Events,
    lines: Listener,
    sent: Sent,
    kind: String,
    payload: Bytes,
    repeat: u32,
    reuse: u32,
    result: Option<PathBuf>,
    watch: bool,
    /// A new version was loaded and has not run yet.
    reloaded: bool,
}

impl Session {
    async fn start(matches: &ArgMatches) -> Result<Self> {
        let (reuse, watch) = (number(matches, "reuse"), matches.get_flag("watch"));
        let mut plugin = setting::plugin(matches)?.reuse(reuse);
        if watch {
            plugin = plugin.watch(CHECK_EVERY);
        }
        let payload = payload(matches.get_one::<String>("payload").map(String::as_str))?;
        let kind: &String = matches.get_one("kind").expect("it has a default");
        let lines = Listener::start();
        let pond = Millpond::builder().open_backend(InMemoryBackend::new())?;
        let kept = Retention::default().completed(KEPT);
        pond.queue(QUEUE)?.configure(QueueSettings::default().retention(kept)).await?;
        let sent =
            Sent::listen(&pond, setting::granted(matches, "append"), setting::granted(matches, "publish")).await?;
        let events = pond.events();
        let begun = Instant::now();
        let worker = pond.worker(QUEUE).concurrency(1).no_timeout().handle_wasm(kind, plugin).start()?;
        let plugin = worker.plugin(kind).ok_or("the worker has no plugin")?;
        println!("{}, version {}, compiled in {:.1?}", plugin.name(), plugin.hash(), begun.elapsed());
        Ok(Self {
            pond,
            plugin,
            events,
            lines,
            sent,
            kind: kind.clone(),
            payload,
            repeat: number(matches, "repeat"),
            reuse,
            result: matches.get_one("result").cloned(),
            watch,
            reloaded: false,
        })
    }

    async fn run(mut self) -> Result<ExitCode> {
        let mut completed = self.round().await?;
        while self.watch {
            self.next_version().await?;
            completed = self.round().await?;
        }
        self.pond.shutdown(Duration::ZERO).await?;
        Ok(if completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs one job and reports how it ended, then the other jobs. Returns false if a job does not complete.
    async fn round(&mut self) -> Result<bool> {
        self.lines.take();
        let (id, ended) = self.job().await?;
        let job = self.pond.job(id)?;
        report::outcome(&job, &ended);
        report::log(&self.lines.take());
        report::follow_ups(&follow_ups(&self.pond, id)?);
        self.sent.report(&self.pond)?;
        if let Some((file, result)) = self.result.as_ref().zip(job.result) {
            fs::write(file, &result).map_err(|error| format!("could not write {}: {error}", file.display()))?;
        }
        let completed = ended.completed && self.others(ended).await?;
        report::state(&self.plugin)?;
        Ok(completed)
    }

    /// Runs the other jobs of `--repeat`, one after another, until one does not complete.
    async fn others(&mut self, first: Ended) -> Result<bool> {
        let mut took: Vec<Duration> = first.took.into_iter().collect();
        for _ in 1..self.repeat {
            let (id, ended) = self.job().await?;
            if !ended.completed {
                report::outcome(&self.pond.job(id)?, &ended);
                return Ok(false);
            }
            took.extend(ended.took);
            self.lines.take();
        }
        if self.repeat > 1 {
            report::timings(took, self.reuse);
        }
        Ok(true)
    }

    /// Enqueues a job, and waits for the end of its first attempt.
    async fn job(&mut self) -> Result<(JobId, Ended)> {
        let job = NewJob::raw(self.kind.clone(), self.payload.clone());
        let id = self.pond.enqueue(QUEUE, job).await?.id;
        loop {
            let event = self.events.next().await.ok_or("the queue was closed")?;
            if let Ok(event) = &event {
                self.note(event);
            }
            let ended = match &event {
                Ok(event) => Ended::of(event, id),
                // Events were missed, for example because of many follow-up jobs. The job's end can be among them.
                _ => Ended::without_event(&self.pond.job(id)?),
            };
            if let Some(mut ended) = ended {
                if ended.delay.is_some()
                    && let Explanation::AwaitsSignal { signal, .. } = self.pond.explain(id)?
                {
                    ended.awaits = Some(signal);
                }
                return Ok((id, ended));
            }
        }
    }

    /// Waits until another version of the file is loaded.
    async fn next_version(&mut self) -> Result<()> {
        println!("waiting for another version, press Ctrl-C to stop");
        while !self.reloaded {
            if let Ok(event) = self.events.next().await.ok_or("the queue was closed")? {
                self.note(&event);
            }
        }
        self.reloaded = false;
        println!("\n{}, version {}", self.plugin.name(), self.plugin.hash());
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::PluginReloaded { .. } => self.reloaded = true,
            Event::PluginNotReloaded { reason, .. } => println!("{}; the current version stays", shown(reason)),
            _ => {}
        }
    }
}

/// The follow-up jobs that were enqueued after the job `since`.
fn follow_ups(pond: &Millpond, since: JobId) -> Result<Vec<JobInfo>> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(&JobFilter::new(), cursor, PAGE_JOBS)?;
        found.extend(page.jobs.into_iter().filter(|job| job.generation > 0 && job.id > since));
        cursor = page.next;
        if cursor.is_none() {
            found.sort_by_key(|job| job.id);
            return Ok(found);
        }
    }
}

fn payload(file: Option<&str>) -> Result<Bytes> {
    let read = match file {
        None => return Ok(Bytes::from_static(NO_PAYLOAD)),
        Some("-") => {
            let mut bytes = Vec::new();
            io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        }
        Some(file) => fs::read(file),
    };
    let read = read.map_err(|error| format!("could not read the payload {}: {error}", file.unwrap_or_default()))?;
    Ok(read.into())
}

fn number(matches: &ArgMatches, name: &str) -> u32 {
    *matches.get_one(name).expect("it has a default")
}
