use std::io;

/// What can be asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    SetLen,
    Sync,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::SetLen, Self::Sync];
}

/// How it says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// No space is left.
    NoSpace,
    /// The device has failed.
    Io,
}

impl Errno {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::Io => io::Error::other("the device has failed"),
        }
    }
}

/// Something that goes wrong with the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong; anything if nothing is named.
    pub kind: Option<Kind>,
    pub errno: Errno,
    /// How many of these operations go well first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
}

impl Fault {
    /// Every operation fails, for good.
    pub fn dead() -> Self {
        Self { kind: None, errno: Errno::Io, after: 0, times: u64::MAX }
    }

    pub(super) fn strikes(&mut self, kind: Kind) -> Option<io::Error> {
        // A disk that is full can still be read and synced.
        let touched = match self.kind {
            Some(named) => named == kind,
            None => self.errno == Errno::Io || matches!(kind, Kind::Write | Kind::SetLen),
        };
        if !touched {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        if self.times == 0 {
            return None;
        }
        self.times -= 1;
        Some(self.errno.error())
    }
}
