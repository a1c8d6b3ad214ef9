use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError, WriteTransaction,
};

use super::attached::Turns;
use super::batch::{Batch, Counters};
use super::catalog::Catalog;
use super::copy::Copying;
use super::fault::{self, Fault, unless_damaged};
use super::file::OpenFile;
use super::overlay::Overlay;
use super::queries::Reader;
use super::schema::{self, SCHEMA_VERSION};
use super::watched::Watch;
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Process, RwLock, RwLockWriteGuard};
use crate::time::Now;

/// What a redb file begins with (redb's `docs/design.md`, "Database header").
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Above this size a file takes seconds to reopen after a kill unless its last commit recorded
/// where the free pages are; below it, recording costs more than it saves.
const QUICK_REPAIR_ABOVE_BYTES: u64 = 100 << 20;

/// How many commits go by between two looks at the file's size.
const SIZE_LOOKS_EVERY: u64 = 256;

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub cache_bytes: usize,
    /// Take a redb file without tables of ours.
    pub adopt: bool,
    /// Have redb check each page's checksum first. Not when it is opened again after an I/O error.
    pub check: bool,
}

impl Opening {
    pub(super) fn builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(self.check);
        builder
    }

    pub(super) fn again(self) -> Self {
        Self { check: false, ..self }
    }
}

/// An open file, and the names in it.
pub(crate) struct Store {
    /// Nothing while it is opened again, and after it was closed.
    db: RwLock<Option<Arc<Database>>>,
    /// What stands behind it while it can only be read.
    read_only: Mutex<Option<Overlay>>,
    closed: AtomicBool,
    origin: Origin,
    /// The only one that may use the file.
    process: Process,
    watch: Watch,
    attachment: Mutex<Option<Attachment>>,
    pub catalog: Catalog,
    commits: AtomicU64,
    large: AtomicBool,
}

type OpenBackend = Box<dyn Fn() -> Result<Arc<dyn StorageBackend>, Error> + Send + Sync>;

enum Origin {
    Path(OpenFile),
    /// The application's own database: it closes and reopens it, and writes to it too.
    Attached(Turns),
    /// A backend that cannot be had twice.
    Backend,
    /// A backend that can be opened again.
    Backends(OpenBackend, Opening),
}

impl Store {
    /// Opens the file at `path`, or creates it.
    pub fn open(path: &Path, opening: Opening) -> Result<Self, Error> {
        if !path.try_exists().map_err(|source| io("look for", path, source))? {
            create(path)?;
        }
        look_before_opening(path, opening.adopt)?;
        // The process may move to another directory meanwhile.
        let path = std::path::absolute(path).map_err(|source| io("find", path, source))?;
        let watch = Watch::default();
        let (db, file) = OpenFile::open(path, opening, &watch)?;
        Self::new(Arc::new(db), Origin::Path(file), watch, opening.adopt)
    }

    /// Lives in the application's own database, and waits so long for a write transaction of the application's.
    pub fn attach(db: Arc<Database>, write_wait_max: Duration) -> Result<Self, Error> {
        let attachment = Attachment::new(&db)?;
        let store = Self::new(db, Origin::Attached(Turns::new(write_wait_max)), Watch::default(), true)?;
        *store.attachment.lock().unwrap_or_else(|e| e.into_inner()) = Some(attachment);
        Ok(store)
    }

    /// Lives on a backend given by the caller: memory, or a disk that fails on demand.
    pub fn with_backend(backend: impl StorageBackend, opening: Opening) -> Result<Self, Error> {
        let watch = Watch::default();
        let db = open_database(watch.over(backend), opening)?;
        Self::new(Arc::new(db), Origin::Backend, watch, true)
    }

    /// The same, on one that `open` gives, and gives again after an I/O error.
    pub fn with_backends<B: StorageBackend>(
        open: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
        opening: Opening,
    ) -> Result<Self, Error> {
        let watch = Watch::default();
        let open = move || -> Result<Arc<dyn StorageBackend>, Error> {
            let failed = |source| Error::Storage { operation: "open the backend", source: Box::new(source) };
            Ok(Arc::new(open().map_err(failed)?))
        };
        let db = open_database(watch.over_shared(open()?), opening)?;
        Self::new(Arc::new(db), Origin::Backends(Box::new(open), opening), watch, true)
    }

