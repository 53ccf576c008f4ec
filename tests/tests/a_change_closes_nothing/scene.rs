//! The proxy, its control plane and its upstreams.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::time::{Instant, timeout};
use weft_proxy::app::{Config, Proxy, Running, Source};
use weft_tests::ads::AdsServer;
use weft_tests::bootstrap;
use weft_tests::client::Http1;
use weft_tests::eventually::eventually_within;
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::type_url;

use super::EXCHANGE;
use super::told::{CLUSTERS, SPARE, Told};

/// A change is in force after this at the latest.
const IN_FORCE: Duration = Duration::from_secs(1);

/// The proxy, what it is told, and who is behind it.
pub(crate) struct Scene {
    pub(crate) ads: AdsServer,
    pub(crate) proxy: Running,
    pub(crate) told: Told,
    /// Two of each of [`CLUSTERS`].
    upstreams: Vec<[Upstream; 2]>,
    pub(crate) web: SocketAddr,
    pub(crate) tcp: SocketAddr,
    probe: Http1,
    access_log: String,
}

impl Scene {
    pub(crate) async fn start(api_type: &str, folder: &Path) -> anyhow::Result<Self> {
        let ads = AdsServer::start().await?;
        let mut upstreams = Vec::new();
        for name in CLUSTERS {
            upstreams.push(match name {
                "tcp" => [Upstream::tcp(name).await, Upstream::tcp(name).await],
                "ws" => [
                    Upstream::websocket(name).await,
                    Upstream::websocket(name).await,
                ],
                "h2" => [Upstream::http2(name).await, Upstream::http2(name).await],
                _ => [Upstream::http(name).await, Upstream::http(name).await],
            });
        }
        let access_log = folder.join("access.log").display().to_string();
        let told = Told::default();
        for name in CLUSTERS {
            ads.put(name, &bootstrap::message::<Cluster>(&told.cluster(name))?);
        }
        for (name, upstreams) in CLUSTERS.iter().zip(&upstreams) {
            let yaml = told.endpoints(name, upstreams);
            ads.put(name, &bootstrap::message::<ClusterLoadAssignment>(&yaml)?);
        }
        ads.put(
            "r",
            &bootstrap::message::<RouteConfiguration>(&told.routes())?,
        );
        ads.put(
            "web",
            &bootstrap::message::<Listener>(&told.web(&access_log))?,
        );
        ads.put("tcp", &bootstrap::message::<Listener>(&told.tcp())?);
        let yaml = bootstrap::ads("test", ads.address(), api_type, "{}");
        let mut config = Config::new(Source::Bootstrap(Box::new(bootstrap::parse(&yaml)?)));
        config.workers = 2;
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(config)).await??;
        let bound = async {
            proxy.ready().await;
            Some((
                proxy.address_of("web").await?,
                proxy.address_of("tcp").await?,
            ))
        };
        let bound = timeout(EXCHANGE, bound).await.context("never ready")?;
        let (web, tcp) = bound.context("the proxy ended")?;
        let probe = Http1::connect(web).await?;
        Ok(Self {
            ads,
            proxy,
            told,
            upstreams,
            web,
            tcp,
            probe,
            access_log,
        })
    }

    /// The `number`th change. Each fourth tells again what is told already.
    pub(crate) fn change(&mut self, number: usize) -> anyhow::Result<()> {
        let told = &mut self.told;
        match number % 16 {
            0 => told.prefix = (told.prefix + 1) % 3,
            1 => told.to_b = !told.to_b,
            2 => told.connect_ms = (told.connect_ms + 1) % 7,
            3 => told.weight += 1,
            4 => told.headers_kib = (told.headers_kib + 1) % 5,
            5 => told.table += 1,
            6 => told.breakers = (told.breakers + 1) % 5,
            7 => told.endpoints += 1,
            8 => told.logs = !told.logs,
            10 => told.balancer = (told.balancer + 1) % 3,
            12 => told.refuses = !told.refuses,
            // Same content under a new version.
            _ => {}
        }
        if number % 16 == 14 {
            told.tcp += 1;
            told.streams = (told.streams + 1) % 3;
            self.ads
                .put("tcp", &bootstrap::message::<Listener>(&told.tcp())?);
            match told.tcp % 2 {
                0 => self.ads.remove(type_url::CLUSTER, SPARE),
                _ => self
                    .ads
                    .put(SPARE, &bootstrap::message::<Cluster>(&told.cluster(SPARE))?),
            }
        }
        let (ads, told) = (&self.ads, &self.told);
        match number % 4 {
            0 => ads.put(
                "web",
                &bootstrap::message::<Listener>(&told.web(&self.access_log))?,
            ),
            1 => ads.put(
                "r",
                &bootstrap::message::<RouteConfiguration>(&told.routes())?,
            ),
            2 => {
                for name in CLUSTERS {
                    ads.put(name, &bootstrap::message::<Cluster>(&told.cluster(name))?);
                }
            }
            _ => {
                for (name, upstreams) in CLUSTERS.iter().zip(&self.upstreams) {
                    let yaml = told.endpoints(name, upstreams);
                    ads.put(name, &bootstrap::message::<ClusterLoadAssignment>(&yaml)?);
                }
            }
        }
        Ok(())
    }

    /// Returns how long it took until all that is told is in force.
    pub(crate) async fn in_force(&mut self, at: &str) -> Duration {
        let told = Instant::now();
        let probe = Arc::new(tokio::sync::Mutex::new(&mut self.probe));
        let (proxy, facts) = (&self.proxy, &self.told);
        eventually_within(IN_FORCE, at, || async {
            facts.expect_clusters(proxy)?;
            let mut probe = probe.lock().await;
            facts.judge(&probe.get("web", "/").await?)
        })
        .await;
        told.elapsed()
    }
}
