//! Many clusters with endpoints of their own, and one listener that leads to the last of them.

use std::fmt::Write;
use std::net::SocketAddr;

use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;

use crate::ads::AdsServer;
use crate::bootstrap::message;

const LISTENER: &str = "{name: web, address: {socket_address: {address: 127.0.0.1, port_value: 0}}, filter_chains: [\
    {filters: [{name: hcm, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.\
    http_connection_manager.v3.HttpConnectionManager, stat_prefix: web, rds: {route_config_name: r, config_source: \
    {ads: {}}}, http_filters: [{name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.\
    http.router.v3.Router}}]}}]}]}";

/// Tells `count` clusters, `c0` onwards, with endpoints of round 0, and the listener `web` on `port` (0: any).
///
/// # Errors
/// None, unless a text here has a fault.
pub fn tell(
    ads: &AdsServer,
    count: usize,
    upstreams: &[SocketAddr; 2],
    port: u16,
) -> anyhow::Result<()> {
    let mut cluster: Cluster =
        message("{name: c, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}")?;
    let mut first = endpoints(upstreams, 0)?;
    for index in 0..count {
        cluster.name = name(index);
        first.cluster_name = name(index);
        ads.put(&cluster.name, &cluster);
        ads.put(&first.cluster_name, &first);
    }
    let last = name(count - 1);
    let routes = format!(
        "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: {last}}}}}\
         ]}}]}}"
    );
    ads.put("r", &message::<RouteConfiguration>(&routes)?);
    let listener = LISTENER.replace("port_value: 0", &format!("port_value: {port}"));
    ads.put("web", &message::<Listener>(&listener)?);
    Ok(())
}

/// The name of the cluster with this number.
pub fn name(index: usize) -> String {
    format!("c{index}")
}

/// Which of the two upstreams are endpoints in `round`: one, both, or both the other way round. From one round to the next,
/// their number changes.
pub fn members(round: usize) -> &'static [usize] {
    match round % 4 {
        0 => &[0],
        1 => &[0, 1],
        2 => &[1],
        _ => &[1, 0],
    }
}

/// The endpoints of `round`, of a cluster that is still to be named.
///
/// # Errors
/// None, unless the text here has a fault.
pub fn endpoints(
    upstreams: &[SocketAddr; 2],
    round: usize,
) -> anyhow::Result<ClusterLoadAssignment> {
    let mut list = String::new();
    let chosen = members(round)
        .iter()
        .filter_map(|index| upstreams.get(*index));
    for address in chosen {
        let (ip, port) = (address.ip(), address.port());
        let _ = write!(
            list,
            "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}, "
        );
    }
    message(&format!(
        "{{cluster_name: c, endpoints: [{{lb_endpoints: [{list}]}}]}}"
    ))
}
