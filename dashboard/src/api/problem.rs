//! What went wrong with a request.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request was not answered. The API sends it as `application/problem+json` (RFC 9457), with the status that belongs
/// to its [`Code`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[non_exhaustive]
pub struct Problem {
    /// What kind of problem it is.
    pub code: Code,
    /// A sentence for a person: what happened, and what can be done.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// Status 404: the job, queue, schedule or row does not exist.
    NotFound,
    /// Status 400: the request cannot be understood, or a value is not allowed.
    Invalid,
    /// Status 401: no token, or a wrong one.
    Unauthorized,
    /// Status 403: the dashboard is read-only, its owner does not permit the action, or the request comes from a foreign site.
    Forbidden,
    /// Status 409: what was asked for does not fit the state of the job, queue or schedule.
    Conflict,
    /// Status 413: the body of the request is too large.
    TooLarge,
    /// Status 501: this source does not have what was asked for.
    Unsupported,
    /// Status 503: the queue cannot write now, or shuts down. The same request can succeed later.
    Unavailable,
    /// Status 500: everything else.
    Internal,
}

impl Code {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::Internal => 500,
            Self::Unsupported => 501,
            Self::Unavailable => 503,
        }
    }
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// [`Code::NotFound`].
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// [`Code::Invalid`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
