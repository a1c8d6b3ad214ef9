//! A directory in which the kernel refuses to write more: a small file system of its own, or, where none can be
//! mounted, a limit on the size of a file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::child::{self, setting};

/// The size of the file system in bytes, and the limit of the file.
const BYTES: u64 = 4 << 20;

/// The size in bytes of a file that uses up room until it is removed.
const BALLAST_BYTES: u64 = 1 << 20;

/// The bytes that ends can need before they have freed any.
const LITTLE_BYTES: u64 = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A tmpfs in a mount namespace of the child's own: ENOSPC.
    FileSystem,
    /// `RLIMIT_FSIZE`: EFBIG.
    FileSize,
}

impl Kind {
    /// The kinds that this machine has. The limit always works.
    pub fn all() -> Vec<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = in_a_namespace(dir.path(), "true").stderr(Stdio::null()).status();
        match mount.is_ok_and(|status| status.success()) {
            true => vec![Self::FileSystem, Self::FileSize],
            false => {
                println!("no file system can be mounted here: a full disk is a limit on the file's size only");
                vec![Self::FileSize]
            }
        }
    }

    /// Runs `role` in such a directory, and asserts that it succeeds.
    pub fn run(self, role: &str) {
        let dir = tempfile::tempdir().unwrap();
        // The signal that comes with EFBIG kills the process unless it is ignored.
        let command = match self {
            Self::FileSystem => in_a_namespace(dir.path(), "exec \"$0\" \"$@\""),
            Self::FileSize => {
                let mut command = Command::new("sh");
                command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
                command
            }
        };
        let settings = [("ROOM", dir.path().display().to_string()), ("ROOM_KIND", format!("{self:?}"))];
        let (lines, status) = child::start_by(command, role, &settings).end();
        assert!(status.success(), "{self:?}, {role}: {status}: {lines:#?}");
        let last = lines.iter().find(|line| line.contains("refused by")).expect("a last word");
        println!("{self:?}, {role}: {last}");
    }
}

/// A shell runs `then` in a namespace in which `dir` is a small file system.
fn in_a_namespace(dir: &Path, then: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size={BYTES} none '{}' && {then}", dir.display());
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
    command
}

/// The directory as the child sees it.
pub struct Room {
    kind: Kind,
    dir: PathBuf,
}

impl Room {
    pub fn enter() -> Self {
        let dir = PathBuf::from(setting::<String>("ROOM"));
        let kind = match setting::<String>("ROOM_KIND").as_str() {
            "FileSystem" => Kind::FileSystem,
            _ => Kind::FileSize,
        };
        let room = Self { kind, dir };
        match kind {
            Kind::FileSystem => std::fs::write(room.ballast(), vec![7; BALLAST_BYTES as usize]).unwrap(),
            Kind::FileSize => limit(Some(BYTES)),
        }
        room
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn file(&self) -> PathBuf {
        self.dir.join("queue.redb")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    /// Leaves no room even for a new file.
    pub fn fill_up(&self) {
        match self.kind {
            Kind::FileSystem => {
                let mut file = OpenOptions::new().append(true).open(self.ballast()).unwrap();
                while file.write(&[7; 4_096]).is_ok() {}
            }
            Kind::FileSize => limit(Some(4_096)),
        }
    }

    /// Removes the file that uses up room.
    pub fn make_room(&self) {
        match self.kind {
            Kind::FileSystem => std::fs::remove_file(self.ballast()).unwrap(),
            Kind::FileSize => limit(None),
        }
    }

    /// Shortens the file that uses up room a little.
    pub fn make_little_room(&self) {
        match self.kind {
            Kind::FileSystem => {
                let ballast = OpenOptions::new().write(true).open(self.ballast()).unwrap();
                ballast.set_len(BALLAST_BYTES - LITTLE_BYTES).unwrap();
            }
            Kind::FileSize => limit(Some(BYTES + LITTLE_BYTES)),
        }
    }

    /// The other files in the directory.
    pub fn files(&self) -> Vec<PathBuf> {
        let paths = std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| *path != self.ballast()).collect()
    }

    /// Makes the whole file system read-only. Returns false if it is not the child's own.
    pub fn make_read_only(&self) -> bool {
        let remount = || Command::new("mount").args(["-o", "remount,ro"]).arg(&self.dir).status().unwrap();
        self.kind == Kind::FileSystem && remount().success()
    }
}

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}
