//! Tokens of the API itself: made, listed and taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::Refused;
use super::guard::Principal;
use super::model::{ApiTokenBody, ApiTokenCreated, ApiTokenRequest};
use super::write::{refuse, refuse_body};
use crate::app::Mesh;
use crate::identity::{AUDIT, ApiToken, ApiTokenRefused, ApiTokensError, Role};

/// `GET /v1/api-tokens`.
pub(super) async fn list(State(mesh): State<Arc<Mesh>>) -> Json<Vec<ApiTokenBody>> {
    let now = Timestamp::now();
    let tokens = mesh.api_tokens().list().into_iter();
    Json(tokens.map(|token| describe(token, now)).collect())
}

/// `POST /v1/api-tokens`.
pub(super) async fn create(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    request: Result<Json<ApiTokenRequest>, JsonRejection>,
) -> Result<Json<ApiTokenCreated>, Refused> {
    let Json(request) = request.map_err(refuse_body)?;
    let role: Role = request
        .role
        .parse()
        .map_err(|why| Refused::invalid(format!("role {why}"), Vec::new()))?;
    let ttl = Duration::from_secs(request.ttl_seconds);
    let now = Timestamp::now();
    let made = mesh.api_tokens().create(&request.name, role, ttl, now);
    let (made, token) = made.map_err(refused)?;
    let (who, name) = (principal.name, &made.name);
    tracing::info!(target: AUDIT, who, id = made.id, name, %role, "API token made");
    Ok(Json(ApiTokenCreated {
        description: describe(made, now),
        token,
    }))
}

/// `POST /v1/api-tokens/ID/revoke`.
pub(super) async fn revoke(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<ApiTokenBody>, Refused> {
    let revoked = mesh.api_tokens().revoke(&id).map_err(refused)?;
    let (who, name) = (principal.name, &revoked.name);
    tracing::info!(target: AUDIT, who, id, name, "API token revoked");
    Ok(Json(describe(revoked, Timestamp::now())))
}

fn refused(error: ApiTokensError) -> Refused {
    match error {
        ApiTokensError::Store(error) => refuse(error),
        ApiTokensError::NotFound { .. } => Refused::not_found(error.to_string()),
        error => Refused::invalid(error.to_string(), Vec::new()),
    }
}

fn describe(token: ApiToken, now: Timestamp) -> ApiTokenBody {
    let state = match token.check(now) {
        Ok(()) => "usable",
        Err(ApiTokenRefused::Expired) => "expired",
        Err(ApiTokenRefused::Revoked | ApiTokenRefused::Unknown) => "revoked",
    };
    ApiTokenBody {
        id: token.id,
        name: token.name,
        role: token.role.to_string(),
        created: token.created.to_string(),
        expires: token.expires.to_string(),
        state: state.to_owned(),
    }
}
