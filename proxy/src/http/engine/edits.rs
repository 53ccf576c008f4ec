//! What a route does to heads on their way.

use weft_config::listener::{HttpConnectionManager, ServerHeader};
use weft_config::policy::{HeaderAction, HeaderEdits};
use weft_config::route::{Forward, HostRewrite, PathRewrite, Route};

use super::exchange::Exchange;
use crate::http::head::Head;
use crate::route::Routed;

impl Exchange {
    /// Edits the request's head as its route says. What depends on the endpoint comes with each attempt.
    pub(super) fn edit_request(
        &mut self,
        route: &Route,
        forward: &Forward,
        routed: &Routed,
        room: &mut Vec<u8>,
    ) {
        let head = &mut self.head;
        apply(head, &route.request_headers);
        if let Some(cluster) = routed.weighted() {
            apply(head, &cluster.request_headers);
        }
        if forward.path_rewrite != PathRewrite::Keep {
            room.clear();
            forward
                .path_rewrite
                .apply(head.path(), &route.matches.path, room);
            head.set_path(room);
        }
        match &forward.host_rewrite {
            HostRewrite::Literal(host) => head.set_authority(host.as_bytes()),
            // The field may be one that the edits above have put there.
            HostRewrite::Header(name) => {
                if let Some(host) = head.get_name(name.as_bytes()) {
                    room.clear();
                    room.extend_from_slice(host);
                    head.set_authority(room);
                }
            }
            HostRewrite::Keep | HostRewrite::EndpointHostname => {}
        }
        self.note_deadline();
    }
}

/// What the listener says of `Server` in answers that passed through.
pub(super) fn say_server(head: &mut Head, hcm: &HttpConnectionManager) {
    let name = hcm.server_name.as_bytes();
    match hcm.server_header {
        ServerHeader::Overwrite => head.set(b"server", name),
        ServerHeader::AppendIfAbsent if head.get_name(b"server").is_none() => {
            head.add(b"server", name)
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
}

/// Removals, then additions.
pub(super) fn apply(head: &mut Head, edits: &HeaderEdits) {
    for name in &edits.remove {
        head.remove_name(name.as_bytes());
    }
    for edit in &edits.add {
        let (name, value) = (edit.name.as_bytes(), edit.value.as_bytes());
        let there = head.get_name(name).is_some();
        match edit.action {
            HeaderAction::Append => head.add(name, value),
            HeaderAction::AddIfAbsent if !there => head.add(name, value),
            HeaderAction::Set => head.set(name, value),
            HeaderAction::Replace if there => head.set(name, value),
            HeaderAction::AddIfAbsent | HeaderAction::Replace => {}
        }
    }
}
