//! What the proxy is told of a redirection that brings connections to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::{Args, ValueEnum};

use crate::app::mesh::{OutboundPolicy, Redirection};
use crate::redirect::uses_ipv6;

/// What is redirected to the proxy.
#[derive(Clone, Copy, Debug, Args)]
pub struct RedirectedArgs {
    /// How connections of the workload are brought here: the mode of weft-proxy redirect. With it IPv6 is listened to as well, where there
    /// is any; with tproxy the application sees its clients' addresses, which needs CAP_NET_ADMIN
    #[arg(long = "redirection", env = "WEFT_REDIRECTION", value_enum, default_value_t = RedirectionArg::None,
          conflicts_with = "bootstrap")]
    pub mode: RedirectionArg,
    /// What becomes of redirected calls to destinations that the control plane does not know
    #[arg(long, env = "WEFT_OUTBOUND_POLICY", value_enum, default_value_t = PolicyArg::AllowAny, conflicts_with = "bootstrap")]
    pub outbound_policy: PolicyArg,
}

/// How connections are brought here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RedirectionArg {
    /// They are not: applications call the proxy.
    None,
    /// By address translation.
    Redirect,
    /// Inbound ones by TPROXY.
    Tproxy,
}

/// What becomes of calls to nobody who is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyArg {
    /// They go where they meant to go.
    #[value(name = "ALLOW_ANY")]
    AllowAny,
    /// They are refused.
    #[value(name = "REGISTRY_ONLY")]
    RegistryOnly,
}

impl RedirectedArgs {
    pub(super) fn redirection(self) -> Redirection {
        match self.mode {
            RedirectionArg::None => Redirection::None,
            RedirectionArg::Redirect => Redirection::Redirect,
            RedirectionArg::Tproxy => Redirection::Tproxy,
        }
    }

    pub(super) fn outbound_policy(self) -> OutboundPolicy {
        match self.outbound_policy {
            PolicyArg::AllowAny => OutboundPolicy::AllowAny,
            PolicyArg::RegistryOnly => OutboundPolicy::RegistryOnly,
        }
    }

    /// All addresses are those of both families, where what is redirected may come over either.
    pub(super) fn listened(self, listen: SocketAddr) -> SocketAddr {
        let all = listen.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED);
        if self.mode != RedirectionArg::None && all && uses_ipv6() {
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), listen.port())
        } else {
            listen
        }
    }
}
