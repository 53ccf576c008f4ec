//! The separate services, over real connections.

use weft_xds_proto::pb::envoy::service::cluster::v3::cluster_discovery_service_client::ClusterDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::endpoint::v3::endpoint_discovery_service_client::EndpointDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::listener::v3::listener_discovery_service_client::ListenerDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::route::v3::route_discovery_service_client::RouteDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;

use super::*;

/// Asks one separate service for one resource, state of the world.
macro_rules! first_of {
    ($plane:expr, $client:ident, $stream:ident, $name:expr) => {{
        let (requests, receiver) = mpsc::channel(8);
        let first = DiscoveryRequest {
            node: Some(node("n")),
            resource_names: vec![$name.to_owned()],
            ..DiscoveryRequest::default()
        };
        requests.send(first).await.expect("open");
        let mut client = $client::new($plane.channel.clone());
        let stream = client.$stream(ReceiverStream::new(receiver)).await;
        let message = stream.expect("served").into_inner().message().await;
        message.expect("no status").expect("open")
    }};
}

#[tokio::test]
async fn each_type_has_a_service_of_its_own() {
    let plane = plane().await;
    let responses: [DiscoveryResponse; 5] = [
        first_of!(
            plane,
            SecretDiscoveryServiceClient,
            stream_secrets,
            "ROOTCA"
        ),
        first_of!(plane, ClusterDiscoveryServiceClient, stream_clusters, A),
        first_of!(plane, EndpointDiscoveryServiceClient, stream_endpoints, A),
        first_of!(plane, ListenerDiscoveryServiceClient, stream_listeners, "a"),
        first_of!(plane, RouteDiscoveryServiceClient, stream_routes, A),
    ];
    for (response, kind) in responses.iter().zip(ResourceType::ALL) {
        assert_eq!(response.type_url, kind.type_url());
        assert_eq!(response.resources.len(), 1, "{kind:?}");
    }
}
