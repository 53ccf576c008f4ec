//! Reading a bootstrap.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::bootstrap::v3 as pb;
use weft_xds_proto::pb::envoy::config::core::v3 as core;

use super::overload::Overload;
use super::runtime::Runtime;
use super::{Bootstrap, DynamicResources};
use crate::cluster::{Cluster, Discovery};
use crate::diag::{Diagnostics, FieldPath};
use crate::document::Document;
use crate::listener::Listener;
use crate::proto::socket_addr;
use crate::secret::Secret;
use crate::tls::{AdsServer, AwaitedSecret};

/// Time between the first word of a drain and its end.
const DRAIN_TIME: Duration = Duration::from_secs(45);

impl Bootstrap {
    /// Reads a bootstrap file's text, YAML or JSON; `file` is its name in findings.
    ///
    /// `None` means that there was a fault; all of them are in `diag`, each with its place.
    pub fn parse_file(text: &str, file: &str, diag: &mut Diagnostics) -> Option<Self> {
        let document = Document::<pb::Bootstrap>::parse(text, file, diag)?;
        let mut found = Diagnostics::new();
        let bootstrap = Self::parse(&document.message, &FieldPath::root(), &mut found);
        document.locate(found, diag);
        bootstrap
    }

    /// Reads a bootstrap from its message, noting every fault and warning in `diag`.
    pub fn parse(proto: &pb::Bootstrap, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let mut found = Diagnostics::new();
        let bootstrap = read(proto, at, &mut found);
        let refused = found.has_faults();
        diag.extend(found);
        (!refused).then_some(bootstrap)
    }
}

fn read(proto: &pb::Bootstrap, at: &FieldPath, diag: &mut Diagnostics) -> Bootstrap {
    refuse_unsupported(proto, at, diag);
    warn_ignored(proto, at, diag);
    let resources = proto.static_resources.clone().unwrap_or_default();
    let below = at.field("static_resources");
    let secrets = static_secrets(&resources, &below, diag);
    let listeners = static_listeners(&resources, &below, diag);
    let clusters = static_clusters(&resources, &below, diag);
    let dynamic = proto.dynamic_resources.as_ref();
    let dynamic = dynamic
        .map(|it| DynamicResources::parse(it, &clusters, &at.field("dynamic_resources"), diag));
    let ads = match dynamic.as_ref().is_some_and(|it| it.ads.is_some()) {
        true => AdsServer::Some,
        false => AdsServer::None,
    };
    let eds = |it: &&Arc<Cluster>| matches!(it.discovery, Discovery::Eds { .. });
    if let (AdsServer::None, Some(cluster)) = (ads, clusters.iter().find(eds)) {
        let rule = format!(
            "cluster {:?} wants EDS, but there is no ads_config",
            cluster.name
        );
        diag.fault(below.field("clusters"), rule);
    }
    check_secret_sources(&resources, &listeners, &clusters, ads, &below, diag);
    let overload = proto.overload_manager.as_ref();
    let overload = overload.map(|it| Overload::parse(it, &at.field("overload_manager"), diag));
    let runtime = proto.layered_runtime.as_ref();
    let runtime = runtime.map(|it| Runtime::parse(it, &at.field("layered_runtime"), diag));
    Bootstrap {
        packed: any::pack(proto),
        node: proto.node.clone().unwrap_or_default(),
        admin: admin(proto, at, diag),
        listeners,
        clusters,
        secrets,
        dynamic,
        drain_time: DRAIN_TIME,
        overload,
        runtime: runtime.unwrap_or_default(),
    }
}

