//! A server, a device and a hub, each a process of its own, of which one is killed again and again.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millpond::redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use millpond::{Context, Job, Millpond, NewJob, Payload};
use millpond_links::{Forward, Mailbox, Receive};
use millpond_postgres::Postgres;

use crate::support::Server;

const READINGS: u64 = 2_000;
const KILLS: u64 = 15;
const ROOMS: u64 = 4;

/// The device's own rows: the readings.
const TAKEN: TableDefinition<u64, ()> = TableDefinition::new("readings");
/// The hub's own rows: how often each reading was handled, and when, by a count.
const HANDLED: TableDefinition<u64, (u64, u64)> = TableDefinition::new("handled");

/// What the processes do. The test starts it in processes of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of another test"]
async fn role() {
    let Ok(role) = std::env::var("MP_ROLE") else { return };
    let [role, file, server] = role.split(' ').collect::<Vec<_>>()[..] else { panic!("{role}") };
    let pond = Millpond::open(file).unwrap();
    let engine = Postgres::connect(server).start().unwrap();
    let mailbox = Mailbox::named("hub").unwrap();
    match role {
        "device" => {
            let _link = Forward::new(&pond, "readings", &engine, mailbox).batch(40).start().await.unwrap();
            device(&pond).await;
        }
        _ => {
            let _link = Receive::new(&pond, "readings", &engine, mailbox).batch(60).start().unwrap();
            hub(&pond).await;
        }
    }
}

/// Takes readings: each one and its job in one commit.
async fn device(pond: &Millpond) {
    loop {
        let taken = pond.transaction(|tx| {
            let mut taken = tx.open_table(TAKEN)?;
            let number = taken.last()?.map_or(0, |(number, _)| number.value() + 1);
            if number < READINGS {
                taken.insert(number, ())?;
                let job = NewJob::raw("reading", number.to_string()).group(format!("room {}", number % ROOMS));
                tx.enqueue("readings", job)?;
            }
            Ok(number)
        });
        match taken.await.unwrap() {
            READINGS => std::future::pending().await,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Handles readings: how often each one was, in the commit with which its job completes.
async fn hub(pond: &Millpond) {
    let worker = pond.worker("readings").handle_any(|job: Job<Payload>, ctx: Context| async move {
        let number: u64 = std::str::from_utf8(&job.bytes)?.parse()?;
        ctx.on_complete(move |tx| {
            let mut handled = tx.open_table(HANDLED)?;
            let times = handled.get(number)?.map_or(0, |row| row.value().0) + 1;
            let place = handled.len()?;
            handled.insert(number, (times, place))?;
            // The test reads how many.
            println!("handled {}", handled.len()?);
            Ok(())
        });
        Ok(())
    });
    worker.start().unwrap();
    std::future::pending().await
}

struct Process {
    child: Child,
    role: &'static str,
}

impl Process {
    fn start(role: &'static str, dir: &Path, server: &Server) -> Self {
        let out = std::fs::File::options().append(true).create(true).open(dir.join(role)).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kills::role", "--ignored", "--nocapture"]).stdout(out).stderr(Stdio::null());
        let file = dir.join(format!("{role}.redb"));
        let child = command.env("MP_ROLE", format!("{role} {} {}", file.display(), server.address())).spawn().unwrap();
        Self { child, role }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How many readings the hub has said that it has handled.
fn handled(dir: &Path) -> u64 {
    let lines = std::fs::read_to_string(dir.join("hub")).unwrap_or_default();
    lines.lines().filter_map(|line| line.strip_prefix("handled ")?.parse().ok()).max().unwrap_or(0)
}

#[test]
fn each_reading_is_handled_once_and_in_order_while_processes_are_killed() {
    let Some(mut server) = Server::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut device = Process::start("device", dir.path(), &server);
    let mut hub = Process::start("hub", dir.path(), &server);
    let (begun, mut kills, mut killed) = (Instant::now(), 0, [0; 3]);
    loop {
        let count = handled(dir.path());
        if count == READINGS {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{count} of {READINGS} are handled after four minutes");
        if kills < KILLS && count >= READINGS * (kills + 1) / (KILLS + 1) {
            let which = (kills % 3) as usize;
            match which {
                0 => {
                    server.kill();
                    server.start_again();
                }
                1 => {
                    device.kill();
                    device = Process::start(device.role, dir.path(), &server);
                }
                _ => {
                    hub.kill();
                    hub = Process::start(hub.role, dir.path(), &server);
                }
            }
            (kills, killed[which]) = (kills + 1, killed[which] + 1);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stored = runtime.block_on(server.number("select count(*) from millpond.entry"));
    drop((device, hub));
    let database = millpond::redb::Database::open(dir.path().join("hub.redb")).unwrap();
    let rows = database.begin_read().unwrap().open_table(HANDLED).unwrap();
    let mut latest = [0; ROOMS as usize];
    for row in rows.iter().unwrap() {
        let (number, row) = row.unwrap();
        let (number, (times, place)) = (number.value(), row.value());
        assert_eq!(times, 1, "reading {number} was handled {times} times");
        let room = (number % ROOMS) as usize;
        assert!(number < ROOMS || place > latest[room], "reading {number} is out of order");
        latest[room] = place;
    }
    let [of_server, of_device, of_hub] = killed;
    println!("{READINGS} readings, {of_server} kills of the server, {of_device} of the device, {of_hub} of the hub");
    assert_eq!((rows.len().unwrap(), stored), (READINGS, READINGS as i64), "handled, and stored by the server");
}
