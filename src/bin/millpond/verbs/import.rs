//! `millpond import`: stores the jobs of an export as new jobs.

mod stored;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use serde_json::json;

use super::record::Record;
use super::verb;
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::{self, Progress, count};
use stored::store;

/// Jobs that are stored together.
const AT_ONCE: usize = 500;

/// Bytes of lines that are read before they are stored.
const BYTES_AT_ONCE: usize = 4 << 20;

/// Bytes of a line, at most: a payload of 16 MiB in base64, with all that a job can have.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub fn command() -> Command {
    verb("import", "Stores the jobs of an export as new jobs; those that had ended are left out")
        .arg(
            Arg::new("from")
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("The export [default: the standard input]"),
        )
        .arg(
            Arg::new("create")
                .long("create")
                .action(ArgAction::SetTrue)
                .help("Makes the file of `--file` if there is none"),
        )
        .arg(
            Arg::new("with-dead")
                .long("with-dead")
                .action(ArgAction::SetTrue)
                .help("Stores dead letters as new jobs, too"),
        )
        .arg(
            Arg::new("skip")
                .long("skip")
                .value_name("LINES")
                .value_parser(value_parser!(u64))
                .default_value("0")
                .help("Leaves out the first lines, which an import that has failed says were done"),
        )
}

/// What became of the lines.
#[derive(Default)]
struct Imported {
    lines: u64,
    stored: u64,
    duplicates: u64,
    left_out: u64,
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let input: Box<dyn BufRead + Send> = match matches.get_one::<PathBuf>("from") {
        Some(path) => Box::new(BufReader::new(File::open(path)?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let at = if matches.get_flag("create") { At::make(matches).await? } else { At::open(matches).await? };
    let mut done = Imported::default();
    let read = import(matches, &at, input, &mut done).await;
    tell(matches, &done)?;
    at.close().await?;
    read.map_err(|error| {
        let text = format!("{}; `--skip {}` continues there", crate::sentence(&*error), done.lines);
        Failed::new(crate::exit::of(&error), text)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tell(matches: &ArgMatches, done: &Imported) -> Result<()> {
    let Imported { lines, stored, duplicates, left_out } = *done;
    if matches.get_flag("json") {
        return output::json(
            &json!({ "lines": lines, "stored": stored, "duplicates": duplicates, "left_out": left_out }),
        );
    }
    output::line(&format!(
        "{} jobs were stored; {} had a key that a job has already, and {} had ended",
        count(stored),
        count(duplicates),
        count(left_out)
    ))
}

async fn import(matches: &ArgMatches, at: &At, mut input: Box<dyn BufRead + Send>, done: &mut Imported) -> Result<()> {
    let progress = Progress::of("importing", None);
    let (with_dead, skip) = (matches.get_flag("with-dead"), matches.get_one::<u64>("skip").copied().unwrap_or(0));
    let mut line = 0;
    loop {
        let (mut records, mut bytes, mut left_out) = (Vec::new(), 0, 0);
        let mut is_end = false;
        while records.len() < AT_ONCE && bytes < BYTES_AT_ONCE {
            let Some(text) = next(&mut *input)? else {
                is_end = true;
                break;
            };
            line += 1;
            if line <= skip || text.trim().is_empty() {
                continue;
            }
            bytes += text.len();
            match parse(&text, line)? {
                record if is_imported(&record, with_dead) => records.push(free(record, line)?),
                _ => left_out += 1,
            }
        }
        progress.add(records.len() as u64);
        let all = records.len() as u64;
        let stored = store(at, records).await?;
        done.lines = line;
        done.stored += stored;
        done.duplicates += all - stored;
        done.left_out += left_out;
        if is_end {
            return Ok(());
        }
    }
}

fn next(input: &mut (dyn BufRead + Send)) -> Result<Option<String>> {
    let mut text = String::new();
    let read = io::Read::take(input, LINE_BYTES_MAX).read_line(&mut text)?;
    Ok((read > 0).then_some(text))
}

fn parse(text: &str, line: u64) -> Result<Record> {
    serde_json::from_str(text)
        .map_err(|error| Failed::new(Exit::Usage, format!("line {line} is no job of an export: {error}")).into())
}

/// Refuses a job that would not go on where it was.
fn free(record: Record, line: u64) -> Result<Record> {
    let Some(bound) = record.bound() else { return Ok(record) };
    let text = format!(
        "job {} in line {line} cannot be imported: it {bound}; remove the line, or use `backup`, which copies everything",
        record.id
    );
    Err(Failed::new(Exit::Conflict, text).into())
}

/// A job that had ended would run again.
fn is_imported(record: &Record, with_dead: bool) -> bool {
    match record.state.as_str() {
        "completed" | "cancelled" => false,
        "dead" => with_dead,
        _ => true,
    }
}
