//! Mesh mode: the simple start, in which everything else comes over xDS.

mod unknown;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::http2::Http2Options;
use weft_config::listener::{
    AccessLog, ChainAction, Detection, Direction, DownstreamCodec, FilterChain, FilterChainMatch,
    HttpConnectionManager, HttpLimits, Listener, RouteSource, ServerHeader,
};
use weft_config::route::RouteTable;

pub use self::unknown::OutboundPolicy;
use crate::identity::Identity;
use crate::redirect::uses_ipv6;
use crate::xds::node::Workload;

/// The name of the outbound listener.
pub const OUTBOUND: &str = "outbound";

/// The name of the outbound listener of redirected IPv6.
pub const OUTBOUND_IPV6: &str = "outbound-ipv6";

/// What the simple start is told.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// The control plane's host: a name or an address.
    pub control_plane_host: String,
    /// Its port.
    pub control_plane_port: u16,
    /// Whether it is spoken to over TLS; needs an identity.
    pub control_plane_tls: bool,
    /// Who the workload is; `None`: nobody, and its calls go out in plain.
    pub identity: Option<Identity>,
    /// The service of the workload.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The ports of the application; none for a workload that only calls others.
    pub app_ports: Vec<u16>,
    /// Where the application's calls are taken.
    pub outbound_listen: SocketAddr,
    /// Where calls to the application are taken.
    pub inbound_listen: SocketAddr,
    /// The address under which others reach us; `None`: that of the interface towards the control plane.
    pub address: Option<IpAddr>,
    /// Bounds of the outbound listener.
    pub limits: OutboundLimits,
    /// Where requests and connections of both directions are logged; `None`: nowhere.
    pub access_log: Option<AccessLog>,
    /// How connections are brought here without the application's doing.
    pub redirection: Redirection,
    /// What becomes of redirected calls to destinations that the control plane does not know.
    pub outbound_policy: OutboundPolicy,
}

/// How connections are brought here without the application's doing: `weft-proxy redirect` with the same mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Redirection {
    /// They are not; applications call us.
    #[default]
    None,
    /// By address translation.
    Redirect,
    /// Inbound ones by TPROXY: the application sees its clients' addresses.
    Tproxy,
}

/// Bounds of the outbound listener; those of the inbound one come from the control plane with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Bytes of a request head. Default 60 KiB.
    pub header_bytes_max: usize,
    /// Fields of a request head. Default 100.
    pub header_count_max: usize,
    /// Bytes held for a side that does not take them, per direction of a request. Default 64 KiB.
    pub buffer_bytes_max: usize,
    /// How long a connection may be silent before it is passed on as opaque. Default 100 ms.
    pub detection_timeout: Duration,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        let http = HttpLimits::default();
        Self {
            header_bytes_max: http.header_bytes_max,
            header_count_max: http.header_count_max,
            buffer_bytes_max: http.buffer_bytes_max,
            detection_timeout: Duration::from_millis(100),
        }
    }
}

impl OutboundLimits {
    fn http(&self) -> HttpLimits {
        HttpLimits {
            header_bytes_max: self.header_bytes_max,
            header_count_max: self.header_count_max,
            buffer_bytes_max: self.buffer_bytes_max,
            http2: Http2Options {
                allow_connect: true,
                ..Http2Options::default()
            },
            ..HttpLimits::default()
        }
    }
}

