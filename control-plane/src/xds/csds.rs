//! CSDS: what each connected client was told and what it made of it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use weft_xds_proto::pb::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use weft_xds_proto::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use weft_xds_proto::pb::envoy::service::status::v3::client_status_discovery_service_server::ClientStatusDiscoveryService;
use weft_xds_proto::pb::envoy::service::status::v3::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use weft_xds_proto::pb::envoy::r#type::matcher::v3::{
    NodeMatcher, StringMatcher, string_matcher::MatchPattern,
};
use weft_xds_proto::pb::google::protobuf::{Any, Timestamp};

use super::server::Core;
use super::session::{EntryReport, EntryState};
use super::subscription::Told;
use crate::accept::Peer;
use crate::identity::Shown;
use crate::status::StreamStatus;

/// The service.
#[derive(Debug)]
pub(crate) struct Csds {
    core: Arc<Core>,
}

impl Csds {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl ClientStatusDiscoveryService for Csds {
    type StreamClientStatusStream =
        Pin<Box<dyn Stream<Item = Result<ClientStatusResponse, Status>> + Send>>;

    async fn stream_client_status(
        &self,
        request: Request<Streaming<ClientStatusRequest>>,
    ) -> Result<Response<Self::StreamClientStatusStream>, Status> {
        check_plain(&request)?;
        let core = Arc::clone(&self.core);
        let answers = request.into_inner().then(move |request| {
            let core = Arc::clone(&core);
            async move { answer(&core, request?).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn fetch_client_status(
        &self,
        request: Request<ClientStatusRequest>,
    ) -> Result<Response<ClientStatusResponse>, Status> {
        check_plain(&request)?;
        answer(&self.core, request.into_inner())
            .await
            .map(Response::new)
    }
}

/// It tells of all proxies: that is for whoever is on this machine, and not for any workload with a certificate.
fn check_plain<T>(request: &Request<T>) -> Result<(), Status> {
    let caller = request.extensions().get::<Peer>().map(Peer::caller);
    match caller.map(|caller| &caller.shown) {
        None | Some(Shown::Plain) => Ok(()),
        Some(Shown::Nothing | Shown::Certificate(_)) => Err(Status::permission_denied(
            "CSDS is served on the port without TLS alone",
        )),
    }
}

async fn answer(core: &Core, request: ClientStatusRequest) -> Result<ClientStatusResponse, Status> {
    let matchers = request
        .node_matchers
        .iter()
        .map(NodeIdMatch::parse)
        .collect::<Result<Vec<_>, _>>()?;
    let mut response = ClientStatusResponse::default();
    for stream in core.board.streams() {
        if !matchers.is_empty() && !matchers.iter().any(|m| m.holds(&stream.node.id)) {
            continue;
        }
        let Some(entries) = inspect(&stream).await else {
            continue; // It left, or is too busy to say.
        };
        let configs = entries
            .iter()
            .map(|entry| config(entry, request.exclude_resource_contents));
        response.config.push(ClientConfig {
            node: Some((*stream.node.proto).clone()),
            generic_xds_configs: configs.collect(),
            client_scope: stream.service.to_owned(),
            ..ClientConfig::default()
        });
    }
    Ok(response)
}

/// Everything that a stream was told; `None` where it does not answer in time.
async fn inspect(stream: &StreamStatus) -> Option<Vec<EntryReport>> {
    let (answer, answered) = oneshot::channel();
    stream.inspect.try_send(answer).ok()?;
    let answered = tokio::time::timeout(INSPECT_TIMEOUT, answered).await;
    answered.ok()?.ok()
}

fn config(entry: &EntryReport, without_contents: bool) -> GenericXdsConfig {
    let (version, content) = match &entry.told {
        Told::Resource(resource) => (
            resource.version.to_string(),
            (!without_contents).then(|| Any {
                type_url: entry.kind.type_url().to_owned(),
                value: resource.value().to_vec(),
            }),
        ),
        Told::Earlier(version) => (version.to_string(), None),
        Told::Nothing | Told::Absent => (String::new(), None),
    };
    let (status, client) = match entry.state {
        EntryState::NotSent => (ConfigStatus::NotSent, ClientResourceStatus::Requested),
        EntryState::Unanswered => (ConfigStatus::Stale, ClientResourceStatus::Requested),
        EntryState::Accepted => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        EntryState::Refused => (ConfigStatus::Error, ClientResourceStatus::Nacked),
        EntryState::Absent => (ConfigStatus::Synced, ClientResourceStatus::DoesNotExist),
    };
    let nack = entry
        .nack
        .as_ref()
        .filter(|_| entry.state == EntryState::Refused);
    GenericXdsConfig {
        type_url: entry.kind.type_url().to_owned(),
        name: entry.name.to_string(),
        version_info: version.clone(),
        xds_config: content,
        last_updated: entry.sent_at.map(timestamp),
        config_status: status.into(),
        client_status: client.into(),
        error_state: nack.map(|nack| UpdateFailureState {
            details: nack.reason.to_string(),
            last_update_attempt: Some(timestamp(nack.mark.at)),
            version_info: version,
            ..UpdateFailureState::default()
        }),
        is_static_resource: false,
    }
}

/// Which nodes are asked for, by their id; matching by metadata is refused.
enum NodeIdMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
}

impl NodeIdMatch {
    fn parse(matcher: &NodeMatcher) -> Result<Self, Status> {
        if !matcher.node_metadatas.is_empty() {
            return Err(Status::invalid_argument(
                "node_matchers.node_metadatas is not supported, match by node_id",
            ));
        }
        let pattern = matcher
            .node_id
            .as_ref()
            .and_then(|id: &StringMatcher| id.match_pattern.clone().filter(|_| !id.ignore_case));
        match pattern {
            Some(MatchPattern::Exact(text)) => Ok(Self::Exact(text)),
            Some(MatchPattern::Prefix(text)) => Ok(Self::Prefix(text)),
            Some(MatchPattern::Suffix(text)) => Ok(Self::Suffix(text)),
            Some(MatchPattern::Contains(text)) => Ok(Self::Contains(text)),
            Some(_) | None => Err(Status::invalid_argument(
                "node_matchers.node_id must be exact, prefix, suffix or contains, with case",
            )),
        }
    }

    fn holds(&self, id: &str) -> bool {
        match self {
            Self::Exact(text) => id == text,
            Self::Prefix(text) => id.starts_with(text),
            Self::Suffix(text) => id.ends_with(text),
            Self::Contains(text) => id.contains(text),
        }
    }
}

fn timestamp(at: jiff::Timestamp) -> Timestamp {
    Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

const INSPECT_TIMEOUT: Duration = Duration::from_secs(1);
