//! Compares Millpond with raw redb, plain SQLite and the embedded queues of Rust: the same work, in turns, on one machine.
//!
//! ```text
//! cargo run --release --manifest-path benches/compare/Cargo.toml                # everything, about seven minutes
//! cargo run ... -- --turns 5 --only W2,W4 --systems millpond,redb               # more turns of less
//! cargo run ... -- --scale 0.02 --turns 1                                       # does it run at all?
//! cargo run ... -- --dir /mnt/card                                              # on that disk
//! ```
//!
//! It prints markdown: what was compared and how durable each system is, then a table for each work with medians and
//! spread. Nothing else should run at the same time. Each work of each system has a process and a directory of its own, on the
//! file system of the system's directory for temporary files; a file system in memory is refused. In each turn the
//! systems begin at a different place.
//!
//! The head of each module says how its system is set up: `floor.rs` with `redb.rs` and `sqlite.rs`, `pond.rs`,
//! `apalis.rs`, `rustqueue.rs`, `effectum/src/main.rs`; `systems.rs` has one line for each setting. In short:
//!
//! - Payloads are 128 bytes of text, handlers note the time and return. All systems use one tokio runtime with its
//!   default number of threads, and the producers are tasks.
//! - **Durable** was read from each system's source, not from the name of a setting, and checked against the fsyncs that
//!   `strace -f -e trace=fsync,fdatasync` counts. A system with a durable setting that is not its default appears with both.
//! - **Bulk** is the queue's call for many jobs. Plain SQLite and redb do one transaction.
//! - **Counts**: W1, W2, W3 and W5 run for a second, so fast and slow systems do as many jobs as they can. Where producing
//!   is faster than working, as in W5 of some systems, the remaining jobs are run too, and count in the rate and the p99. W4
//!   has 100,000 jobs waiting, or fewer where that would take minutes.
//! - **Checked**: after each work the store is asked how many jobs it holds and how many have ended. If one is missing,
//!   there is no figure.
//!
//! effectum is a program of its own (`effectum/`), because its SQLite bindings and those of apalis-sqlite cannot be
//! linked into one. This program builds and starts it; the works are the same files.
//!
//! The build takes minutes, because rustqueue depends on a web server and an HTTP client, which needs OpenSSL's
//! headers.

mod apalis;
mod floor;
mod machine;
mod pond;
mod redb;
mod rustqueue;
mod sqlite;
mod system;
mod systems;
mod table;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use systems::{LINES, Line, Shows, WORKS, Work};
use work::{Amount, Figures};

/// A run that takes longer has failed.
const RUN_MAX: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, system, rest @ ..] = args.as_slice()
        && first == "run"
    {
        one_run(system, rest);
    }
    match Options::parse(&args).and_then(|options| compare(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} runs failed");
            ExitCode::FAILURE
        }
        Err(complaint) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one work of one system; called in a process of its own.
fn one_run(system: &str, args: &[String]) {
    match system {
        "redb" => work::run::<floor::Floor<redb::Redb>>(args),
        "sqlite" => work::run::<floor::Floor<sqlite::Sqlite>>(args),
        "millpond" => work::run::<pond::Pond>(args),
        "apalis" => work::run::<apalis::Apalis>(args),
        "rustqueue" => work::run::<rustqueue::Rusty>(args),
        _ => panic!("there is no system {system}"),
    }
}

struct Options {
    turns: usize,
    works: Vec<&'static Work>,
    lines: Vec<&'static Line>,
    /// A factor for the usual amounts.
    scale: f64,
    dir: PathBuf,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            turns: 3,
            works: WORKS.iter().collect(),
            lines: LINES.iter().collect(),
            scale: 1.0,
            dir: std::env::temp_dir(),
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let value = args.next().ok_or_else(|| format!("{name} wants a value"))?;
            let wrong = || format!("{name} cannot be {value}");
            let listed = |one: &str| value.split(',').any(|listed| listed.eq_ignore_ascii_case(one));
            match name.as_str() {
                "--turns" => options.turns = value.parse().ok().filter(|turns| *turns > 0).ok_or_else(wrong)?,
                "--scale" => options.scale = value.parse().ok().filter(|scale| *scale > 0.0).ok_or_else(wrong)?,
                "--dir" => options.dir = value.into(),
                "--only" => options.works.retain(|work| listed(work.id)),
                "--systems" => options.lines.retain(|line| listed(line.system)),
                _ => return Err(format!("there is no option {name}: --turns, --only, --systems, --scale, --dir")),
            }
        }
        if options.works.is_empty() || options.lines.is_empty() {
            return Err("nothing is left to compare".into());
        }
        Ok(options)
    }

    fn amount(&self, line: &Line) -> Amount {
        let scaled = |count: u64| ((count as f64 * self.scale) as u64).max(1);
        let (samples, pause) = line.idle;
        Amount {
            time: Duration::from_secs(1).mul_f64(self.scale),
            backlog: scaled(line.backlog),
            samples: scaled(samples),
            pause: Duration::from_millis(pause),
        }
    }
}

