//! Who may call whom.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;

use super::Refused;
use crate::app::Mesh;
use crate::authz::{Question, Verdict};

/// `POST /v1/authz/check`.
pub(super) async fn check(
    State(mesh): State<Arc<Mesh>>,
    question: Result<Json<Question>, JsonRejection>,
) -> Result<Json<Verdict>, Refused> {
    let Json(question) =
        question.map_err(|error| Refused::new(error.status(), error.body_text()))?;
    let verdict = mesh.may_call(&question);
    verdict
        .map(Json)
        .map_err(|error| Refused::invalid(error.to_string(), Vec::new()))
}
