//! A disk in memory that remembers what was done to it, and what a power cut at any moment may leave.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// The least that a disk writes whole.
const SECTOR: usize = 512;

/// Random choices among the writes that were not synced, at each operation.
const CHOICES: usize = 6;

#[derive(Clone, Debug)]
pub enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    inner: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

impl Recorder {
    pub fn with(bytes: Vec<u8>) -> Self {
        Self { inner: Arc::new(Mutex::new(Disk { bytes, ops: Vec::new() })) }
    }

    pub fn ops(&self) -> Vec<Op> {
        self.inner.lock().unwrap().ops.clone()
    }

    fn done(&self, op: Op) {
        let mut disk = self.inner.lock().unwrap();
        apply(&mut disk.bytes, &op);
        disk.ops.push(op);
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.inner.lock().unwrap();
        let from = offset as usize;
        let bytes = disk.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.done(Op::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.done(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.done(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => {
            let end = *offset as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset as usize..end].copy_from_slice(data);
        }
        Op::SetLen(len) => bytes.resize(*len as usize, 0),
        Op::Sync => {}
    }
}

/// Hands `visit` each image that a power cut may leave while `ops` are done to a disk with `start` on it,
/// with the number of the operation that was not begun. What was synced is there; of the rest nothing,
/// everything, everything but the last, or any part, in sectors.
pub fn each_image(start: &[u8], ops: &[Op], seed: u64, mut visit: impl FnMut(usize, Vec<u8>)) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut durable = start.to_vec();
    let mut pending: Vec<&Op> = Vec::new();
    let after = |durable: &[u8], ops: &[&Op]| {
        let mut image = durable.to_vec();
        ops.iter().for_each(|op| apply(&mut image, op));
        image
    };
    for at in 0..=ops.len() {
        visit(at, durable.clone());
        if let Some((_, but_last)) = pending.split_last() {
            visit(at, after(&durable, &pending));
            visit(at, after(&durable, but_last));
            for _ in 0..CHOICES {
                let part: Vec<Op> = pending.iter().filter_map(|op| part_of(op, &mut rng)).collect();
                visit(at, after(&durable, &part.iter().collect::<Vec<_>>()));
            }
        }
        match ops.get(at) {
            Some(Op::Sync) => pending.drain(..).for_each(|op| apply(&mut durable, op)),
            Some(op) => pending.push(op),
            None => {}
        }
    }
}

/// The whole of it, nothing, or some of its sectors from the first or up to the last.
fn part_of(op: &Op, rng: &mut fastrand::Rng) -> Option<Op> {
    match (op, rng.u8(0..4)) {
        (_, 0) => None,
        (Op::Write(offset, data), 1) if data.len() > SECTOR => {
            let cut = rng.usize(1..data.len() / SECTOR + 1) * SECTOR;
            let cut = cut.min(data.len());
            match rng.bool() {
                true => Some(Op::Write(*offset, data[..cut].to_vec())),
                false => Some(Op::Write(offset + cut as u64, data[cut..].to_vec())),
            }
        }
        _ => Some(op.clone()),
    }
}
