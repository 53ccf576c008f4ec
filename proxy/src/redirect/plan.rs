//! What is captured, and what is not. Pure.

use super::ranges::{Addresses, Network, PortRange, Ports, Which};

/// How inbound connections are brought to the proxy. Outbound ones are always redirected (NAT): nobody asks for their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By address translation: the application sees the proxy's address.
    Redirect,
    /// As they are, to a transparent socket (TPROXY): the application can be shown the client's address.
    Tproxy,
}

/// The proxy, whose own connections are never captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUser {
    /// Users that it runs as.
    pub uids: Vec<u32>,
    /// Groups that it runs as.
    pub gids: Vec<u32>,
    /// Where it takes what comes in.
    pub inbound_port: u16,
    /// Where it takes what goes out.
    pub outbound_port: u16,
}

/// What is captured in this network namespace. TCP alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How.
    pub mode: Mode,
    /// Whether IPv6 is captured beside IPv4.
    pub ipv6: bool,
    /// The proxy.
    pub proxy: ProxyUser,
    /// Ports that are captured when somebody connects to them from elsewhere.
    pub inbound: Which<Ports>,
    /// Ports that are not, besides Weft's own.
    pub inbound_spared: Ports,
    /// Destinations that are captured when the application connects to them.
    pub outbound: Which<Addresses>,
    /// Destinations that are not.
    pub outbound_spared: Addresses,
    /// Ports of destinations that are not.
    pub outbound_spared_ports: Ports,
    /// Marks the answers of applications to clients whose address was kept, and the packets that these are told by.
    pub mark: u32,
    /// The routing table that brings marked packets to the proxy.
    pub table: u32,
}

/// Ports of Weft itself and of its control plane, which are never captured inbound: admin, outbound, inbound, xDS, API, webhooks,
/// metrics and readiness.
pub const OWN_PORTS: [u16; 9] = [
    15_000, 15_001, 15_006, 15_010, 15_012, 15_014, 15_017, 15_020, 15_021,
];

impl Plan {
    /// Ports that are not captured inbound, Weft's own included.
    pub(super) fn spared_inbound(&self) -> Ports {
        let proxy = [self.proxy.inbound_port, self.proxy.outbound_port];
        let own = OWN_PORTS.into_iter().chain(proxy);
        let own = own.map(|port| PortRange {
            first: port,
            last: port,
        });
        self.inbound_spared.and(&Ports::of(own))
    }

    /// Destinations that are not captured: what was asked for, and loopback.
    pub(super) fn spared_outbound(&self) -> Addresses {
        let loopback = [
            Network {
                address: std::net::Ipv4Addr::new(127, 0, 0, 0).into(),
                length: 8,
            },
            Network {
                address: std::net::Ipv6Addr::LOCALHOST.into(),
                length: 128,
            },
        ];
        self.outbound_spared.and(&Addresses::of(loopback))
    }

    /// Whether anything that comes in is captured.
    pub(super) fn captures_inbound(&self) -> bool {
        !matches!(&self.inbound, Which::Only(ports) if ports.is_empty())
    }
}
