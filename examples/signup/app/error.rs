//! The HTTP response to a call that failed.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub fn refused(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// An error that is temporary is a 503, so that clients try again.
impl From<millpond::Error> for ApiError {
    fn from(error: millpond::Error) -> Self {
        let status =
            if error.is_transient() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::INTERNAL_SERVER_ERROR };
        Self { status, message: format!("{:#}", anyhow::Error::new(error)) }
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: format!("{error:#}") }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, self.message + "\n").into_response()
    }
}
