//! What is told of clients.

use weft_xds_proto::pb::envoy::admin::v3::ClientResourceStatus;
use weft_xds_proto::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use weft_xds_proto::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::status::v3::{ClientConfig, ClientStatusRequest};
use weft_xds_proto::pb::envoy::r#type::matcher::v3::{
    NodeMatcher, StringMatcher, string_matcher::MatchPattern,
};
use weft_xds_proto::pb::google::rpc::Status as RpcStatus;

use super::*;

async fn ask(
    plane: &Plane,
    request: ClientStatusRequest,
) -> Result<Vec<ClientConfig>, tonic::Status> {
    let mut client = ClientStatusDiscoveryServiceClient::new(plane.channel.clone());
    let answer = client.fetch_client_status(request).await?;
    Ok(answer.into_inner().config)
}

fn node_called(pattern: MatchPattern) -> ClientStatusRequest {
    ClientStatusRequest {
        node_matchers: vec![NodeMatcher {
            node_id: Some(StringMatcher {
                match_pattern: Some(pattern),
                ..StringMatcher::default()
            }),
            ..NodeMatcher::default()
        }],
        ..ClientStatusRequest::default()
    }
}

/// Asks until the only resource of `node` stands as wanted.
async fn resource_of(plane: &Plane, node: &str, wanted: ClientResourceStatus) -> GenericXdsConfig {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let request = node_called(MatchPattern::Exact(node.to_owned()));
        let configs = ask(plane, request).await.expect("answered");
        let resources = configs.into_iter().flat_map(|it| it.generic_xds_configs);
        let found: Vec<_> = resources.collect();
        match found.as_slice() {
            [one] if one.client_status() == wanted => return one.clone(),
            other => assert!(Instant::now() < end, "{other:?}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_resource_is_requested_then_acked_then_nacked_with_the_reason() {
    let plane = plane().await;
    let mut client = delta_client(plane.channel.clone(), node("n"), ResourceType::Cluster, A).await;
    let first = client.next().await;
    let sent = resource_of(&plane, "n", ClientResourceStatus::Requested).await;
    assert_eq!(
        (sent.name.as_str(), sent.type_url.as_str()),
        (A, ResourceType::Cluster.type_url())
    );
    assert!(sent.xds_config.is_some(), "with its content");
    client.ack(&first).await;
    let acked = resource_of(&plane, "n", ClientResourceStatus::Acked).await;
    assert_eq!(acked.version_info, first.resources[0].version);

    plane.snapshots.publish(snapshot(2, &["a"], "2"));
    let second = client.next().await;
    let nack = DeltaDiscoveryRequest {
        type_url: second.type_url.clone(),
        response_nonce: second.nonce.clone(),
        error_detail: Some(RpcStatus {
            message: "no such balancer".to_owned(),
            ..RpcStatus::default()
        }),
        ..DeltaDiscoveryRequest::default()
    };
    client.requests.send(nack).await.expect("open");
    let nacked = resource_of(&plane, "n", ClientResourceStatus::Nacked).await;
    let why = nacked.error_state.expect("an error");
    assert_eq!(why.details, "no such balancer");
}

#[tokio::test]
async fn what_does_not_exist_is_said_not_to() {
    let plane = plane().await;
    let mut client = delta_client(
        plane.channel.clone(),
        node("n"),
        ResourceType::Listener,
        "nobody:80",
    )
    .await;
    let first = client.next().await;
    client.ack(&first).await;
    let config = resource_of(&plane, "n", ClientResourceStatus::DoesNotExist).await;
    assert_eq!(config.name, "nobody:80");
    assert!(config.xds_config.is_none());
}

#[tokio::test]
async fn clients_are_chosen_by_node_id_and_contents_can_be_left_out() {
    let plane = plane().await;
    let mut clients = Vec::new();
    for id in ["web-1", "web-2", "db-1"] {
        let channel = plane.channel.clone();
        let mut client = delta_client(channel, node(id), ResourceType::Cluster, A).await;
        client.next().await;
        clients.push(client);
    }
    let count = async |request| ask(&plane, request).await.expect("answered").len();
    assert_eq!(count(ClientStatusRequest::default()).await, 3);
    assert_eq!(
        count(node_called(MatchPattern::Prefix("web-".to_owned()))).await,
        2
    );
    assert_eq!(
        count(node_called(MatchPattern::Suffix("-1".to_owned()))).await,
        2
    );
    assert_eq!(
        count(node_called(MatchPattern::Contains("b-2".to_owned()))).await,
        1
    );
    let bare = ClientStatusRequest {
        exclude_resource_contents: true,
        ..ClientStatusRequest::default()
    };
    let configs = ask(&plane, bare).await.expect("answered");
    let mut resources = configs.iter().flat_map(|it| &it.generic_xds_configs);
    assert!(resources.all(|it| it.xds_config.is_none()));
}

#[tokio::test]
async fn what_cannot_be_matched_is_refused() {
    let plane = plane().await;
    let refused = ask(
        &plane,
        ClientStatusRequest {
            node_matchers: vec![NodeMatcher::default()],
            ..ClientStatusRequest::default()
        },
    );
    let status = refused.await.expect_err("no pattern");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}