    fn new(db: Arc<Database>, origin: Origin, watch: Watch, adopt: bool) -> Result<Self, Error> {
        let store = Self {
            db: RwLock::new(Some(db)),
            read_only: Mutex::default(),
            closed: false.into(),
            origin,
            process: Process::current(),
            watch,
            attachment: Mutex::default(),
            catalog: Catalog::default(),
            commits: AtomicU64::new(0),
            large: false.into(),
        };
        let version = schema::version(&store.begin_read()?)?;
        match (version, &store.origin) {
            (Some(found), _) => {
                schema::check(found)?;
                store.migrate(found)?;
            }
            (None, Origin::Path(file)) if !adopt => {
                return Err(Error::NotAMillpond { path: file.path.clone() });
            }
            (None, _) => store.create_schema()?,
        }
        Ok(store)
    }

    /// Before anything else is read of the file.
    fn migrate(&self, from: u32) -> Result<(), Error> {
        if from == SCHEMA_VERSION {
            return Ok(());
        }
        let txn = self.begin_write()?;
        schema::migrate(&txn, from)?;
        self.make_durable(txn)?;
        tracing::info!(from, to = SCHEMA_VERSION, "the file was brought up to this build's schema version");
        Ok(())
    }

    fn create_schema(&self) -> Result<(), Error> {
        let txn = self.begin_write()?;
        let epoch = Now { wall: Default::default(), engine: Default::default(), mono: Default::default() };
        let marks = Default::default();
        let mut batch = Batch::new(&txn, &self.catalog, Counters::default(), &marks, epoch, false);
        schema::create(&mut batch)?;
        batch.seal()?;
        self.make_durable(txn)
    }

    /// Reads what is kept in memory.
    pub fn load(&self) -> Result<Counters, Error> {
        Ok(schema::load(&self.begin_read()?, &self.catalog)?)
    }

    /// Refuses a process that was forked from the one that has opened the file. Two processes with one open file would
    /// each go on from what it remembers, and destroy what the other one has acknowledged. Before any lock: in a forked
    /// process it may be held by a thread that does not exist there.
    pub fn check_process(&self) -> Result<(), Error> {
        match self.process.is_this() {
            true => Ok(()),
            false => Err(Error::Forked { opened_by: self.process.id() }),
        }
    }

    fn db(&self) -> Result<Arc<Database>, Error> {
        let db = self.db.read().unwrap_or_else(|e| e.into_inner());
        match &*db {
            Some(db) => Ok(db.clone()),
            None if self.closed.load(Ordering::SeqCst) => Err(Error::Closed),
            None => Err(Error::Degraded { reason: "the file could not be opened again yet".into() }),
        }
    }

