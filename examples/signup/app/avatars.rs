//! Thumbnails of pictures that users upload, made by untrusted plugins, each attempt in a sandbox.
//!
//! ```text
//! PUT  /avatars/{email}            the upload becomes a job
//! GET  /avatars/{email}            the thumbnail that its plugin has made, which is the job's result
//! PUT  /avatars/{email}/{plugin}   the same through another plugin
//! POST /plugins/{plugin}/reload    the plugin's file is read again, while jobs run
//! ```

use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use anyhow::Result;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use millpond::{
    Error, JobId, Keep, Millpond, NewJob, Plugin, PluginLimits, QueueSettings, Retention, Retry, State as JobState,
    Worker,
};
use redb::{ReadableTable, TableDefinition};
use serde::Serialize;

use super::error::ApiError;
use super::tables::USERS;

pub const QUEUE: &str = "avatars";

/// The plugin that makes thumbnails, and its file if the folder of plugins has no newer one.
pub const THUMBNAIL: &str = "thumbnail";
pub const THUMBNAIL_WASM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-examples/rust-thumbnail/thumbnail.wasm");

/// Pixels on a thumbnail's longer side.
pub const THUMBNAIL_SIDE: u32 = 96;

/// Attempts in all: few, because a plugin does the same again, unless the machine was busy.
const ATTEMPTS: u32 = 2;

/// Largest upload: as large as a payload can be with the default settings.
const UPLOAD_BYTES_MAX: usize = 1 << 20;

/// The job that makes each user's thumbnail: email -> job.
const AVATARS: TableDefinition<&str, u64> = TableDefinition::new("avatars");

/// The folder of plugins next to the database file: each `NAME.wasm` in it handles jobs of the kind `NAME`.
pub fn plugins_beside(file: &FilePath) -> PathBuf {
    file.with_extension("plugins")
}

/// Compiles the plugins, starts their worker, and returns the routes.
pub async fn open(pond: &Millpond, file: &FilePath, retry: &Retry) -> Result<Router> {
    let folder = plugins_beside(file);
    let mut worker = pond.worker(QUEUE).retry(retry.clone());
    for kind in kinds(&folder)? {
        let plugin = Plugin::from_file(wasm(&folder, &kind))?
            .limits(if kind == THUMBNAIL { thumbnail_limits() } else { strangers_limits() })
            .config("side", THUMBNAIL_SIDE.to_string())
            .cache(file.with_extension("compiled"));
        worker = worker.handle_wasm(&kind, plugin);
    }
    let worker = worker.start()?;
    // The results are served, so keep them.
    let settings = QueueSettings::default().retention(Retention::default().completed(Keep::FOREVER));
    pond.queue(QUEUE)?.configure(settings).await?;
    pond.transaction(|tx| {
        tx.open_table(AVATARS)?;
        Ok(())
    })
    .await?;
    Ok(routes(Avatars { pond: pond.clone(), folder, worker }))
}

/// The job that makes or has made this user's thumbnail.
pub fn job_of(pond: &Millpond, email: &str) -> Result<Option<JobId>> {
    let avatars = pond.begin_read()?.open_table(AVATARS)?;
    Ok(avatars.get(email)?.map(|job| JobId::new(job.value())))
}

fn routes(avatars: Avatars) -> Router {
    Router::new()
        .route("/avatars/{email}", put(upload).get(show))
        .route("/avatars/{email}/{plugin}", put(upload_through))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX))
        .route("/plugins/{plugin}/reload", post(reload))
        .with_state(avatars)
}

#[derive(Clone)]
struct Avatars {
    pond: Millpond,
    folder: PathBuf,
    worker: Worker,
}

impl Avatars {
    async fn store(&self, email: String, plugin: String, picture: Bytes) -> Result<StatusCode, ApiError> {
        if self.worker.plugin(&plugin).is_none() {
            return Err(ApiError::refused(StatusCode::NOT_FOUND, format!("there is no plugin {plugin:?}")));
        }
        let is_user = self
            .pond
            .transaction(move |tx| {
                if tx.open_table(USERS)?.get(&*email)?.is_none() {
                    return Ok(false);
                }
                let job = NewJob::raw(plugin.clone(), picture.clone()).max_attempts(ATTEMPTS);
                let job = tx.enqueue(QUEUE, job)?;
                tx.open_table(AVATARS)?.insert(&*email, job.id.get())?;
                Ok(true)
            })
            .await?;
        if is_user {
            Ok(StatusCode::ACCEPTED)
        } else {
            Err(ApiError::refused(StatusCode::NOT_FOUND, "this address has not signed up"))
        }
    }
}

