use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageBackend, StorageError, WriteTransaction,
};

use super::batch::{Batch, Counters};
use super::catalog::Catalog;
use super::fault::{self, Fault};
use super::queries::Reader;
use super::schema;
use crate::error::Error;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::time::Now;

/// What a redb file begins with (redb's `docs/design.md`, "Database header").
const REDB_MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Above this size a file takes seconds to reopen after a kill unless its last commit recorded
/// where the free pages are; below it, recording costs more than it saves.
const QUICK_REPAIR_ABOVE_BYTES: u64 = 100 << 20;

/// How many commits go by between two looks at the file's size.
const SIZE_LOOKS_EVERY: u64 = 256;

/// An open file, and the names in it.
pub(crate) struct Store {
    /// Nothing while it is opened again, and after it was closed.
    db: RwLock<Option<Arc<Database>>>,
    closed: AtomicBool,
    origin: Origin,
    attachment: Mutex<Option<Attachment>>,
    pub catalog: Catalog,
    commits: AtomicU64,
    large: AtomicBool,
}

type OpenDatabase = Box<dyn Fn() -> Result<Database, Error> + Send + Sync>;

enum Origin {
    Path {
        path: PathBuf,
        cache_bytes: usize,
    },
    /// The application's own database: it closes and reopens it.
    Attached,
    /// A backend that cannot be had twice.
    Backend,
    /// A backend that can be opened again.
    Backends(OpenDatabase),
}

impl Store {
    /// Opens the file at `path`, or creates it.
    pub fn open(path: &Path, cache_bytes: usize, adopt: bool) -> Result<Self, Error> {
        if !path.try_exists().map_err(|source| io("look for", path, source))? {
            create(path)?;
        }
        look_before_opening(path, adopt)?;
        let db = open_existing(path, cache_bytes)?;
        let origin = Origin::Path { path: path.to_owned(), cache_bytes };
        Self::new(Arc::new(db), origin, adopt)
    }

    /// Lives in the application's own database.
    pub fn attach(db: Arc<Database>) -> Result<Self, Error> {
        let attachment = Attachment::new(&db)?;
        let store = Self::new(db, Origin::Attached, true)?;
        *store.attachment.lock().unwrap_or_else(|e| e.into_inner()) = Some(attachment);
        Ok(store)
    }

    /// Lives on a backend given by the caller: memory, or a disk that fails on demand.
    pub fn with_backend(backend: impl StorageBackend, cache_bytes: usize) -> Result<Self, Error> {
        Self::new(Arc::new(open_backend(backend, cache_bytes)?), Origin::Backend, true)
    }

    /// The same, on one that `open` gives, and gives again after an I/O error.
    pub fn with_backends<B: StorageBackend>(
        open: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
        cache_bytes: usize,
    ) -> Result<Self, Error> {
        let open = move || {
            let failed = |source| Error::Storage { operation: "open the backend", source: Box::new(source) };
            open_backend(open().map_err(failed)?, cache_bytes)
        };
        Self::new(Arc::new(open()?), Origin::Backends(Box::new(open)), true)
    }

    fn new(db: Arc<Database>, origin: Origin, adopt: bool) -> Result<Self, Error> {
        let store = Self {
            db: RwLock::new(Some(db)),
            closed: false.into(),
            origin,
            attachment: Mutex::default(),
            catalog: Catalog::default(),
            commits: AtomicU64::new(0),
            large: false.into(),
        };
        let version = schema::version(&store.begin_read()?)?;
        match (version, &store.origin) {
            (Some(found), _) => schema::check(found)?,
            (None, Origin::Path { path, .. }) if !adopt => {
                return Err(Error::NotAMillpond { path: path.clone() });
            }
            (None, _) => store.create_schema()?,
        }
        Ok(store)
    }

    fn create_schema(&self) -> Result<(), Error> {
        let txn = self.begin_write()?;
        let epoch = Now { wall: Default::default(), engine: Default::default(), mono: Default::default() };
        let marks = Default::default();
        let mut batch = Batch::new(&txn, &self.catalog, Counters::default(), &marks, epoch, false);
        schema::create(&mut batch)?;
        batch.seal()?;
        txn.commit().map_err(fault::after_commit)
    }

    /// Reads what is kept in memory.
    pub fn load(&self) -> Result<Counters, Error> {
        Ok(schema::load(&self.begin_read()?, &self.catalog)?)
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
        Ok(self.db()?.begin_read().map_err(Fault::from)?)
    }

    pub fn reader(&self) -> Result<Reader, Error> {
        Ok(Reader::new(self.begin_read()?))
    }

    pub fn begin_write(&self) -> Result<WriteTransaction, Error> {
        let mut txn = self.db()?.begin_write().map_err(Fault::from)?;
        if self.large.load(Ordering::Relaxed) {
            txn.set_quick_repair(true);
        }
        Ok(txn)
    }

    pub fn commit(&self, txn: WriteTransaction) -> Result<(), Error> {
        txn.commit().map_err(fault::after_commit)?;
        let commits = self.commits.fetch_add(1, Ordering::Relaxed);
        if commits.is_multiple_of(SIZE_LOOKS_EVERY)
            && let Origin::Path { path, .. } = &self.origin
        {
            let len = fs::metadata(path).map_or(0, |meta| meta.len());
            self.large.store(len > QUICK_REPAIR_ABOVE_BYTES, Ordering::Relaxed);
        }
        Ok(())
    }

    pub fn abort(&self, txn: WriteTransaction) -> Result<(), Error> {
        Ok(txn.abort().map_err(Fault::from)?)
    }

    /// Opens the file again after an I/O error: redb refuses writes until then. False if somebody
    /// else holds the database and has to do it.
    pub fn reopen(&self) -> Result<bool, Error> {
        let mut db = self.db.write().unwrap_or_else(|e| e.into_inner());
        let open: &dyn Fn() -> Result<Database, Error> = match &self.origin {
            Origin::Path { path, cache_bytes } => &|| open_existing(path, *cache_bytes),
            Origin::Backends(open) => open,
            Origin::Attached | Origin::Backend => return Ok(false),
        };
        // Let go of it first: one process opens a file once.
        *db = None;
        *db = Some(Arc::new(open()?));
        Ok(true)
    }

    /// Lets go of the file.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        *self.db.write().unwrap_or_else(|e| e.into_inner()) = None;
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
    let db = Database::builder().create(&temporary).map_err(|error| open_error(error, path, "create"))?;
    drop(Store::new(Arc::new(db), Origin::Backend, true)?);
    fs::rename(&temporary, path).map_err(|source| io("create", path, source))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|source| io("sync the directory of", path, source))
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

fn open_existing(path: &Path, cache_bytes: usize) -> Result<Database, Error> {
    check_magic(path)?;
    Database::builder().set_cache_size(cache_bytes).open(path).map_err(|error| open_error(error, path, "open"))
}

fn open_backend(backend: impl StorageBackend, cache_bytes: usize) -> Result<Database, Error> {
    Ok(Database::builder().set_cache_size(cache_bytes).create_with_backend(backend).map_err(Fault::from)?)
}

fn io(operation: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

fn open_error(error: DatabaseError, path: &Path, operation: &'static str) -> Error {
    let damaged = |detail: String| Error::Corrupt {
        detail: format!("{}: {detail}", path.display()),
        hint: "restore a backup; the file was left as it is",
    };
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::AlreadyOpen { path: path.to_owned() },
        DatabaseError::UpgradeRequired(version) => damaged(format!("it has redb's old format {version}")),
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData => damaged(source.to_string()),
            _ => io(operation, path, source),
        },
        other => damaged(other.to_string()),
    }
}
