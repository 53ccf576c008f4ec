//! Bodies of requests, read whole within a time.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{BODY_BYTES_MAX, BODY_TIMEOUT, Refused};

/// Reads the body before anybody handles the request: whoever sends it slowly holds a connection meanwhile, and no more.
pub(super) async fn read(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    let refused = match timeout(BODY_TIMEOUT, whole).await {
        Ok(Ok(body)) => {
            let body = Body::from(body.to_bytes());
            return next.run(Request::from_parts(head, body)).await;
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Refused::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has at most {BODY_BYTES_MAX} bytes"),
        ),
        Ok(Err(error)) => Refused::new(
            StatusCode::BAD_REQUEST,
            format!("the body cannot be read: {error}"),
        ),
        Err(_) => Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body has not come within {BODY_TIMEOUT:?}"),
        ),
    };
    // What is left of the body is not waited for.
    let mut response = refused.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