impl MeshConfig {
    /// The workload as it registers itself, its inbound port being the one in [`Self::inbound_listen`].
    ///
    /// # Errors
    /// If no address was given and none can be found out.
    pub(super) fn workload(&self) -> io::Result<Workload> {
        let address = match self.address {
            Some(address) => address,
            None if !self.inbound_listen.ip().is_unspecified() => self.inbound_listen.ip(),
            None => self.address_towards_control_plane()?,
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let port = self.inbound_listen.port();
        // The same workload on the same host and port is the same instance after a restart.
        let instance = format!("{}-{port}.{}", self.service, host.trim());
        Ok(Workload {
            service: self.service.clone(),
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            address,
            inbound_port: port,
            redirected: self.redirection != Redirection::None,
            app_ports: self.app_ports.clone(),
            instance,
        })
    }

    /// The name of the inbound listener. Without ports there is no such listener.
    pub(super) fn inbound_name(&self) -> String {
        let mut ports = self.app_ports.clone();
        ports.sort_unstable();
        ports.dedup();
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!(
            "inbound/{}/{}/{}",
            self.namespace,
            self.service,
            ports.join("-")
        )
    }

    /// The source address that the kernel would take; nothing is sent.
    fn address_towards_control_plane(&self) -> io::Result<IpAddr> {
        let target = (self.control_plane_host.as_str(), self.control_plane_port);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for target in target.to_socket_addrs()? {
            let any: SocketAddr = match target {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            match socket.connect(target).and_then(|()| socket.local_addr()) {
                Ok(local) => return Ok(local.ip()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The outbound listeners: their requests and connections ask for what they need.
    ///
    /// What is redirected on its way out arrives at the loopback address of its own family.
    pub(super) fn outbound(&self) -> Vec<Arc<Listener>> {
        let listen = self.outbound_listen;
        let mut listeners = vec![Arc::new(self.outbound_at(Some(listen)))];
        let ours = listen.ip() == Ipv4Addr::LOCALHOST && listen.port() != 0;
        if self.redirection != Redirection::None && ours && uses_ipv6() {
            let listen = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), listen.port());
            listeners.push(Arc::new(Listener {
                name: OUTBOUND_IPV6.into(),
                ..self.outbound_at(Some(listen))
            }));
        }
        listeners
    }

    fn outbound_at(&self, address: Option<SocketAddr>) -> Listener {
        let name: Arc<str> = OUTBOUND.into();
        Listener {
            name: name.clone(),
            address,
            direction: Direction::Outbound,
            use_original_dst: true,
            transparent: false,
            original_src: false,
            application_ports: Arc::default(),
            detection: Detection {
                enabled: true,
                timeout: self.limits.detection_timeout,
            },
            filter_chains: Vec::new(),
            default_filter_chain: Some(FilterChain {
                name,
                matches: FilterChainMatch::default(),
                tls: None,
                access: Vec::new(),
                action: ChainAction::Http(Arc::new(self.outbound_http())),
            }),
            connections_max: None,
        }
    }

    fn outbound_http(&self) -> HttpConnectionManager {
        let name: Arc<str> = OUTBOUND.into();
        let log = self.access_log.as_ref();
        let log = log.map(|log| log.of_direction(Direction::Outbound));
        HttpConnectionManager {
            stat_prefix: name.clone(),
            codec: DownstreamCodec::Auto,
            routes: RouteSource::Inline(Arc::new(no_routes(&name))),
            filters: Vec::new(),
            limits: self.limits.http(),
            access_log: log.into_iter().collect(),
            use_remote_address: false,
            forward_client_cert: Default::default(),
            xff_num_trusted_hops: 0,
            upgrades: vec!["websocket".into(), "connect".into()],
            server_name: "weft".into(),
            server_header: ServerHeader::PassThrough,
            normalize_path: false,
            merge_slashes: false,
        }
    }

    /// Where calls to the application are taken, before the control plane says what is done with them.
    pub(super) fn inbound(&self) -> Listener {
        let transparent = self.redirection == Redirection::Tproxy;
        Listener {
            name: self.inbound_name().into(),
            address: Some(self.inbound_listen),
            direction: Direction::Inbound,
            transparent,
            original_src: transparent,
            application_ports: self.app_ports.as_slice().into(),
            ..self.outbound_at(None)
        }
    }
}

fn no_routes(name: &Arc<str>) -> RouteTable {
    let mut diag = Diagnostics::new();
    RouteTable::build(
        name.clone(),
        Vec::new(),
        false,
        &FieldPath::root(),
        &mut diag,
    )
    .expect("a table without virtual hosts has no domain that could be wrong")
}
