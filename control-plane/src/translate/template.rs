//! What routes of HTTP and gRPC rules have in common, whatever their conditions.

use std::time::Duration;

use weft_config::gateway_api::http_route::HeaderModifier;
use weft_config::gateway_api::{ExtensionRef, Object};
use weft_xds_proto::pb::envoy::config::route::v3::route_action::MaxStreamDuration;
use weft_xds_proto::pb::envoy::config::route::v3::{Route, RouteAction, RouteMatch};

use super::inputs::UnitInputs;
use super::policies::RoutePolicy;
use super::{filters, rules};
use crate::snapshot::proto::duration;

/// A route without an action: name, conditions, header edits of request and response, and filter configuration.
pub(crate) fn build<'a>(
    inputs: &UnitInputs,
    object: &Object,
    policy: &RoutePolicy<'_>,
    name: String,
    matches: RouteMatch,
    (request, response): &(HeaderModifier, HeaderModifier),
    extensions: impl Iterator<Item = &'a ExtensionRef>,
) -> Route {
    let (request_headers_to_add, request_headers_to_remove) = rules::header_edits(request);
    let (response_headers_to_add, response_headers_to_remove) = rules::header_edits(response);
    let faults = extensions.map(|it| it.name.as_str());
    Route {
        name,
        r#match: Some(matches),
        typed_per_filter_config: filters::per_route(inputs, object, policy, faults),
        request_headers_to_add,
        request_headers_to_remove,
        response_headers_to_add,
        response_headers_to_remove,
        ..Route::default()
    }
}

/// What a policy alone says of forwarding. xDS takes 15 s where no time-out is said, Gateway API none.
///
/// The deadline that the caller of a gRPC method gave is kept, whatever it is (gRFC A31): it is the caller's own word, nobody
/// waits for the answer after it, and an endpoint that never answers is found out by it.
pub(crate) fn action(policy: &RoutePolicy<'_>) -> RouteAction {
    let timeout = policy.request_timeout().map(|span| span.duration());
    RouteAction {
        timeout: Some(duration(timeout.unwrap_or_default())),
        idle_timeout: policy.idle_timeout().map(|span| duration(span.duration())),
        retry_policy: policy.retry(),
        max_stream_duration: Some(MaxStreamDuration {
            grpc_timeout_header_max: Some(duration(Duration::ZERO)),
            ..MaxStreamDuration::default()
        }),
        ..RouteAction::default()
    }
}