/// Runs everything in turns; prints the tables and returns how many runs failed.
fn compare(options: &Options) -> Result<usize, String> {
    if let Some(memory @ ("tmpfs" | "ramfs")) = machine::file_system(&options.dir).as_deref() {
        return Err(format!("{} is a {memory}, where nothing is durable: give --dir", options.dir.display()));
    }
    let programs = Programs::ready(&options.lines)?;
    let mut failed = 0;
    let mut figures: Vec<Vec<Vec<Figures>>> =
        options.works.iter().map(|_| options.lines.iter().map(|_| Vec::new()).collect()).collect();
    for turn in 0..options.turns {
        for (work, figures) in options.works.iter().zip(&mut figures) {
            for place in 0..options.lines.len() {
                // No system is always the first, or always runs after the same one, which heats the machine.
                let at = (place + turn * options.lines.len().div_ceil(options.turns)) % options.lines.len();
                let line = options.lines[at];
                if line.skips.contains(&work.id) {
                    continue;
                }
                eprint!("turn {}, {}, {} ... ", turn + 1, work.id, line.name);
                match programs.run(line, work, options.amount(line), &options.dir) {
                    Ok(run) => {
                        match work.shows {
                            Shows::Rate => eprintln!("{:.0} jobs/s", run.rate),
                            Shows::RateAndP99 => eprintln!("{:.0} jobs/s, p99 {:.0} us", run.rate, run.p99),
                            Shows::Latency => eprintln!("p50 {:.0} us", run.p50),
                        }
                        figures[at].push(run);
                    }
                    Err(why) => {
                        eprintln!("failed: {why}");
                        failed += 1;
                    }
                }
            }
        }
    }
    println!("{}", machine::describe(&options.dir));
    println!("Medians of {} turns; SQLite {}.\n", options.turns, programs.sqlite_versions());
    table::systems(&options.lines);
    for (work, figures) in options.works.iter().zip(figures) {
        let rows: Vec<_> = options.lines.iter().copied().zip(figures).collect();
        table::work(work, &rows);
    }
    Ok(failed)
}

/// This program, and effectum's if it is needed.
struct Programs {
    own: PathBuf,
    effectum: Option<PathBuf>,
}

impl Programs {
    fn ready(lines: &[&Line]) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let wanted = lines.iter().any(|line| line.system == "effectum");
        Ok(Self { own, effectum: if wanted { Some(build_effectum()?) } else { None } })
    }

    fn run(&self, line: &Line, work: &Work, amount: Amount, dir: &Path) -> Result<Figures, String> {
        let dir = tempfile::Builder::new().prefix("compare-").tempdir_in(dir).map_err(|error| error.to_string())?;
        let args = work::to_args(line.setting, work.id, amount, dir.path());
        let mut command = match (&self.effectum, line.system) {
            (Some(effectum), "effectum") => Command::new(effectum),
            _ => {
                let mut own = Command::new(&self.own);
                own.args(["run", line.system]);
                own
            }
        };
        let child = command.args(args).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("it cannot be started: {error}"))?;
        let start = Instant::now();
        while child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if start.elapsed() > RUN_MAX {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("not done after {} s", RUN_MAX.as_secs()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(output.status.to_string());
        }
        work::from_line(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| "it printed no figures".into())
    }

    fn sqlite_versions(&self) -> String {
        let ours = format!("{} (rusqlite, apalis-sqlite)", rusqlite::version());
        let Some(effectum) = &self.effectum else { return ours };
        let theirs = Command::new(effectum).arg("sqlite-version").output().map(|output| output.stdout);
        format!("{ours}, {} (effectum)", String::from_utf8_lossy(&theirs.unwrap_or_default()).trim())
    }
}

fn build_effectum() -> Result<PathBuf, String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("effectum");
    let target = package.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--locked", "--manifest-path"]).arg(package.join("Cargo.toml"));
    let built = build.arg("--target-dir").arg(&target).status();
    match built {
        Ok(status) if status.success() => Ok(target.join("release/millpond-compare-effectum")),
        Ok(_) => Err("effectum's program does not build; leave it out with --systems".into()),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}