    pub fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.check_process()?;
        Ok(self.db()?.begin_read().map_err(Fault::from)?)
    }

    pub fn reader(&self) -> Result<Reader, Error> {
        Ok(Reader::new(self.begin_read()?))
    }

    pub fn begin_write(&self) -> Result<WriteTransaction, Error> {
        let db = self.db()?;
        let mut txn = match &self.origin {
            Origin::Attached(turns) => turns.begin(&db)?,
            // Nobody else has it: its only writer waits for the transaction that it has lent.
            Origin::Path(_) | Origin::Backend | Origin::Backends(..) => db.begin_write().map_err(Fault::from)?,
        };
        if self.large.load(Ordering::Relaxed) {
            txn.set_quick_repair(true);
        }
        Ok(txn)
    }

    /// Nobody waits for the queue any more: it may wait for the application's transactions as long as they take.
    pub fn be_patient(&self) {
        if let Origin::Attached(turns) = &self.origin {
            turns.be_patient();
        }
    }

    /// The caller has [checked](Self::check_process) that the process may, after the last code of the application has run.
    pub fn commit(&self, txn: WriteTransaction) -> Result<(), Error> {
        self.make_durable(txn)?;
        self.is_there()?;
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if commits.is_multiple_of(SIZE_LOOKS_EVERY)
            && let Origin::Path(file) = &self.origin
        {
            let len = fs::metadata(&file.path).map_or(0, |meta| meta.len());
            self.large.store(len > QUICK_REPAIR_ABOVE_BYTES, Ordering::Relaxed);
        }
        Ok(())
    }

    fn make_durable(&self, txn: WriteTransaction) -> Result<(), Error> {
        self.watch.begin_commit();
        txn.commit().map_err(|error| fault::after_commit(error, self.watch.may_count()))
    }

    pub fn abort(&self, txn: WriteTransaction) -> Result<(), Error> {
        Ok(txn.abort().map_err(Fault::from)?)
    }

    /// Whether what is written is to be found again. A file that was deleted while it is open, or
    /// replaced by another, takes every write and keeps none.
    pub fn is_there(&self) -> Result<(), Error> {
        match &self.origin {
            Origin::Path(file) => file.is_there(),
            Origin::Attached(_) | Origin::Backend | Origin::Backends(..) => Ok(()),
        }
    }

    /// Opens the file again after an I/O error: redb refuses writes until then. False if somebody
    /// else holds the database and has to do it. Another file that has taken the place of this one is
    /// left alone, and this one is not let go: it could be read no more. One that cannot be opened for writing is opened
    /// for reading, if that is possible.
    pub fn reopen(&self) -> Result<bool, Error> {
        let open: &dyn Fn() -> Result<Database, Error> = match &self.origin {
            Origin::Path(file) => &|| file.open_again(),
            Origin::Backends(open, opening) => &|| open_database(self.watch.over_shared(open()?), opening.again()),
            Origin::Attached(_) | Origin::Backend => return Ok(false),
        };
        self.is_where_it_was()?;
        let mut db = self.let_go();
        match open() {
            Ok(opened) => *db = Some(Arc::new(opened)),
            Err(error) => {
                *db = self.open_to_read();
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Opens the file again so that it can be read. redb reads nothing more after an I/O error, not even what is there.
    pub fn reopen_to_read(&self) -> Result<(), Error> {
        if matches!(self.origin, Origin::Path(_) | Origin::Backends(..)) {
            self.is_where_it_was()?;
            let mut db = self.let_go();
            *db = self.open_to_read();
        }
        Ok(())
    }

    fn is_where_it_was(&self) -> Result<(), Error> {
        self.check_process()?;
        match &self.origin {
            Origin::Path(file) => file.is_there().and_then(|()| file.is_in_its_place()),
            Origin::Attached(_) | Origin::Backend | Origin::Backends(..) => Ok(()),
        }
    }

    /// Closes the database before it is opened again: one process opens a file once. Whoever wants to read waits meanwhile.
    fn let_go(&self) -> RwLockWriteGuard<'_, Option<Arc<Database>>> {
        let mut db = self.db.write().unwrap_or_else(|e| e.into_inner());
        let read_only = self.read_only.lock().unwrap_or_else(|e| e.into_inner()).take();
        // Also if somebody still reads in it.
        read_only.iter().for_each(Overlay::let_go);
        *db = None;
        db
    }

    fn open_to_read(&self) -> Option<Arc<Database>> {
        let below = || match &self.origin {
            Origin::Path(file) => file.open_to_read(),
            Origin::Backends(open, _) => open(),
            Origin::Attached(_) | Origin::Backend => Err(Error::Closed),
        };
        let opening = match &self.origin {
            Origin::Path(file) => file.opening.again(),
            Origin::Backends(_, opening) => opening.again(),
            Origin::Attached(_) | Origin::Backend => return None,
        };
        let failed = |source| Error::Storage { operation: "read the file", source: Box::new(source) };
        let opened = unless_damaged(|| {
            let overlay = Overlay::over(below()?).map_err(failed)?;
            Ok((open_database(overlay.clone(), opening)?, overlay))
        });
        match opened {
            Ok((db, overlay)) => {
                *self.read_only.lock().unwrap_or_else(|e| e.into_inner()) = Some(overlay);
                Some(Arc::new(db))
            }
            Err(error) => {
                tracing::debug!(%error, "the file cannot be read either");
                None
            }
        }
    }

    /// What stands behind the database, if we opened it and it is not closed.
    pub(super) fn watched(&self) -> Option<Arc<dyn StorageBackend>> {
        self.watch.backend()
    }

    /// Has `work` done with the database to itself. None if somebody is about to use it, or nobody can.
    pub(super) fn alone<T>(&self, work: impl FnOnce(&mut Database) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let mut db = self.db.write().unwrap_or_else(|e| e.into_inner());
        db.as_mut().and_then(Arc::get_mut).map(work).transpose()
    }

    /// Begins a copy of the file.
    pub fn copy_to(&self, target: &Path) -> Result<Copying, Error> {
        let own = match &self.origin {
            Origin::Path(file) => Some(file.path.as_path()),
            Origin::Attached(_) => {
                let reason = "the database was attached: its application has to back it up by its own means";
                return Err(Error::NotBackedUp { path: target.to_owned(), reason });
            }
            Origin::Backend | Origin::Backends(..) => None,
        };
        Copying::begin(&self.watch, own, target)
    }

    /// Lets go of the file.
    pub fn close(&self) {
        if self.check_process().is_err() {
            // It is another process's, and closing it would write to it.
            std::mem::forget(self.db.write().unwrap_or_else(|e| e.into_inner()).take());
        }
        self.closed.store(true, Ordering::SeqCst);
        let db = self.db.write().unwrap_or_else(|e| e.into_inner()).take();
        // After a panic in the middle of a commit redb panics here once more. Whoever waits for the close
        // must be told all the same.
        let closed = unless_damaged(|| {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the file was not closed in order");
        }
        if let Origin::Path(file) = &self.origin {
            file.let_go();
        }
        self.watch.close();
        *self.read_only.lock().unwrap_or_else(|e| e.into_inner()) = None;
        *self.attachment.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }
}

/// The databases of applications that a queue lives in, by address.
static ATTACHED: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

/// Keeps a second queue out of a database: both would give out the same ids. A file has its lock for
/// that.
struct Attachment(usize);

impl Attachment {
    fn new(db: &Arc<Database>) -> Result<Self, Error> {
        let address = Arc::as_ptr(db).addr();
        let mut attached = ATTACHED.lock().unwrap_or_else(|e| e.into_inner());
        if attached.contains(&address) {
            return Err(Error::AlreadyOpen { path: "the attached database".into() });
        }
        attached.push(address);
        Ok(Self(address))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        ATTACHED.lock().unwrap_or_else(|e| e.into_inner()).retain(|address| *address != self.0);
    }
}

/// Creates the file under a temporary name and renames it, so that a crash leaves either nothing
/// or a file that opens.
fn create(path: &Path) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".creating");
    let temporary = path.with_file_name(name);
    // A leftover of a creation that did not end. Nobody can have it open: the name is ours.
    match fs::remove_file(&temporary) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(io("create", path, source));
        }
        _ => {}
    }
    if let Err(error) = create_as(&temporary, path) {
        // On a full disk even this little is in the way of others.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, path).map_err(|source| io("create", path, source))?;
    sync_directory_of(path)
}

