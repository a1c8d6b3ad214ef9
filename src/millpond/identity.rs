//! Which file this is.

use super::Millpond;
use crate::runtime::Commit;
use crate::storage::FileIdentity;

impl Millpond {
    /// Which file this is: 128 random bits, and an incarnation. They are made at the first call; a file that was never asked has none,
    /// and pays nothing for it.
    ///
    /// A [backup](Self::backup) of a file that has an identity is marked. The first opening of such a copy raises its incarnation, in
    /// the commit that recovers it and before any job runs. So whoever keeps an account of what the file has sent, such as another
    /// machine, sees that the file and its copy are two from then on. If the process dies meanwhile, the file is still marked or has
    /// its incarnation.
    ///
    /// Not every copy is known by this: a file that was copied by other means, such as `cp` or a snapshot of the disk, is not marked, and neither is a copy
    /// of a database that was [attached](crate::Builder::attach), because its application makes it. Two copies of one backup have the same incarnation. Whoever finds
    /// that out, for example because the other side has seen more than this file has sent, calls
    /// [`begin_incarnation`](Self::begin_incarnation).
    ///
    /// # Errors
    /// Storage errors, [`Error::Closed`](crate::Error::Closed).
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let dir = tempfile::tempdir()?;
    /// let pond = Millpond::open(dir.path().join("app.redb"))?;
    /// let identity = pond.identity().await?;
    /// assert_eq!(identity.incarnation, 0);
    ///
    /// let backup = pond.backup(dir.path().join("monday.redb")).await?;
    /// let restored = Millpond::open(&backup.path)?.identity().await?;
    /// assert_eq!((restored.id, restored.incarnation), (identity.id, 1));
    /// # Ok(()) });
    /// ```
    pub fn identity(&self) -> Commit<FileIdentity> {
        let new = self.engine().new_id();
        self.engine().change(move |batch| Ok(batch.identity(new)?))
    }

    /// Raises the incarnation of the file if it is still `after`, and returns what it is then: for a file that turns out to be a copy
    /// of another one. Of several callers that find it out, only the first one changes anything.
    ///
    /// # Errors
    /// Those of [`identity`](Self::identity).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let before = pond.identity().await?;
    /// let now = pond.begin_incarnation(before.incarnation).await?;
    /// assert_eq!((now.id, now.incarnation), (before.id, 1));
    /// assert_eq!(pond.begin_incarnation(before.incarnation).await?, now);
    /// # Ok(()) });
    /// ```
    pub fn begin_incarnation(&self, after: u32) -> Commit<FileIdentity> {
        let new = self.engine().new_id();
        self.engine().change(move |batch| Ok(batch.begin_incarnation(after, new)?))
    }
}
