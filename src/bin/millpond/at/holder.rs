//! The process that has a file open: which one it is, and how it can be asked. Linux tells that, for processes of the same
//! user.

use std::path::{Path, PathBuf};

use millpond::dashboard::Source;
use millpond::dashboard::api::Code;

use crate::Result;
use crate::client::Client;
use crate::exit::{Exit, Failed};

/// Sockets of the process that are tried, at most.
const SOCKETS_MAX: usize = 8;

/// Asks the process that has this file open, at a Unix socket beside the file (`jobs.redb.sock`), or at one that the
/// process listens at.
pub async fn reach(path: &Path, token: Option<String>) -> Result<Client> {
    let holder = find(path);
    let mut sockets = vec![beside(path)];
    if let Some(holder) = &holder {
        sockets.extend(listening(holder.id).into_iter().take(SOCKETS_MAX));
    }
    for socket in sockets.into_iter().filter(|socket| is_own(socket)) {
        let client = Client::at_socket(&socket, token.clone());
        if is_of(&client, path).await {
            let who = holder.as_ref().map_or("another process".to_owned(), Holder::to_string);
            eprintln!("{}", crate::shown::shown(&format!("{who} has {} open, and is asked", path.display())));
            return Ok(client);
        }
    }
    let who = holder.map_or("another process".to_owned(), |holder| holder.to_string());
    let text = format!(
        "{who} has {} open: ask it with `--url` or `--socket`, if it serves the dashboard, or stop it first",
        path.display()
    );
    Err(Failed::new(Exit::Unreachable, text).into())
}

/// Where a process can serve the dashboard so that this program finds it.
fn beside(path: &Path) -> PathBuf {
    let mut socket = path.as_os_str().to_owned();
    socket.push(".sock");
    socket.into()
}

/// Whether a dashboard is there, and shows this file. One that asks for a token is taken for it: the command then says so.
async fn is_of(client: &Client, path: &Path) -> bool {
    let own = match client.overview().await {
        Ok(overview) => overview.storage.path,
        Err(problem) => return problem.code == Code::Unauthorized,
    };
    let Some(own) = own else { return true };
    match (std::fs::canonicalize(own), std::fs::canonicalize(path)) {
        (Ok(own), Ok(path)) => own == path,
        _ => false,
    }
}

struct Holder {
    id: u32,
    name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, name } = self;
        write!(f, "process {id} ({name})")
    }
}

#[cfg(not(target_os = "linux"))]
fn find(_: &Path) -> Option<Holder> {
    None
}

#[cfg(not(target_os = "linux"))]
fn listening(_: u32) -> Vec<PathBuf> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn is_own(_: &Path) -> bool {
    true
}

#[cfg(target_os = "linux")]
use linux::{find, is_own, listening};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    use super::Holder;

    /// The flag of a socket that listens, in `/proc/net/unix`.
    const LISTENS: &str = "00010000";

    /// The process that has the file open. The lock of the file does not tell whose it is, but open files do.
    pub(super) fn find(path: &Path) -> Option<Holder> {
        let file = fs::metadata(path).ok()?;
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let id = ids.find(|id| *id != std::process::id() && has_open(*id, &file))?;
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        Some(Holder { id, name: name.trim().to_owned() })
    }

    fn has_open(id: u32, file: &fs::Metadata) -> bool {
        let Ok(open) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
        open.flatten().any(|entry| {
            let found = fs::metadata(entry.path());
            found.is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
        })
    }

    /// The Unix sockets at which a process listens.
    pub(super) fn listening(id: u32) -> Vec<PathBuf> {
        let Ok(open) = fs::read_dir(format!("/proc/{id}/fd")) else { return Vec::new() };
        let links = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        let own: Vec<_> = links.map(|link| link.to_string_lossy().into_owned()).collect();
        let all = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let sockets = all.lines().skip(1).filter_map(|line| {
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            let [_, _, _, flags, _, _, inode, path] = words[..] else { return None };
            let is_own = flags == LISTENS && own.iter().any(|link| *link == format!("socket:[{inode}]"));
            (is_own && path.starts_with('/')).then(|| renamed(path))
        });
        sockets.collect()
    }

    /// The system knows a socket by the name with which it was made. The dashboard makes `jobs.redb.sock` as
    /// `jobs.redb.sock.1234/socket` and gives it its name afterwards.
    fn renamed(made: &str) -> PathBuf {
        let folder = made.strip_suffix("/socket").filter(|_| !Path::new(made).exists());
        let now = folder.and_then(|folder| folder.rsplit_once('.')).map(|(path, _)| path);
        PathBuf::from(now.unwrap_or(made))
    }

    /// Whether a socket belongs to the user of this program. Others do not get the token.
    pub(super) fn is_own(socket: &Path) -> bool {
        let own = fs::metadata("/proc/self").map(|own| own.uid());
        fs::metadata(socket).is_ok_and(|socket| own.is_ok_and(|own| own == socket.uid()))
    }
}