/// Has a new name on the disk.
pub(super) fn sync_directory_of(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|source| io("sync the directory of", path, source))
}

fn create_as(temporary: &Path, path: &Path) -> Result<(), Error> {
    let db = Database::builder().create(temporary).map_err(|error| open_error(error, path, "create"))?;
    drop(Store::new(Arc::new(db), Origin::Backend, Watch::default(), true)?);
    Ok(())
}

/// Refuses a file that is not ours or too new before anything is written to it: opening it for
/// writing would change its bytes already. One that must be repaired first is looked at after that.
fn look_before_opening(path: &Path, adopt: bool) -> Result<(), Error> {
    check_magic(path)?;
    let Ok(db) = Database::builder().open_read_only(path) else { return Ok(()) };
    let Ok(txn) = db.begin_read() else { return Ok(()) };
    match schema::version(&txn)? {
        Some(found) => schema::check(found),
        None if adopt => Ok(()),
        None => Err(Error::NotAMillpond { path: path.to_owned() }),
    }
}

fn check_magic(path: &Path) -> Result<(), Error> {
    let mut file = File::open(path).map_err(|source| io("open", path, source))?;
    check_magic_of(&mut file, path)
}

pub(super) fn check_magic_of(file: &mut File, path: &Path) -> Result<(), Error> {
    if file.metadata().map_err(|source| io("open", path, source))?.is_dir() {
        return Err(io("open", path, std::io::ErrorKind::IsADirectory.into()));
    }
    let mut magic = [0; REDB_MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == *REDB_MAGIC => Ok(()),
        Ok(()) => Err(Error::NotAMillpond { path: path.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            // redb would silently make a new database of an empty file.
            Err(Error::NotAMillpond { path: path.to_owned() })
        }
        Err(source) => Err(io("read", path, source)),
    }
}

fn open_database(backend: impl StorageBackend, opening: Opening) -> Result<Database, Error> {
    Ok(opening.builder().create_with_backend(backend).map_err(Fault::from)?)
}

pub(super) fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

pub(super) fn open_error(error: DatabaseError, path: &Path, operation: &'static str) -> Error {
    let damaged = |detail: String| Error::Corrupt {
        detail: format!("{}: {detail}", path.display()),
        hint: "restore a backup; the file was left as it is",
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::AlreadyOpen { path: path.to_owned() },
        DatabaseError::UpgradeRequired(version) => damaged(format!("it has redb's old format {version}")),
        DatabaseError::Storage(StorageError::Io(source)) if fault::is_full(&source) => Error::StorageFull,
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => damaged(source.to_string()),
            _ => io(operation, path, source),
        },
        other => damaged(other.to_string()),
    }
}
