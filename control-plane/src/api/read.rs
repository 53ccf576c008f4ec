//! Everything that can be asked.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;

use super::Refused;
use super::model::{
    EndpointBody, LeftOutBody, ObjectDescription, ObjectName, ProxyBody, RevisionBody, ServiceBody,
    ServiceDescription,
};
use super::write::{describe, object_key, refuse};
use crate::app::Mesh;

/// Bound on asking a proxy for a page.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a proxy's page.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// `GET /v1/objects`.
pub(super) async fn objects(State(mesh): State<Arc<Mesh>>) -> Json<Vec<Value>> {
    Json(
        mesh.resources()
            .iter()
            .map(|object| object.to_json())
            .collect(),
    )
}

/// `GET /v1/objects/KIND/NAMESPACE/NAME`.
pub(super) async fn object(
    State(mesh): State<Arc<Mesh>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, Refused> {
    let key = object_key(&ObjectName {
        kind,
        namespace,
        name,
    })?;
    let object = mesh.resources().get(&key).map(|object| object.to_json());
    object
        .map(Json)
        .ok_or_else(|| Refused::not_found(format!("there is no {key}")))
}

/// `GET /v1/objects/KIND/NAMESPACE/NAME/description`.
pub(super) async fn object_description(
    State(mesh): State<Arc<Mesh>>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Json<ObjectDescription>, Refused> {
    let key = object_key(&ObjectName {
        kind,
        namespace,
        name,
    })?;
    let page = mesh.describe_object(&key);
    page.map(Json)
        .ok_or_else(|| Refused::not_found(format!("there is no {key}")))
}

/// `GET /v1/services`.
pub(super) async fn services(State(mesh): State<Arc<Mesh>>) -> Json<Vec<ServiceBody>> {
    Json(mesh.services())
}

/// `GET /v1/services/NAMESPACE/NAME`.
pub(super) async fn service(
    State(mesh): State<Arc<Mesh>>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<ServiceDescription>, Refused> {
    let page = mesh.describe_service(&namespace, &name);
    page.map(Json).ok_or_else(|| {
        Refused::not_found(format!(
            "there is no service {name} in namespace {namespace}"
        ))
    })
}

/// `GET /v1/endpoints`.
pub(super) async fn endpoints(State(mesh): State<Arc<Mesh>>) -> Json<Vec<EndpointBody>> {
    Json(mesh.endpoints())
}

/// `GET /v1/endpoints/left-out`.
pub(super) async fn left_out(State(mesh): State<Arc<Mesh>>) -> Json<Vec<LeftOutBody>> {
    Json(mesh.left_out())
}

/// `GET /v1/findings`: faults of the watched directory, and what lint says of the state in force.
pub(super) async fn findings(State(mesh): State<Arc<Mesh>>) -> Json<Vec<String>> {
    Json(mesh.findings())
}

/// `GET /v1/proxies`.
pub(super) async fn proxies(State(mesh): State<Arc<Mesh>>) -> Json<Vec<ProxyBody>> {
    Json(mesh.proxies())
}

/// `?limit=`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    limit: Option<usize>,
}

/// `GET /v1/revisions`.
pub(super) async fn revisions(
    State(mesh): State<Arc<Mesh>>,
    Query(Limit { limit }): Query<Limit>,
) -> Result<Json<Vec<RevisionBody>>, Refused> {
    let revisions = mesh
        .store()
        .history(limit.unwrap_or(20).min(crate::store::REVISIONS_MAX))
        .map_err(refuse)?;
    let bodies = revisions.into_iter().map(|revision| RevisionBody {
        revision: revision.number,
        time: revision.time.to_string(),
        changes: revision.changes.iter().map(describe).collect(),
        author: revision.author,
        principal: revision.principal,
        message: revision.message,
    });
    Ok(Json(bodies.collect()))
}

/// `GET /v1/proxies/NAME/admin/PAGE`: a page of the proxy's admin server, asked from here.
pub(super) async fn proxy_page(
    State(mesh): State<Arc<Mesh>>,
    Path((name, page)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let admin = mesh.proxy_admin(&name).map_err(Refused::not_found)?;
    let path = match query {
        Some(query) => format!("/{page}?{query}"),
        None => format!("/{page}"),
    };
    let answer = tokio::time::timeout(PROXY_TIMEOUT, fetch(admin, &path)).await;
    let answer = answer
        .map_err(|_| format!("no answer within {PROXY_TIMEOUT:?}"))
        .flatten();
    answer.map_err(|why| {
        Refused::new(
            StatusCode::BAD_GATEWAY,
            format!("asking {name} at {admin}: {why}"),
        )
    })
}

async fn fetch(admin: std::net::SocketAddr, path: &str) -> Result<Response, String> {
    let stream = tokio::net::TcpStream::connect(admin)
        .await
        .map_err(|e| e.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", admin.to_string())
        .body(Empty::<Bytes>::new());
    let response = sender
        .send_request(request.map_err(|e| e.to_string())?)
        .await
        .map_err(|e| e.to_string())?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, PAGE_BYTES_MAX)
        .collect()
        .await
        .map_err(|e| e.to_string())?
        .to_bytes();
    driver.abort();
    let mut answer = (head.status, Body::from(body)).into_response();
    if let Some(kind) = head.headers.get("content-type") {
        answer.headers_mut().insert("content-type", kind.clone());
    }
    Ok(answer)
}
