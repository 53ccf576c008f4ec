//! Delta ADS clients that ask for fixed names and answer whatever they are told: proxies as the control plane sees them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;
use weft_xds_proto::pb::envoy::config::core::v3::Node;
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use weft_xds_proto::pb::google::rpc::Status;

/// Bound on the first answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A connected client. Its stream ends with this guard.
pub struct Subscriber {
    refusal: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Connects as `node`, subscribes to `names` (type URL and name), and returns when each has been told and acknowledged.
    ///
    /// # Errors
    /// If the server cannot be reached, ends the stream, or has not told all within 20 s.
    pub async fn start(
        xds: SocketAddr,
        node: &str,
        names: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{xds}"))?
            .connect()
            .await?;
        let (requests, receiver) = mpsc::channel(16);
        let types: BTreeSet<&str> = names.iter().map(|(type_url, _)| *type_url).collect();
        for type_url in types {
            let wanted = names.iter().filter(|(kind, _)| *kind == type_url);
            let request = DeltaDiscoveryRequest {
                node: Some(Node {
                    id: node.to_owned(),
                    ..Node::default()
                }),
                type_url: type_url.to_owned(),
                resource_names_subscribe: wanted.map(|(_, name)| (*name).to_owned()).collect(),
                ..DeltaDiscoveryRequest::default()
            };
            requests.send(request).await?;
        }
        let mut responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let first = told_all(&mut responses, &requests, names);
        tokio::time::timeout(START_TIMEOUT, first)
            .await
            .with_context(|| format!("{node} was not told all within {START_TIMEOUT:?}"))??;
        let refusal = Arc::new(Mutex::new(None));
        let task = tokio::spawn(follow(responses, requests, refusal.clone()));
        Ok(Self { refusal, task })
    }

    /// From now on refuses every response, for this reason; `None`: accepts again.
    pub fn refuse(&self, reason: Option<&str>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(str::to_owned);
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Acknowledges responses until each of `names` has been in one.
async fn told_all(
    responses: &mut Streaming<DeltaDiscoveryResponse>,
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    names: &[(&str, &str)],
) -> anyhow::Result<()> {
    let mut waiting: BTreeSet<(&str, &str)> = names.iter().copied().collect();
    while !waiting.is_empty() {
        let Some(response) = responses.message().await? else {
            bail!("the stream ended while {waiting:?} were waited for");
        };
        waiting.retain(|(type_url, name)| {
            *type_url != response.type_url || !response.resources.iter().any(|r| r.name == *name)
        });
        requests.send(answer(response, None)).await?;
    }
    Ok(())
}

async fn follow(
    mut responses: Streaming<DeltaDiscoveryResponse>,
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    refusal: Arc<Mutex<Option<String>>>,
) {
    while let Ok(Some(response)) = responses.message().await {
        let reason = refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if requests.send(answer(response, reason)).await.is_err() {
            return;
        }
    }
}

fn answer(response: DeltaDiscoveryResponse, refusal: Option<String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url,
        response_nonce: response.nonce,
        error_detail: refusal.map(|message| Status {
            code: 3, // INVALID_ARGUMENT
            message,
            details: Vec::new(),
        }),
        ..DeltaDiscoveryRequest::default()
    }
}