/// The kinds of jobs: one for each plugin in the folder, and thumbnails in any case.
fn kinds(folder: &FilePath) -> std::io::Result<Vec<String>> {
    let mut kinds = vec![THUMBNAIL.to_owned()];
    if folder.is_dir() {
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let kind = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|ending| ending == "wasm") && kind != THUMBNAIL {
                kinds.push(kind);
            }
        }
    }
    Ok(kinds)
}

fn wasm(folder: &FilePath, kind: &str) -> PathBuf {
    let file = folder.join(kind).with_extension("wasm");
    if kind == THUMBNAIL && !file.exists() { THUMBNAIL_WASM.into() } else { file }
}

/// The memory of an attempt at a thumbnail: a photo of 24 megapixels needs 75 MiB in addition to its own bytes.
fn thumbnail_limits() -> PluginLimits {
    PluginLimits::default().time(Duration::from_secs(5)).memory_bytes(128 << 20)
}

/// The memory of an attempt of any other plugin.
fn strangers_limits() -> PluginLimits {
    PluginLimits::default().time(Duration::from_secs(2)).memory_bytes(16 << 20)
}

async fn upload(
    State(avatars): State<Avatars>,
    Path(email): Path<String>,
    picture: Bytes,
) -> Result<StatusCode, ApiError> {
    avatars.store(email, THUMBNAIL.to_owned(), picture).await
}

async fn upload_through(
    State(avatars): State<Avatars>,
    Path((email, plugin)): Path<(String, String)>,
    picture: Bytes,
) -> Result<StatusCode, ApiError> {
    avatars.store(email, plugin, picture).await
}

async fn show(State(avatars): State<Avatars>, Path(email): Path<String>) -> Result<Response, ApiError> {
    let Some(job) = job_of(&avatars.pond, &email)? else {
        return Err(ApiError::refused(StatusCode::NOT_FOUND, "there is no picture of this user"));
    };
    let job = avatars.pond.job(job)?;
    match (job.state, job.result) {
        // A plugin's output is as untrusted as its input.
        (JobState::Completed, Some(thumbnail)) => {
            Ok(([(CONTENT_TYPE, "image/jpeg"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], thumbnail).into_response())
        }
        (state, _) if state.is_final() => {
            let reason = job.reason.unwrap_or_else(|| "nothing was made of it".to_owned());
            Err(ApiError::refused(StatusCode::UNPROCESSABLE_ENTITY, reason))
        }
        _ => Ok((StatusCode::ACCEPTED, "it is not ready yet\n").into_response()),
    }
}

#[derive(Serialize)]
struct Reloaded {
    /// The SHA-256 of its file.
    version: String,
}

/// If a version is refused, the previous one stays in use. Running attempts finish with the version that they started
/// with.
async fn reload(State(avatars): State<Avatars>, Path(plugin): Path<String>) -> Result<Response, ApiError> {
    let Some(running) = avatars.worker.plugin(&plugin) else {
        return Err(ApiError::refused(StatusCode::NOT_FOUND, format!("there is no plugin {plugin:?}")));
    };
    let file = wasm(&avatars.folder, &plugin);
    // This compiles the plugin, which can take seconds.
    match tokio::task::spawn_blocking(move || running.reload_file(file)).await {
        Ok(Ok(version)) => Ok(Json(Reloaded { version: version.to_string() }).into_response()),
        Ok(Err(refused @ Error::Plugin { .. })) => {
            Err(ApiError::refused(StatusCode::UNPROCESSABLE_ENTITY, refused.to_string()))
        }
        Ok(Err(error)) => Err(error.into()),
        Err(panic) => Err(ApiError::refused(StatusCode::INTERNAL_SERVER_ERROR, panic.to_string())),
    }
}
