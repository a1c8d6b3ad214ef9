//! Where the queue is: in a file that nobody has open, or in a process that has it open.

mod args;
mod file;
mod holder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use millpond::Millpond;
use millpond::dashboard::{PondSource, Source};

use crate::Result;
use crate::client::Client;
use crate::exit::{Exit, Failed};

pub use args::args;

/// How long the close of a file waits for what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// A queue that can be looked at and steered.
pub struct At {
    pub source: Arc<dyn Source>,
    /// The queue itself, if this process has the file open.
    pub pond: Option<Millpond>,
}

impl At {
    /// Opens the file, or finds the process, that the arguments name.
    pub async fn open(matches: &ArgMatches) -> Result<Self> {
        if let Some(url) = matches.get_one::<String>("url") {
            let ca_file = matches.get_one::<PathBuf>("ca-file").map(PathBuf::as_path);
            return Ok(Self::process(Client::at_url(url, ca_file, token(matches))?));
        }
        if let Some(socket) = matches.get_one::<PathBuf>("socket") {
            return Ok(Self::process(Client::at_socket(socket, token(matches))));
        }
        Self::file(path(matches)?, token(matches)).await
    }

    fn process(client: Client) -> Self {
        Self { source: Arc::new(client), pond: None }
    }

    fn pond(pond: Millpond) -> Self {
        Self { source: Arc::new(PondSource::new(&pond)), pond: Some(pond) }
    }

    /// The file, or the process that has it open.
    async fn file(path: &Path, token: Option<String>) -> Result<Self> {
        match file::open(path, false)? {
            Some(pond) => Ok(Self::pond(pond)),
            None => Ok(Self::process(holder::reach(path, token).await?)),
        }
    }

    /// The file, which is made if it does not exist.
    pub async fn make(matches: &ArgMatches) -> Result<Self> {
        let path = path(matches)?;
        match file::open(path, true)? {
            Some(pond) => Ok(Self::pond(pond)),
            None => Ok(Self::process(holder::reach(path, token(matches)).await?)),
        }
    }

    /// Closes the file, if this process has it open.
    pub async fn close(self) -> Result<()> {
        drop(self.source);
        match self.pond {
            Some(pond) => Ok(pond.shutdown(CLOSE_WAIT).await?),
            None => Ok(()),
        }
    }
}

/// The file that the arguments name.
pub fn path(matches: &ArgMatches) -> Result<&Path> {
    let help = "say where the queue is: `--file PATH`, `--url http://…` or `--socket PATH`";
    let path = matches.get_one::<PathBuf>("file").map(PathBuf::as_path);
    path.ok_or_else(|| Failed::new(Exit::Usage, help).into())
}

fn token(matches: &ArgMatches) -> Option<String> {
    let given = matches.get_one::<String>("token").cloned();
    given.or_else(|| std::env::var("MILLPOND_TOKEN").ok()).filter(|token| !token.is_empty())
}
