//! The description of the API for programs (OpenAPI 3.1).

use axum::Json;
use serde_json::{Value, json};
use utoipa::PartialSchema;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApiBuilder};

use super::model;
use crate::authz::{Caller, DecidedBy, Question, Verdict};

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(build())
}

/// Method, path, summary, schema of the request body, schema of the answer, whether the answer is a list of it.
type Operation = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
    bool,
);

const OPERATIONS: [Operation; 21] = [
    (
        "post",
        "/v1/apply",
        "Change the desired state; answers one ApplyEvent a line.",
        Some("ApplyRequest"),
        "ApplyEvent",
        false,
    ),
    (
        "post",
        "/v1/rollback",
        "Back to an earlier revision; answers one ApplyEvent a line.",
        Some("RollbackRequest"),
        "ApplyEvent",
        false,
    ),
    (
        "get",
        "/v1/objects",
        "All objects in force.",
        None,
        "Object",
        true,
    ),
    (
        "get",
        "/v1/objects/{kind}/{namespace}/{name}",
        "One object.",
        None,
        "Object",
        false,
    ),
    (
        "get",
        "/v1/objects/{kind}/{namespace}/{name}/description",
        "One object, what it is attached to, and what is found about it.",
        None,
        "ObjectDescription",
        false,
    ),
    (
        "get",
        "/v1/services",
        "Services of the mesh.",
        None,
        "ServiceBody",
        true,
    ),
    (
        "get",
        "/v1/services/{namespace}/{name}",
        "Everything about one service.",
        None,
        "ServiceDescription",
        false,
    ),
    (
        "get",
        "/v1/endpoints",
        "Endpoints of all services.",
        None,
        "EndpointBody",
        true,
    ),
    (
        "get",
        "/v1/endpoints/left-out",
        "Workloads that say they are of a service and are none of its endpoints, and why.",
        None,
        "LeftOutBody",
        true,
    ),
    (
        "get",
        "/v1/revisions",
        "Revisions, newest first; ?limit= says how many.",
        None,
        "RevisionBody",
        true,
    ),
    (
        "get",
        "/v1/findings",
        "Faults and warnings about the state in force.",
        None,
        "Finding",
        true,
    ),
    (
        "get",
        "/v1/proxies",
        "Connected proxies.",
        None,
        "ProxyBody",
        true,
    ),
    (
        "get",
        "/v1/proxies/{name}/admin/{page}",
        "A page of a proxy's admin server.",
        None,
        "Page",
        false,
    ),
    (
        "get",
        "/v1/certificates",
        "The newest certificates that were issued, newest first; ?limit= says how many.",
        None,
        "CertificateBody",
        true,
    ),
    (
        "get",
        "/v1/tokens",
        "Join tokens, without their secrets.",
        None,
        "TokenBody",
        true,
    ),
    (
        "post",
        "/v1/tokens",
        "Make a join token; the answer is the only place that ever shows it.",
        Some("TokenRequest"),
        "TokenCreated",
        false,
    ),
    (
        "post",
        "/v1/tokens/{id}/revoke",
        "Take a join token back.",
        None,
        "TokenBody",
        false,
    ),
    (
        "get",
        "/v1/api-tokens",
        "Tokens of this API, without their secrets.",
        None,
        "ApiTokenBody",
        true,
    ),
    (
        "post",
        "/v1/api-tokens",
        "Make a token of this API; the answer is the only place that ever shows it.",
        Some("ApiTokenRequest"),
        "ApiTokenCreated",
        false,
    ),
    (
        "post",
        "/v1/api-tokens/{id}/revoke",
        "Take a token of this API back.",
        None,
        "ApiTokenBody",
        false,
    ),
    (
        "post",
        "/v1/authz/check",
        "Whether a call would be let in, and which rule says so.",
        Some("Question"),
        "Verdict",
        false,
    ),
];

fn build() -> Value {
    macro_rules! schemas {
        ($($name:ident),*) => {
            ComponentsBuilder::new()$(.schema(stringify!($name), model::$name::schema()))*.build()
        };
    }
    let components = schemas!(
        Action,
        ApiTokenBody,
        ApiTokenCreated,
        ApiTokenRequest,
        ApplyEvent,
        ApplyRequest,
        CertificateBody,
        Change,
        EndpointBody,
        ErrorBody,
        LeftOutBody,
        ObjectName,
        PortAccessBody,
        PortBody,
        ProxyBody,
        Refusal,
        RevisionBody,
        RollbackRequest,
        ServiceBody,
        ServiceDescription,
        ObjectDescription,
        SourceFile,
        TokenBody,
        TokenCreated,
        TokenRequest
    );
    let components = ComponentsBuilder::from(components)
        .schema("Caller", Caller::schema())
        .schema("DecidedBy", DecidedBy::schema())
        .schema("Question", Question::schema())
        .schema("Verdict", Verdict::schema())
        .build();
    let info = InfoBuilder::new()
        .title("Weft control plane")
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    let document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let mut paths = serde_json::Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.1).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.0.to_owned(), describe(operation));
        }
    }
    if let Some(fields) = document.as_object_mut() {
        fields.insert("paths".to_owned(), Value::Object(paths));
    }
    document
}

fn describe((_, path, summary, request, answer, list): Operation) -> Value {
    let reference = |name: &str| match name {
        "Object" => json!({"type": "object"}),
        "Finding" | "Page" => json!({"type": "string"}),
        name => json!({"$ref": format!("#/components/schemas/{name}")}),
    };
    let schema = if list {
        json!({"type": "array", "items": reference(answer)})
    } else {
        reference(answer)
    };
    let kind = if answer == "ApplyEvent" {
        "application/x-ndjson"
    } else {
        "application/json"
    };
    let parameters: Vec<Value> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let refused = json!({"description": "Refused.", "content": {"application/json": {"schema": reference("ErrorBody")}}});
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": {"description": "Done.", "content": {kind: {"schema": schema}}}, "default": refused},
    });
    if let (Some(request), Some(fields)) = (request, operation.as_object_mut()) {
        let body = json!({"required": true, "content": {"application/json": {"schema": reference(request)}}});
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let document = build();
        let text = document.to_string();
        let references = text
            .split("#/components/schemas/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        let mut count = 0;
        for name in references {
            assert!(
                document
                    .pointer(&format!("/components/schemas/{name}"))
                    .is_some(),
                "{name} is missing"
            );
            count += 1;
        }
        assert!(count > OPERATIONS.len());
    }
}
