//! A mesh in this process: the control plane, sidecars, and what users do to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use serde_json::Value;
use weft_config::secret::DataSource;
use weft_config::spiffe::{SpiffeId, TrustDomain};
use weft_control_plane::api::model::{TokenCreated, TokenRequest};
use weft_control_plane::app::{Config as ControlPlaneConfig, ControlPlane};
use weft_control_plane::cli::client::Client;
use weft_proxy::app::{
    Config, MeshConfig, OUTBOUND, OutboundLimits, OutboundPolicy, Proxy, Redirection, Running,
    Source,
};
use weft_proxy::identity::{Identity, Proof};

use crate::client::get;

/// A control plane with its API.
pub struct Mesh {
    control_plane: weft_control_plane::app::Running,
    client: Client,
}

impl Mesh {
    /// Starts a control plane on loopback with its state in memory.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(ControlPlaneConfig::for_demo()).await
    }

    /// Starts a control plane as `config` says.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn start_with(config: ControlPlaneConfig) -> anyhow::Result<Self> {
        let control_plane = ControlPlane::start(config)
            .await
            .context("starting the control plane")?;
        let client = Client::new(&format!("http://{}", control_plane.api_address()), None)?;
        Ok(Self {
            control_plane,
            client,
        })
    }

    /// Applies YAML and waits until every proxy concerned has acknowledged it; gives the revision.
    ///
    /// # Errors
    /// If it is refused or not acknowledged.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<u64> {
        self.client.apply_and_wait(yaml, "test", "").await
    }

    /// The API's client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where xDS is served without TLS.
    pub fn xds_address(&self) -> SocketAddr {
        let address = self.control_plane.xds_address();
        address.expect("meshes of tests serve it")
    }

    /// A sidecar of `service`, whose application listens on `app`, once it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn sidecar(
        &self,
        service: &str,
        version: &str,
        app: Option<SocketAddr>,
    ) -> anyhow::Result<Sidecar> {
        Sidecar::start(self.sidecar_config(service, version, app)).await
    }

    /// What [`Self::sidecar`] starts it with.
    pub fn sidecar_config(&self, service: &str, version: &str, app: Option<SocketAddr>) -> Config {
        sidecar_config(self.xds_address(), service, version, app)
    }

    /// What [`Self::sidecar`] starts it with, and who it is besides: it joins by a token of its own, over TLS.
    ///
    /// # Errors
    /// If no token is made.
    pub async fn member_config(
        &self,
        service: &str,
        version: &str,
        app: Option<SocketAddr>,
    ) -> anyhow::Result<Config> {
        let request = TokenRequest {
            namespace: "default".to_owned(),
            service_account: service.to_owned(),
            ttl_seconds: 60,
            uses: 1,
        };
        let made = self.client.post_bytes("/v1/tokens", &request).await?;
        let made: TokenCreated = serde_json::from_slice(&made)?;
        let domain = TrustDomain::default();
        let mut config = sidecar_config(self.control_plane.secure_address(), service, version, app);
        let Source::Mesh(mesh) = &mut config.source else {
            bail!("a sidecar is in mesh mode");
        };
        mesh.control_plane_tls = true;
        mesh.identity = Some(Identity {
            id: SpiffeId::workload(&domain, "default", service)?,
            proof: Proof::Token(made.token.as_bytes().into()),
            control_plane: SpiffeId::workload(&domain, "weft-system", "weft")?,
            roots: DataSource::Inline(self.roots().as_bytes().into()),
        });
        Ok(config)
    }

    /// A sidecar of `service` that is somebody, once it is ready.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn member(
        &self,
        service: &str,
        version: &str,
        app: Option<SocketAddr>,
    ) -> anyhow::Result<Sidecar> {
        Sidecar::start(self.member_config(service, version, app).await?).await
    }

    /// PEM of the roots that its authority trusts.
    pub fn roots(&self) -> String {
        let bundle = self.control_plane.mesh().authority().bundle();
        bundle.borrow().pem().to_owned()
    }

    /// Ends the control plane; sidecars go on.
    pub async fn stop(self) {
        self.control_plane.shutdown().await;
    }
}

/// What a sidecar of the control plane at `xds` is started with, everything on free ports of loopback.
pub fn sidecar_config(
    xds: SocketAddr,
    service: &str,
    version: &str,
    app: Option<SocketAddr>,
) -> Config {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config::new(Source::Mesh(Box::new(MeshConfig {
        control_plane_host: xds.ip().to_string(),
        control_plane_port: xds.port(),
        control_plane_tls: false,
        identity: None,
        service: service.to_owned(),
        namespace: "default".to_owned(),
        labels: [("version".to_owned(), version.to_owned())].into(),
        app_ports: app.iter().map(SocketAddr::port).collect(),
        outbound_listen: free,
        inbound_listen: free,
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        limits: OutboundLimits::default(),
        access_log: None,
        redirection: Redirection::None,
        outbound_policy: OutboundPolicy::default(),
    })))
}

