//! An open file: its transactions, commits, reopening after an error, its close.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};

use crate::error::Error;
use crate::metrics::Written;
use crate::storage::file::lock::FileLock;
use crate::storage::file::new_file::{CREATING, Published, Unpublished, place_of, sync_directory_of};
use crate::storage::file::open_file as file;
use crate::storage::file::open_file::{Found, OpenFile};
use crate::storage::file::opening::{Opening, check_magic, failed, open_error};
use crate::storage::file::overlay::Overlay;
use crate::storage::file::watched::Watch;
use crate::storage::open::attached::AttachedWrites;
use crate::storage::open::copy::Copying;
use crate::storage::open::schema;
use crate::storage::rows::batch::{Batch, Counters};
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::fault;
use crate::storage::rows::fault::{Fault, unless_damaged};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::version::SCHEMA_VERSION;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Process, RwLock, RwLockWriteGuard};
use crate::time::Now;

/// Above this size a file takes seconds to reopen after a kill unless its last commit recorded
/// where the free pages are; below it, recording costs more than it saves.
const QUICK_REPAIR_ABOVE_BYTES: u64 = 100 << 20;

/// After how many commits the file's size is read again.
const SIZE_READ_EVERY: u64 = 256;

/// An open file, and the names in it.
pub(crate) struct Store {
    /// Nothing while it is opened again, and after it was closed.
    db: RwLock<Option<Arc<Database>>>,
    /// The backend behind the database while it can only be read.
    read_only: Mutex<Option<Overlay>>,
    closed: AtomicBool,
    origin: Origin,
    /// The only process that may use the file.
    process: Process,
    watch: Watch,
    attachment: Mutex<Option<Attachment>>,
    pub catalog: Arc<Catalog>,
    commits: AtomicU64,
    large: AtomicBool,
}

type OpenBackend = Box<dyn Fn() -> Result<Arc<dyn StorageBackend>, Error> + Send + Sync>;

enum Origin {
    Path(OpenFile),
    /// The application's own database: it closes and reopens it, and writes to it too.
    Attached(AttachedWrites),
    /// A backend that cannot be opened again.
    Backend,
    /// A backend that can be opened again.
    Backends(OpenBackend, Opening),
}

