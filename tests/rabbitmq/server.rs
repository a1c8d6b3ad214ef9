//! A RabbitMQ server for one test: private ports, a temporary directory, nothing left behind.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The script that Debian's service runs. The one in the path wants to change the user first.
const SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Server {
    port: u16,
    server: Child,
    /// Finds the server's node; without one of its own the server would start one that stays.
    epmd: Child,
    directory: tempfile::TempDir,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// `None` if RabbitMQ is not installed.
    pub fn start() -> Option<Self> {
        let epmd_port = free_port();
        if !Path::new(SCRIPT).exists() {
            return None;
        }
        let epmd = Command::new("epmd")
            .args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let directory = tempfile::tempdir().unwrap();
        let (port, dist_port, at) = (free_port(), free_port(), directory.path());
        let log = std::fs::File::create(at.join("output")).unwrap();
        let server = Command::new(SCRIPT)
            .env("HOME", at)
            .env("ERL_EPMD_PORT", epmd_port.to_string())
            .env("RABBITMQ_NODENAME", format!("millpond-{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", at.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", at.join("log"))
            .env("RABBITMQ_CONF_ENV_FILE", at.join("none"))
            .env("RABBITMQ_CONFIG_FILE", at.join("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at.join("plugins"))
            .env("RABBITMQ_PID_FILE", at.join("pid"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // All of its processes are ended together.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut started = Self { port, server, epmd, directory };
        started.wait();
        Some(started)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it accepts connections.
    fn wait(&mut self) {
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.server.try_wait().unwrap();
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(self.directory.path().join("output")).unwrap_or_default();
                panic!("RabbitMQ does not start ({ended:?}):\n{said}");
            }
            // It takes seconds to start, and tells nobody when it is done.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.server.wait();
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}