/// A sidecar in this process.
pub struct Sidecar {
    proxy: Running,
    outbound: SocketAddr,
}

impl Sidecar {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or is not ready within 10 s.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let proxy = tokio::task::spawn_blocking(move || Proxy::start(config))
            .await?
            .context("starting a sidecar")?;
        let ready = async {
            proxy.ready().await;
            proxy.address_of(OUTBOUND).await
        };
        match tokio::time::timeout(std::time::Duration::from_secs(10), ready).await {
            Ok(Some(outbound)) => Ok(Self { proxy, outbound }),
            Ok(None) => bail!("the sidecar ended before it was ready"),
            Err(_) => bail!("the sidecar is not ready after 10 s"),
        }
    }

    /// Where its application sends what is for others.
    pub fn outbound(&self) -> SocketAddr {
        self.outbound
    }

    /// The proxy itself.
    pub fn proxy(&self) -> &Running {
        &self.proxy
    }

    /// What its `/certs` page says.
    ///
    /// # Errors
    /// If it has no admin page, or that does not answer.
    pub async fn certs(&self) -> anyhow::Result<String> {
        let admin = self.proxy.admin_address().context("no admin page")?;
        let page = get(admin, "localhost", "/certs").await?;
        Ok(String::from_utf8(page.into_body().to_vec())?)
    }

    /// The certificate that it shows, as its `/certs` page has it.
    ///
    /// # Errors
    /// If it shows none.
    pub async fn own_certificate(&self) -> anyhow::Result<Value> {
        let page: Value = serde_json::from_str(&self.certs().await?)?;
        let all = page.get("certificates").and_then(Value::as_array);
        let all = all.context("no list")?;
        let own = all.iter().find_map(|it| it.get("cert_chain")?.get(0));
        own.cloned().context("none of its own")
    }

    /// The sum of the metrics whose lines begin so.
    ///
    /// # Errors
    /// If it has no page of metrics, or that does not answer.
    pub async fn metric(&self, line: &str) -> anyhow::Result<f64> {
        self.metric_with(line, "").await
    }

    /// The sum of those of them that have this label too.
    ///
    /// # Errors
    /// As [`Self::metric`].
    pub async fn metric_with(&self, line: &str, label: &str) -> anyhow::Result<f64> {
        let page = self.proxy.metrics_address().context("no metrics page")?;
        let page = get(page, "localhost", "/metrics").await?;
        let page = String::from_utf8(page.into_body().to_vec())?;
        let found = page.lines().filter(|it| it.contains(label));
        let found = found.filter_map(|it| it.strip_prefix(line));
        found
            .filter_map(|it| it.split_whitespace().last())
            .map(|it| Ok(it.parse::<f64>()?))
            .sum()
    }

    /// Drains it and waits for its end.
    pub async fn stop(self) {
        self.proxy.shutdown().await;
    }
}

/// A `MeshService` whose endpoints are these.
pub fn static_service(name: &str, port: u16, protocol: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|e| format!("{{address: {}, port: {}}}", e.ip(), e.port()))
        .collect();
    format!(
        "---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {{name: {name}}}
spec:
  ports: [{{port: {port}, appProtocol: {protocol}}}]
  discovery: {{static: {{endpoints: [{}]}}}}
",
        endpoints.join(", ")
    )
}

/// An `AuthenticationPolicy` of the whole namespace with this mode of mTLS.
pub fn mtls(mode: &str) -> String {
    format!(
        "---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {{name: mtls}}
spec: {{mtls: {{mode: {mode}}}}}
"
    )
}

/// A `MeshService` whose endpoints are the workloads of this label.
pub fn workload_service(name: &str, port: u16, selector: &str) -> String {
    format!(
        "---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {{name: {name}}}
spec:
  ports: [{{port: {port}, appProtocol: http}}]
  discovery: {{workloads: {{selector: {{{selector}}}}}}}
"
    )
}

/// An `HTTPRoute` of `service` to backends with weights.
pub fn weighted_route(service: &str, port: u16, backends: &[(&str, u32)]) -> String {
    let backends: Vec<String> = backends
        .iter()
        .map(|(name, weight)| {
            format!("    - {{group: mesh.weft.dev, kind: MeshService, name: {name}, port: {port}, weight: {weight}}}\n")
        })
        .collect();
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {service}}}
spec:
  parentRefs: [{{group: mesh.weft.dev, kind: MeshService, name: {service}, port: {port}}}]
  rules:
  - backendRefs:
{}",
        backends.concat()
    )
}
