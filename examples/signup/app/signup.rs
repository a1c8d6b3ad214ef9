//! `POST /signup`: the user and everything that follows from a signup, in one commit.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use lettre::Address;
use millpond::Millpond;
use redb::ReadableTable;
use serde::Deserialize;

use super::error::ApiError;
use super::jobs::{AnalyticsEvent, CrmContact, SlackNote, Welcome, queue};
use super::tables::USERS;

#[derive(Deserialize)]
pub struct Signup {
    email: String,
    name: String,
}

pub async fn signup(
    State(pond): State<Millpond>,
    Json(Signup { email, name }): Json<Signup>,
) -> Result<StatusCode, ApiError> {
    if email.parse::<Address>().is_err() {
        return Err(ApiError::refused(StatusCode::UNPROCESSABLE_ENTITY, format!("{email:?} is not a mail address")));
    }
    let is_new = pond
        .transaction(move |tx| {
            let mut users = tx.open_table(USERS)?;
            if users.get(&*email)?.is_some() {
                return Ok(false);
            }
            users.insert(&*email, &*name)?;
            tx.enqueue(queue::MAIL, Welcome { email: email.clone(), name: name.clone() })?;
            tx.enqueue(queue::SLACK, SlackNote { text: format!("New user: {email}") })?;
            tx.enqueue(queue::CRM, CrmContact { email: email.clone(), name: name.clone() })?;
            tx.enqueue(queue::ANALYTICS, AnalyticsEvent { event: "signup".into(), email: email.clone() })?;
            Ok(true)
        })
        .await?;
    if is_new {
        Ok(StatusCode::CREATED)
    } else {
        Err(ApiError::refused(StatusCode::CONFLICT, "this address has signed up before"))
    }
}