impl Store {
    /// The path of the file, if it was opened by its path.
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Path(file) => Some(&file.path),
            Origin::Attached(_) | Origin::Backend | Origin::Backends(..) => None,
        }
    }

    /// Opens the file at `path`, or creates it.
    pub fn open(path: &Path, opening: Opening) -> Result<Self, Error> {
        // The process may move to another directory meanwhile.
        let path = std::path::absolute(path).map_err(|source| failed("find", path, source))?;
        let lock = lock_or_create(&path)?;
        let watch = Watch::default();
        check_before_opening(&lock, &watch, &path, opening.adopt)?;
        let (db, file) = OpenFile::open(path, opening, lock, &watch)?;
        Self::new(Arc::new(db), Origin::Path(file), watch, opening.adopt)
    }

    /// Opens a store in the application's own database. It waits this long for a write transaction of the application.
    pub fn attach(db: Arc<Database>, write_wait_max: Duration) -> Result<Self, Error> {
        let attachment = Attachment::new(&db)?;
        let store = Self::new(db, Origin::Attached(AttachedWrites::new(write_wait_max)), Watch::default(), true)?;
        *store.attachment.lock().unwrap_or_else(|e| e.into_inner()) = Some(attachment);
        Ok(store)
    }

    /// Opens an empty store in memory, for unit tests.
    #[cfg(test)]
    pub fn in_memory() -> Self {
        let opening = Opening { cache_bytes: 1 << 20, adopt: true, check: false };
        Self::with_backend(redb::backends::InMemoryBackend::new(), opening).expect("memory can be written")
    }

    /// Opens a store on a backend of the caller: memory, or a disk that fails on demand.
    pub fn with_backend(backend: impl StorageBackend, opening: Opening) -> Result<Self, Error> {
        let watch = Watch::default();
        let db = open_database(watch.over(backend), opening)?;
        Self::new(Arc::new(db), Origin::Backend, watch, true)
    }

    /// Opens a store on a backend that `open` returns, and returns again after an I/O error.
    pub fn with_backends<B: StorageBackend>(
        open: impl Fn() -> io::Result<B> + Send + Sync + 'static,
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
            catalog: Arc::default(),
            commits: AtomicU64::new(0),
            large: false.into(),
        };
        let version = schema::version(&store.begin_read()?)?;
        match (version, &store.origin) {
            (Some(found), _) => {
                schema::check(found)?;
                store.migrate(found)?;
                store.complete()?;
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
        if from >= SCHEMA_VERSION {
            return Ok(());
        }
        let txn = self.begin_write()?;
        schema::migrate(&txn, from)?;
        self.make_durable(txn)?;
        tracing::info!(from, to = SCHEMA_VERSION, "the file was brought up to this build's schema version");
        Ok(())
    }

    /// Adds the tables that later builds of the same schema version have.
    fn complete(&self) -> Result<(), Error> {
        if schema::is_complete(&self.begin_read()?)? {
            return Ok(());
        }
        let txn = self.begin_write()?;
        schema::complete(&txn)?;
        self.make_durable(txn)
    }

    fn create_schema(&self) -> Result<(), Error> {
        let txn = self.begin_write()?;
        let marks = Default::default();
        let mut batch = Batch::new(&txn, &self.catalog, Counters::default(), &marks, Now::default(), false);
        schema::create(&mut batch)?;
        batch.close()?;
        self.make_durable(txn)
    }

    /// Reads what is kept in memory.
    pub fn load(&self) -> Result<Counters, Error> {
        Ok(schema::load(&self.begin_read()?, &self.catalog)?)
    }

    /// Refuses a process that was forked from the one that has opened the file. Two processes with one open file would
    /// each go on from what it remembers, and destroy what the other one has acknowledged. Call this before a lock is
    /// taken: in a forked process a thread can hold it that does not exist there.
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
            Origin::Attached(writes) => writes.begin(&db)?,
            // It is free: the only writer waits for the transaction that it has lent.
            Origin::Path(_) | Origin::Backend | Origin::Backends(..) => db.begin_write().map_err(Fault::from)?,
        };
        if self.large.load(Ordering::Relaxed) {
            txn.set_quick_repair(true);
        }
        Ok(txn)
    }

    /// From now on waits for write transactions of the application without a time limit. For a stop, when no caller waits
    /// for the queue any more.
    pub fn wait_without_limit(&self) {
        if let Origin::Attached(writes) = &self.origin {
            writes.wait_without_limit();
        }
    }

    /// The caller has [checked](Self::check_process) that the process may, after the last code of the application has
    /// run.
    pub fn commit(&self, txn: WriteTransaction) -> Result<(), Error> {
        self.make_durable(txn)?;
        self.is_there()?;
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if commits.is_multiple_of(SIZE_READ_EVERY)
            && let Origin::Path(file) = &self.origin
        {
            self.large.store(file.len() > QUICK_REPAIR_ABOVE_BYTES, Ordering::Relaxed);
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

    /// Whether the database belongs to the application, which may write to it as well.
    pub fn is_attached(&self) -> bool {
        matches!(self.origin, Origin::Attached(_))
    }

    /// Checks that the open file still has its name. A file that was deleted or replaced while it is open accepts every
    /// write, but nothing of it can be found after the close.
    pub fn is_there(&self) -> Result<(), Error> {
        match &self.origin {
            Origin::Path(file) => file.is_there(),
            Origin::Attached(_) | Origin::Backend | Origin::Backends(..) => Ok(()),
        }
    }

    /// Opens the database again after an I/O error, because redb refuses writes until then. Returns false if the
    /// database belongs to the application, which has to open it. The file stays locked all the time: another process
    /// could run its jobs in between. If another file has taken its place, the database stays open and can still be
    /// read. A file that cannot be opened for writing is opened for reading, if that is possible.
    pub fn reopen(&self) -> Result<bool, Error> {
        let open: &dyn Fn() -> Result<Database, Error> = match &self.origin {
            Origin::Path(file) => &|| file.open_again(),
            Origin::Backends(open, opening) => &|| open_database(self.watch.over_shared(open()?), opening.again()),
            Origin::Attached(_) | Origin::Backend => return Ok(false),
        };
        self.is_where_it_was()?;
        let mut db = self.close_to_reopen();
        match open() {
            Ok(opened) => *db = Some(Arc::new(opened)),
            Err(error) => {
                *db = self.open_to_read();
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Opens the file again so that it can be read. After an I/O error redb refuses reads as well.
    pub fn reopen_to_read(&self) -> Result<(), Error> {
        if matches!(self.origin, Origin::Path(_) | Origin::Backends(..)) {
            self.is_where_it_was()?;
            let mut db = self.close_to_reopen();
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

    /// Closes the database before it is opened again, because a process can open a file only once. Readers wait
    /// meanwhile.
    fn close_to_reopen(&self) -> RwLockWriteGuard<'_, Option<Arc<Database>>> {
        let mut db = self.db.write().unwrap_or_else(|e| e.into_inner());
        let read_only = self.read_only.lock().unwrap_or_else(|e| e.into_inner()).take();
        // A reader that still uses it gets an error.
        read_only.iter().for_each(Overlay::detach);
        if let Origin::Path(file) = &self.origin {
            file.keep_locked();
        }
        *db = None;
        db
    }

    fn open_to_read(&self) -> Option<Arc<Database>> {
        type Open<'a> = &'a dyn Fn() -> Result<Arc<dyn StorageBackend>, Error>;
        let (below, opening): (Open<'_>, _) = match &self.origin {
            Origin::Path(file) => (&|| file.open_to_read(), file.opening),
            Origin::Backends(open, opening) => (&**open, *opening),
            Origin::Attached(_) | Origin::Backend => return None,
        };
        let failed = |source| Error::Storage { operation: "read the file", source: Box::new(source) };
        let opened = unless_damaged(|| {
            let overlay = Overlay::over(below()?).map_err(failed)?;
            Ok((open_database(overlay.clone(), opening.again())?, overlay))
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

    /// What was handed to the backend since the file was opened. `None` for an attached database.
    pub fn written(&self) -> Option<Written> {
        (!self.is_attached()).then(|| self.watch.written())
    }

    /// The backend of the database, if this process opened it and it is not closed.
    pub(in crate::storage) fn watched(&self) -> Option<Arc<dyn StorageBackend>> {
        self.watch.backend()
    }

    /// Runs `work` while nothing else uses the database. Returns `None` if something uses it, or if it is closed.
    pub(in crate::storage) fn alone<T>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut db = self.db.write().unwrap_or_else(|e| e.into_inner());
        db.as_mut().and_then(Arc::get_mut).map(work).transpose()
    }

    /// Begins a copy of the file.
    pub fn copy_to(&self, target: &Path) -> Result<Copying, Error> {
        let own = match &self.origin {
            Origin::Path(file) => Some(file),
            Origin::Attached(_) => {
                let reason = "the database was attached: its application has to back it up by its own means";
                return Err(Error::NotBackedUp { path: target.to_owned(), reason });
            }
            Origin::Backend | Origin::Backends(..) => None,
        };
        Copying::begin(&self.watch, own, target)
    }

    /// Closes the file.
    pub fn close(&self) {
        if self.check_process().is_err() {
            // It is another process's, and closing it would write to it.
            std::mem::forget(self.db.write().unwrap_or_else(|e| e.into_inner()).take());
        }
        self.closed.store(true, Ordering::SeqCst);
        let db = self.db.write().unwrap_or_else(|e| e.into_inner()).take();
        // After a panic in the middle of a commit redb panics here once more. The thread that waits for the close must
        // get an answer all the same.
        let closed = unless_damaged(|| {
            drop(db);
            Ok(())
        });
        if let Err(error) = closed {
            tracing::error!(%error, "the file was not closed in order");
        }
        if let Origin::Path(file) = &self.origin {
            file.release();
        }
        self.watch.close();
        *self.read_only.lock().unwrap_or_else(|e| e.into_inner()) = None;
        *self.attachment.lock().unwrap_or_else(|e| e.into_inner()) = None;
    }
}

/// The databases of applications that a queue lives in, by address.
static ATTACHED: std::sync::Mutex<Vec<usize>> = std::sync::Mutex::new(Vec::new());

/// Keeps a second queue out of a database, because both would give out the same ids. A file has its lock for that.
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

/// How often opening a file is tried if other programs create, remove or replace it each time.
const TRIES_MAX: usize = 100;

/// Locks the file at a path, and creates it if it does not exist. If several openers create it at once, one of them
/// succeeds and the others open its file.
fn lock_or_create(path: &Path) -> Result<Arc<FileLock>, Error> {
    for _ in 0..TRIES_MAX {
        match file::lock(path)? {
            Found::Locked(lock) => return Ok(lock),
            Found::Replaced => {}
            Found::Nothing => {
                if let Some(lock) = create(path)? {
                    return Ok(lock);
                }
            }
        }
    }
    Err(failed("open", path, io::Error::other("another program removes or replaces it at each try to open it")))
}

/// Creates the file under a temporary name and gives it its own name when it is complete, so that a crash leaves either
/// nothing or a file that opens. Returns `None` if the name is taken by then.
fn create(path: &Path) -> Result<Option<Arc<FileLock>>, Error> {
    let not_created = |source| failed("create", path, source);
    let place = place_of(path).map_err(not_created)?;
    for _ in 0..TRIES_MAX {
        let mut file = Unpublished::beside(&place, CREATING, false).map_err(not_created)?;
        write_schema(&file.lock, path)?;
        match file.publish(&place).map_err(not_created)? {
            Published::Done => {
                sync_directory_of(&place).map_err(|source| failed("sync the directory of", path, source))?;
                return Ok(Some(file.lock.clone()));
            }
            Published::Taken => return Ok(None),
            Published::Lost => {}
        }
    }
    Err(not_created(io::Error::other("another program removes its temporary file at each try")))
}

fn write_schema(lock: &Arc<FileLock>, path: &Path) -> Result<(), Error> {
    let watch = Watch::default();
    let db = Database::builder().create_with_backend(watch.over_file(lock));
    let db = db.map_err(|error| open_error(error, path, "create"))?;
    drop(Store::new(Arc::new(db), Origin::Backend, watch, true)?);
    Ok(())
}

/// Refuses a file that is not ours or too new before anything is written to it: opening it for
/// writing would change its bytes already. A file that must be repaired first is checked after that.
fn check_before_opening(lock: &Arc<FileLock>, watch: &Watch, path: &Path, adopt: bool) -> Result<(), Error> {
    check_magic(lock, path)?;
    let db = Database::builder().open_read_only_with_backend(watch.over_file(lock));
    let Ok(db) = db else { return Ok(()) };
    let Ok(txn) = db.begin_read() else { return Ok(()) };
    match schema::version(&txn)? {
        Some(found) => schema::check(found),
        None if adopt => Ok(()),
        None => Err(Error::NotAMillpond { path: path.to_owned() }),
    }
}

fn open_database(backend: impl StorageBackend, opening: Opening) -> Result<Database, Error> {
    Ok(opening.builder().create_with_backend(backend).map_err(Fault::from)?)
}
