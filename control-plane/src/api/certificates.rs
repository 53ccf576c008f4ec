//! Certificates that were issued.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::Refused;
use super::model::CertificateBody;
use crate::app::Mesh;
use crate::identity::{ISSUED_MAX, IssuedRecord};

/// How many are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// `GET /v1/certificates`.
pub(super) async fn list(
    State(mesh): State<Arc<Mesh>>,
    query: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<Vec<CertificateBody>>, Refused> {
    let Query(Limit { limit }) =
        query.map_err(|error| Refused::new(error.status(), error.body_text()))?;
    let newest = mesh.issuance().ledger().newest(limit.unwrap_or(ISSUED_MAX));
    Ok(Json(newest.into_iter().map(describe).collect()))
}

fn describe(record: IssuedRecord) -> CertificateBody {
    CertificateBody {
        serial: record.serial,
        identity: record.identity,
        issued: record.issued.to_string(),
        expires: record.expires.to_string(),
        proof: record.proof,
        peer: record.peer,
    }
}