fn static_listeners(
    proto: &pb::bootstrap::StaticResources,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Arc<Listener>> {
    let mut names = HashSet::new();
    let mut listeners = Vec::with_capacity(proto.listeners.len());
    for (index, listener) in proto.listeners.iter().enumerate() {
        let at = at.field("listeners").index(index);
        if listener.address.is_none() && listener.api_listener.is_none() {
            diag.fault(at.field("address"), "is missing");
        }
        let Some(listener) = Listener::parse(listener, &at, diag) else {
            continue;
        };
        if !names.insert(listener.name.clone()) {
            diag.fault(
                at.field("name"),
                format!("{:?} stands twice", listener.name),
            );
        }
        listeners.push(Arc::new(listener));
    }
    listeners
}

fn static_clusters(
    proto: &pb::bootstrap::StaticResources,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Arc<Cluster>> {
    let mut names = HashSet::new();
    let mut clusters = Vec::with_capacity(proto.clusters.len());
    for (index, cluster) in proto.clusters.iter().enumerate() {
        let at = at.field("clusters").index(index);
        let Some(cluster) = Cluster::parse(cluster, &at, diag) else {
            continue;
        };
        if !names.insert(cluster.name.clone()) {
            diag.fault(at.field("name"), format!("{:?} stands twice", cluster.name));
        }
        clusters.push(Arc::new(cluster));
    }
    clusters
}

fn static_secrets(
    proto: &pb::bootstrap::StaticResources,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Vec<Arc<Secret>> {
    let mut names = HashSet::new();
    let mut secrets = Vec::with_capacity(proto.secrets.len());
    for (index, secret) in proto.secrets.iter().enumerate() {
        let at = at.field("secrets").index(index);
        let Some(secret) = Secret::parse(secret, &at, diag) else {
            continue;
        };
        if !names.insert(secret.name.clone()) {
            diag.fault(at.field("name"), format!("{:?} stands twice", secret.name));
        }
        secrets.push(Arc::new(secret));
    }
    secrets
}

/// Whoever tells a secret must be known from the start.
fn check_secret_sources(
    proto: &pb::bootstrap::StaticResources,
    listeners: &[Arc<Listener>],
    clusters: &[Arc<Cluster>],
    ads: AdsServer,
    at: &FieldPath,
    diag: &mut Diagnostics,
) {
    let mut check = |awaited: &AwaitedSecret, list: &str, index: Option<usize>| {
        let at = at.field(list).index(index.unwrap_or_default());
        let name = &awaited.secret.name;
        let checked = name.origin.check(clusters.iter().map(|it| &*it.name), ads);
        diag.keep(at, checked.map_err(|rule| format!("{name}: {rule}")));
    };
    for listener in listeners {
        let index = proto
            .listeners
            .iter()
            .position(|it| it.name == *listener.name);
        for awaited in listener.awaited_secrets() {
            check(awaited, "listeners", index);
        }
    }
    for cluster in clusters {
        let index = proto
            .clusters
            .iter()
            .position(|it| it.name == *cluster.name);
        for awaited in cluster.awaited_secrets() {
            check(awaited, "clusters", index);
        }
    }
}

fn admin(proto: &pb::Bootstrap, at: &FieldPath, diag: &mut Diagnostics) -> Option<SocketAddr> {
    use core::address::Address;
    let at = at.field("admin");
    let admin = proto.admin.as_ref()?;
    if !admin.allow_paths.is_empty() {
        // Ignored, it would open pages that are meant to be closed.
        diag.fault(at.field("allow_paths"), "is not supported yet");
    }
    if !admin.access_log.is_empty() {
        diag.warn(at.field("access_log"), "is not supported yet and ignored");
    }
    let address = match admin.address.as_ref()?.address.as_ref() {
        Some(Address::SocketAddress(socket)) => socket_addr(socket),
        _ => Err("only a socket_address is supported".to_owned()),
    };
    diag.keep(at.field("address"), address)
}

/// What would change where traffic goes, or who gets in, if it were ignored.
fn refuse_unsupported(proto: &pb::Bootstrap, at: &FieldPath, diag: &mut Diagnostics) {
    let mut refuse = |name: &str, given: bool| {
        if given {
            diag.fault(at.field(name), "is not supported yet");
        }
    };
    refuse("hds_config", proto.hds_config.is_some());
    refuse("config_sources", !proto.config_sources.is_empty());
    refuse(
        "default_config_source",
        proto.default_config_source.is_some(),
    );
    refuse("header_prefix", !proto.header_prefix.is_empty());
    refuse("listener_manager", proto.listener_manager.is_some());
    let manager = proto.cluster_manager.as_ref();
    let bound = manager.is_some_and(|it| it.upstream_bind_config.is_some());
    refuse("cluster_manager.upstream_bind_config", bound);
}

fn warn_ignored(proto: &pb::Bootstrap, at: &FieldPath, diag: &mut Diagnostics) {
    let mut ignored = |name: &str, given: bool| {
        if given {
            diag.warn(at.field(name), "is not supported yet and ignored");
        }
    };
    ignored("cluster_manager", proto.cluster_manager.is_some());
    ignored("stats_sinks", !proto.stats_sinks.is_empty());
    ignored(
        "typed_dns_resolver_config",
        proto.typed_dns_resolver_config.is_some(),
    );
    ignored(
        "bootstrap_extensions",
        !proto.bootstrap_extensions.is_empty(),
    );
    let providers = !proto.certificate_provider_instances.is_empty();
    ignored("certificate_provider_instances", providers);
    ignored(
        "xds_delegate_extension",
        proto.xds_delegate_extension.is_some(),
    );
    ignored(
        "xds_config_tracker_extension",
        proto.xds_config_tracker_extension.is_some(),
    );
}

#[cfg(test)]
mod tests;
