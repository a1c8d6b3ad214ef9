//! A PostgreSQL server of the test's own.

#![allow(dead_code)]

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use millpond_postgres::tokio_postgres::{Client, NoTls};
use millpond_postgres::{Connect, Postgres};

/// The directory of the server's programs: `PG_BIN`, or the newest one where Debian and others install it, or that of the path.
fn programs() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("PG_BIN") {
        return Some(directory.into());
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, before) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-"), ("/opt", "postgresql@")] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let version = name.strip_prefix(before).and_then(|version| version.parse().ok());
            let bin = entry.path().join("bin");
            found.extend(version.filter(|_| bin.join("initdb").exists()).map(|version| (version, bin)));
        }
    }
    found.sort();
    let of_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|directory| directory.join("initdb").exists())
    };
    found.pop().map(|(_, bin)| bin).or_else(of_path)
}

/// Whom the server runs as: it refuses to be root. `None`: as whoever runs the test.
fn user() -> Option<(u32, u32)> {
    static USER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *USER.get_or_init(|| {
        let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
        let all = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of = |name: &str| {
            let line = all.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut numbers = line.split(':').skip(2).map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??))
        };
        is_root.then(|| of("postgres").or_else(|| of("nobody"))).flatten()
    })
}

fn command(program: &str) -> Command {
    let mut command = Command::new(programs().unwrap().join(program));
    if let Some((uid, gid)) = user() {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    if let Some((uid, gid)) = user() {
        chown(directory.path(), Some(uid), Some(gid)).unwrap();
    }
    directory
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The server of these files is a standby when it starts.
fn make_standby(data: &Path) {
    let signal = data.join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    if let Some((uid, gid)) = user() {
        chown(&signal, Some(uid), Some(gid)).unwrap();
    }
}

/// The files of a new server, which are made once.
fn new_server() -> &'static Path {
    static NEW: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = NEW.get_or_init(|| {
        let directory = directory();
        let mut initdb = command("initdb");
        initdb
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(directory.path().join("data"));
        assert!(initdb.status().unwrap().success(), "initdb fails");
        directory
    });
    made.path()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// PgBouncer before a server.
pub struct Pooler {
    pub address: String,
    child: Child,
    _directory: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub struct Server {
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    settings: Vec<String>,
}

impl Server {
    /// `None`, with a line that says so, if there is no server on this machine.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// With these settings, each `name=value`.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        Self::start_as(settings, false)
    }

    /// A standby of a server that is not there.
    pub fn start_standby() -> Option<Self> {
        Self::start_as(&[], true)
    }

    /// A standby that follows this server, which does not run now and has to be started first.
    pub fn standby(&self) -> Self {
        assert!(self.child.is_none());
        let directory = directory();
        copy(&self.data(), &directory.path().join("data"));
        make_standby(&directory.path().join("data"));
        let primary = format!("primary_conninfo=host=127.0.0.1 port={} user=postgres", self.port);
        Self { directory, port: free_port(), child: None, settings: vec![primary] }
    }

    fn start_as(settings: &[&str], is_standby: bool) -> Option<Self> {
        if programs().is_none() {
            println!("skipped: there is no PostgreSQL server here (apt install postgresql, or set PG_BIN)");
            return None;
        }
        let directory = directory();
        copy(&new_server().join("data"), &directory.path().join("data"));
        if is_standby {
            make_standby(&directory.path().join("data"));
        }
        let port = free_port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { directory, port, child: None, settings };
        server.start_again();
        Some(server)
    }

    pub fn address(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address for another role.
    pub fn address_of(&self, role: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/postgres", self.port)
    }

    pub fn connect(&self) -> Connect {
        Postgres::connect(&self.address())
    }

    pub fn engine(&self) -> Postgres {
        self.connect().start().unwrap()
    }

    /// Stops it and starts it with this setting too: `name=value`. Returns whether it has started.
    pub fn restart_with(&mut self, setting: &str) -> bool {
        self.stop_at_once();
        self.settings.push(setting.to_owned());
        (0..3).any(|_| self.try_start())
    }

    /// Makes a file the server's own, which nobody else may read.
    pub fn own(&self, file: &Path) {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((uid, gid)) = user() {
            chown(file, Some(uid), Some(gid)).unwrap();
        }
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub fn start_again(&mut self) {
        let begun = Instant::now();
        while !self.try_start() {
            // Processes of a server that was killed may not have ended yet.
            assert!(begun.elapsed() < Duration::from_secs(60), "the server does not start");
        }
    }

    fn try_start(&mut self) -> bool {
        let mut server = command("postgres");
        server.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-k", ""]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB"]);
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        let mut child = server.spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            // The third line of the file says when the server takes connections.
            let status = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let mut lines = status.lines();
            let is_its = lines.next().and_then(|id| id.trim().parse().ok()) == Some(child.id());
            if is_its && lines.last().is_some_and(|line| matches!(line.trim(), "ready" | "standby")) {
                self.child = Some(child);
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(20));
        false
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it at once: its processes end without a checkpoint.
    pub fn stop_at_once(&mut self) {
        if let Some(mut child) = self.child.take() {
            let quit = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status().unwrap();
            assert!(quit.success());
            child.wait().unwrap();
        }
    }

    /// A copy of its files, while it does not run.
    pub fn copy_data(&self) -> tempfile::TempDir {
        assert!(self.child.is_none());
        let older = directory();
        copy(&self.data(), &older.path().join("data"));
        older
    }

    pub fn restore(&mut self, older: &tempfile::TempDir) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.data()).unwrap();
        copy(&older.path().join("data"), &self.data());
    }

    /// A client of the test's own.
    pub async fn client(&self) -> Client {
        client(&self.address()).await
    }

    pub fn pooler(&self, mode: &str) -> Pooler {
        let (directory, port) = (directory(), free_port());
        let (ini, users) = (directory.path().join("pooler.ini"), directory.path().join("users"));
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            self.port,
            users.display()
        );
        std::fs::write(&ini, config).unwrap();
        let mut pooler = Command::new("/usr/sbin/pgbouncer");
        if let Some((uid, gid)) = user() {
            pooler.uid(uid).gid(gid);
        }
        let child = pooler.arg(&ini).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the pooler does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Pooler { address: format!("postgres://postgres@127.0.0.1:{port}/postgres"), child, _directory: directory }
    }

    pub async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    pub async fn number(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

pub async fn client(address: &str) -> Client {
    let (client, connection) = millpond_postgres::tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_at_once();
    }
}
