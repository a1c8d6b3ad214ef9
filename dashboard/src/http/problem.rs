//! A problem as an answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::api::{Code, Problem};

impl Problem {
    /// Why a body was not read.
    pub(crate) fn of_rejection(status: StatusCode, text: String) -> Self {
        let is_large = status == StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(if is_large { Code::TooLarge } else { Code::Invalid }, text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
