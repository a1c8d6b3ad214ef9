//! `millpond export`: the jobs that match, a line of JSON each.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use millpond::dashboard::api::{Code, JobQuery, Paging, Problem};
use millpond::{Cursor, JobFilter, JobInfo, Millpond};
use serde_json::json;

use super::record::{Bound, Record};
use super::{filter, verb};
use crate::Result;
use crate::at::At;
use crate::output::{Progress, count};
use crate::shown::shown_json;

pub fn command() -> Command {
    verb("export", "Prints the jobs that match, a line of JSON each; without arguments all jobs")
        .args(filter::args())
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("Writes this file in place of the standard output; nothing may be there"),
        )
        .arg(
            Arg::new("with-unimportable").long("with-unimportable").action(ArgAction::SetTrue).help(
                "Prints also jobs that no import stores: those that wait for others of their flow, or have steps or signals",
            ),
        )
}

/// What became of the jobs.
#[derive(Default)]
struct Exported {
    written: u64,
    blocked: u64,
    undoing: u64,
    with_steps: u64,
}

impl Exported {
    fn skip(&mut self, bound: Bound) {
        *match bound {
            Bound::Blocked => &mut self.blocked,
            Bound::Undoing => &mut self.undoing,
            Bound::Stepped => &mut self.with_steps,
        } += 1;
    }

    /// What was skipped, and what can be done about it.
    fn note(&self) -> Option<String> {
        let Self { blocked, undoing, with_steps, .. } = *self;
        let skipped = blocked + undoing + with_steps;
        let text = format!(
            "{} jobs were skipped, because new jobs cannot go on where they are: {} wait for others of their flow, {} undo \
             their steps, {} have steps or signals. `backup` copies everything; `--with-unimportable` prints these jobs, too",
            count(skipped),
            count(blocked),
            count(undoing),
            count(with_steps)
        );
        (skipped > 0).then_some(text)
    }

    /// On the standard error: the standard output is for the jobs.
    fn tell(&self, is_json: bool) {
        let Self { written, blocked, undoing, with_steps } = *self;
        let note = self.note();
        if is_json {
            let skipped = json!({ "blocked": blocked, "undoing": undoing, "with_steps": with_steps });
            eprintln!("{}", json!({ "exported": written, "skipped": skipped, "note": note }));
            return;
        }
        eprintln!("{} jobs were exported", count(written));
        if let Some(note) = note {
            eprintln!("{note}");
        }
    }
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let mut out = output(matches.get_one::<PathBuf>("output"))?;
    let exported = write(&at, filter::query(matches), matches.get_flag("with-unimportable"), &mut out).await?;
    out.flush()?;
    drop(out);
    exported.tell(matches.get_flag("json"));
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn output(path: Option<&PathBuf>) -> Result<Box<dyn Write + Send>> {
    match path {
        Some(path) => Ok(Box::new(BufWriter::new(File::create_new(path)?))),
        None => Ok(Box::new(BufWriter::new(io::stdout()))),
    }
}

async fn write(at: &At, query: JobQuery, with_bound: bool, out: &mut (dyn Write + Send)) -> Result<Exported> {
    let progress = Progress::of("exporting", None);
    let (mut after, mut exported) = (None, Exported::default());
    loop {
        let (records, next) = match &at.pond {
            Some(pond) => of_file(pond, &query, after).await?,
            None => of_process(at, &query, after).await?,
        };
        for record in &records {
            if let Some(bound) = record.bound().filter(|_| !with_bound && !record.is_ended()) {
                exported.skip(bound);
                continue;
            }
            exported.written += 1;
            // The lines of hostile jobs are as safe on a terminal as all other output.
            writeln!(out, "{}", shown_json(&serde_json::to_string(record)?))?;
        }
        progress.add(records.len() as u64);
        after = next;
        if after.is_none() {
            return Ok(exported);
        }
    }
}

/// Some of the jobs that match, and where the next ones begin.
type Read = (Vec<Record>, Option<String>);

async fn of_file(pond: &Millpond, query: &JobQuery, after: Option<String>) -> Result<Read> {
    let filter = JobFilter::try_from(query)?;
    let cursor = after.map(|after| after.parse::<Cursor>()).transpose()?;
    let read = pond.read(move |pond| {
        let page = pond.jobs(&filter, cursor, Paging::LIMIT_MAX)?;
        let record = |job: &JobInfo| Ok(Record::of_info(job, &pond.steps(job.id)?));
        let records = page.jobs.iter().map(record).collect::<std::result::Result<_, millpond::Error>>()?;
        Ok((records, page.next.map(|next| next.to_string())))
    });
    Ok(read.await?)
}

async fn of_process(at: &At, query: &JobQuery, after: Option<String>) -> Result<Read> {
    let page = Paging { after, limit: Some(Paging::LIMIT_MAX) };
    let page = at.source.records(query.clone(), page).await?;
    let records = page.records.into_iter().map(Record::of_shown).collect::<std::result::Result<_, _>>();
    Ok((records.map_err(|why| Problem::new(Code::Conflict, why))?, page.next))
}
