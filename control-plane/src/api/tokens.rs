//! Join tokens: made, listed and taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::Refused;
use super::guard::Principal;
use super::model::{TokenBody, TokenCreated, TokenRequest};
use super::write::{refuse, refuse_body};
use crate::app::Mesh;
use crate::identity::{AUDIT, JoinToken, TokenRefused, TokensError, check_account};

/// `GET /v1/tokens`.
pub(super) async fn list(State(mesh): State<Arc<Mesh>>) -> Json<Vec<TokenBody>> {
    let now = Timestamp::now();
    let tokens = mesh.tokens().list().into_iter();
    Json(tokens.map(|token| describe(token, now)).collect())
}

/// `POST /v1/tokens`.
pub(super) async fn create(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    request: Result<Json<TokenRequest>, JsonRejection>,
) -> Result<Json<TokenCreated>, Refused> {
    let Json(request) = request.map_err(refuse_body)?;
    let names = (request.namespace.as_str(), request.service_account.as_str());
    check_account(names.0, names.1).map_err(|why| {
        Refused::invalid(format!("namespace and service account {why}"), Vec::new())
    })?;
    let ttl = Duration::from_secs(request.ttl_seconds);
    let now = Timestamp::now();
    let (made, token) = mesh
        .tokens()
        .create(names, ttl, request.uses, now)
        .map_err(refused)?;
    let who = principal.name;
    let for_whom = format!("{}/{}", made.namespace, made.service_account);
    tracing::info!(target: AUDIT, who, id = made.id, for_whom, "join token made");
    Ok(Json(TokenCreated {
        description: describe(made, now),
        token,
    }))
}

/// `POST /v1/tokens/ID/revoke`.
pub(super) async fn revoke(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Json<TokenBody>, Refused> {
    let revoked = mesh.tokens().revoke(&id).map_err(refused)?;
    let who = principal.name;
    tracing::info!(target: AUDIT, who, id, "join token revoked");
    Ok(Json(describe(revoked, Timestamp::now())))
}

fn refused(error: TokensError) -> Refused {
    match error {
        TokensError::Store(error) => refuse(error),
        TokensError::NotFound { .. } => Refused::not_found(error.to_string()),
        TokensError::Refused(why) => Refused::invalid(why.to_string(), Vec::new()),
    }
}

fn describe(token: JoinToken, now: Timestamp) -> TokenBody {
    let state = match token.check(now) {
        Ok(()) => "usable",
        Err(TokenRefused::Expired) => "expired",
        Err(TokenRefused::UsedUp) => "used up",
        Err(TokenRefused::Revoked | TokenRefused::Unknown) => "revoked",
    };
    TokenBody {
        id: token.id,
        namespace: token.namespace,
        service_account: token.service_account,
        created: token.created.to_string(),
        expires: token.expires.to_string(),
        uses_left: token.uses_left,
        state: state.to_owned(),
    }
}
