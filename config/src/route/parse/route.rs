//! Reading `Route`.

use weft_xds_proto::pb::envoy::config::route::v3 as pb;

use super::{Level, shared};
use crate::diag::{Diagnostics, FieldPath, Finding};
use crate::policy::HeaderEdits;
use crate::route::{FilterOverrides, Route, RouteAction, RouteId, RouteMatch};

impl Level<'_> {
    /// Reads a route; one that cannot be read answers 500 and says why.
    ///
    /// `None` where it has no `match` or no action at all: what it was meant for cannot even be guessed, and the
    /// table is refused.
    pub(super) fn route(
        &self,
        proto: &pb::Route,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Route> {
        let Some(condition) = &proto.r#match else {
            diag.fault(at.field("match"), "is missing");
            return None;
        };
        if proto.action.is_none() {
            diag.fault(at.clone(), "has no action");
            return None;
        }
        let mut found = Diagnostics::new();
        let mut route = self.read(proto, condition, at, &mut found);
        if found.has_faults() {
            let why = Finding::to_string(found.findings().iter().find(|it| it.is_fault())?);
            route.action = RouteAction::Broken(why.into());
        }
        diag.extend(found.into_warnings());
        Some(route)
    }

    fn read(
        &self,
        proto: &pb::Route,
        condition: &pb::RouteMatch,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Route {
        if !proto.route_specifiers.is_empty() {
            diag.fault(at.field("route_specifiers"), "is not supported yet");
        }
        let (add, remove) = (
            &proto.request_headers_to_add,
            &proto.request_headers_to_remove,
        );
        let request_headers = HeaderEdits::parse(add, remove, "request", at, diag);
        let request_headers = self.join(&request_headers, &self.request_headers);
        let (add, remove) = (
            &proto.response_headers_to_add,
            &proto.response_headers_to_remove,
        );
        let response_headers = HeaderEdits::parse(add, remove, "response", at, diag);
        let response_headers = self.join(&response_headers, &self.response_headers);
        let overrides = FilterOverrides::parse(&proto.typed_per_filter_config, at, diag);
        let matches = RouteMatch::parse(condition, &at.field("match"), diag);
        let action = self.action(proto, &request_headers, &response_headers, at, diag);
        Route {
            id: RouteId(0),
            name: shared(&proto.name),
            matches,
            action: action.unwrap_or_else(|| RouteAction::Broken(shared(""))),
            request_headers,
            response_headers,
            overrides: overrides.or(&self.overrides),
        }
    }
}
