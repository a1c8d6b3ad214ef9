//! `millpond export`: the jobs that match, a line of JSON each.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use futures_util::{StreamExt, TryStreamExt, stream};
use millpond::dashboard::api::{Code, JobQuery, Order, Paging, Problem};
use millpond::{Cursor, JobFilter, Millpond};
use serde_json::json;

use super::record::Record;
use super::{filter, verb};
use crate::Result;
use crate::at::At;
use crate::output::{Progress, count};
use crate::shown::shown_json;

/// Jobs that another process is asked for at a time.
const ASKED_AT_ONCE: usize = 8;

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
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let mut out = output(matches.get_one::<PathBuf>("output"))?;
    let written = write(&at, filter::query(matches), &mut out).await?;
    out.flush()?;
    drop(out);
    match matches.get_flag("json") {
        true => eprintln!("{}", json!({ "exported": written })),
        false => eprintln!("{} jobs were exported", count(written)),
    }
    at.close().await?;
    Ok(ExitCode::SUCCESS)
}

fn output(path: Option<&PathBuf>) -> Result<Box<dyn Write + Send>> {
    match path {
        Some(path) => Ok(Box::new(BufWriter::new(File::create_new(path)?))),
        None => Ok(Box::new(BufWriter::new(io::stdout()))),
    }
}

async fn write(at: &At, query: JobQuery, out: &mut (dyn Write + Send)) -> Result<u64> {
    let progress = Progress::of("exporting", None);
    let (mut after, mut written) = (None, 0);
    loop {
        let (records, next) = match &at.pond {
            Some(pond) => of_file(pond, &query, after).await?,
            None => of_process(at, &query, after).await?,
        };
        for record in &records {
            // The lines of hostile jobs are as safe on a terminal as all other output.
            writeln!(out, "{}", shown_json(&serde_json::to_string(record)?))?;
        }
        written += records.len() as u64;
        progress.add(records.len() as u64);
        after = next;
        if after.is_none() {
            return Ok(written);
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
        Ok((page.jobs.iter().map(Record::of_info).collect(), page.next.map(|next| next.to_string())))
    });
    Ok(read.await?)
}

/// A page lists the jobs without all of their payloads, so each job is asked for.
async fn of_process(at: &At, query: &JobQuery, after: Option<String>) -> Result<Read> {
    let page = Paging { after, limit: Some(Paging::LIMIT_MAX) };
    let page = at.source.jobs(query.clone(), Order::Oldest, page).await?;
    let ids = page.jobs.into_iter().map(|job| job.id);
    let jobs = stream::iter(ids).map(|id| async move {
        match at.source.job(&id).await {
            Ok(job) => Record::of_shown(&job).map(Some).map_err(|why| Problem::new(Code::Conflict, why)),
            Err(problem) if problem.code == Code::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    });
    let records: Vec<Option<Record>> = jobs.buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok((records.into_iter().flatten().collect(), page.next))
}
