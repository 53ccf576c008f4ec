//! The flags that say what is captured.

use clap::{Args, ValueEnum};

use super::OutputArgs;
use crate::redirect::{
    Addresses, Backend, InstallError, Ipv6Choice, Mode, Plan, Ports, ProxyUser, Variant, Which,
};

/// What is captured.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// How inbound connections are brought to the proxy; with tproxy the application can see its clients' addresses
    #[arg(long, env = "WEFT_REDIRECT_MODE", value_enum, default_value_t = ModeArg::Redirect)]
    pub mode: ModeArg,
    /// The packet filter
    #[arg(long, env = "WEFT_REDIRECT_BACKEND", value_enum, default_value_t = BackendArg::Auto)]
    pub backend: BackendArg,
    /// The user that the proxy runs as, whose connections are not captured, repeatable
    #[arg(
        long,
        env = "WEFT_PROXY_UID",
        value_name = "UID",
        value_delimiter = ',',
        default_value = "1337"
    )]
    pub proxy_uid: Vec<u32>,
    /// The group that the proxy runs as, whose connections are not captured, repeatable
    #[arg(
        long,
        env = "WEFT_PROXY_GID",
        value_name = "GID",
        value_delimiter = ',',
        default_value = "1337"
    )]
    pub proxy_gid: Vec<u32>,
    /// Where the proxy takes what comes in
    #[arg(long, env = "WEFT_REDIRECT_INBOUND_TO", value_name = "PORT", default_value_t = 15_006,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub inbound_to: u16,
    /// Where the proxy takes what goes out
    #[arg(long, env = "WEFT_REDIRECT_OUTBOUND_TO", value_name = "PORT", default_value_t = 15_001,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub outbound_to: u16,
    /// Ports on which what comes in is captured: as 80,8000-8010, * or none; Weft's own never are
    #[arg(
        long,
        env = "WEFT_INBOUND_PORTS",
        value_name = "PORTS",
        default_value = "*"
    )]
    pub inbound_ports: Which<Ports>,
    /// Ports on which it is not
    #[arg(
        long,
        env = "WEFT_EXCLUDE_INBOUND_PORTS",
        value_name = "PORTS",
        default_value = ""
    )]
    pub exclude_inbound_ports: Ports,
    /// Destinations to which what goes out is captured: as 10.0.0.0/8,fd00::/8, * or none
    #[arg(
        long,
        env = "WEFT_OUTBOUND_CIDRS",
        value_name = "CIDRS",
        default_value = "*"
    )]
    pub outbound_cidrs: Which<Addresses>,
    /// Destinations to which it is not; loopback never is
    #[arg(
        long,
        env = "WEFT_EXCLUDE_OUTBOUND_CIDRS",
        value_name = "CIDRS",
        default_value = ""
    )]
    pub exclude_outbound_cidrs: Addresses,
    /// Ports of destinations to which it is not
    #[arg(
        long,
        env = "WEFT_EXCLUDE_OUTBOUND_PORTS",
        value_name = "PORTS",
        default_value = ""
    )]
    pub exclude_outbound_ports: Ports,
    /// Whether IPv6 is captured: auto where there is any; what cannot be captured is refused, not passed by
    #[arg(long, env = "WEFT_REDIRECT_IPV6", value_enum, default_value_t = Ipv6Arg::Auto)]
    pub ipv6: Ipv6Arg,
    /// The routes that tproxy needs.
    #[command(flatten)]
    pub routes: RouteArgs,
    /// How it is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The routes that tproxy needs.
#[derive(Clone, Copy, Debug, Args)]
pub struct RouteArgs {
    /// The mark of packets that tproxy brings back to the proxy
    #[arg(long, env = "WEFT_REDIRECT_MARK", value_name = "MARK", default_value = "0x539", value_parser = mark)]
    pub mark: u32,
    /// The routing table that does so
    #[arg(long, env = "WEFT_REDIRECT_TABLE", value_name = "N", default_value_t = 133,
          value_parser = clap::value_parser!(u32).range(1..=252))]
    pub route_table: u32,
}

/// How inbound connections are brought to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// By address translation.
    Redirect,
    /// To a transparent socket.
    Tproxy,
}

/// The packet filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// The one that has rules of ours, else nftables where it can be used, else iptables.
    Auto,
    /// nftables.
    Nft,
    /// What the system means by iptables.
    Iptables,
    /// iptables on nftables.
    IptablesNft,
    /// iptables of old.
    IptablesLegacy,
}

/// Whether IPv6 is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ipv6Arg {
    /// Where there is any.
    Auto,
    /// It is.
    On,
    /// It passes the proxy by.
    Off,
}

fn mark(text: &str) -> Result<u32, String> {
    let read = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let above_zero = read.ok().filter(|mark| *mark > 0);
    above_zero.ok_or_else(|| format!("must be a number above 0, as 0x539, got {text:?}"))
}

impl PlanArgs {
    /// The plan that the flags come to here.
    pub fn plan(&self) -> Plan {
        Plan {
            mode: match self.mode {
                ModeArg::Redirect => Mode::Redirect,
                ModeArg::Tproxy => Mode::Tproxy,
            },
            ipv6: match self.ipv6 {
                Ipv6Arg::Auto => Ipv6Choice::Auto,
                Ipv6Arg::On => Ipv6Choice::On,
                Ipv6Arg::Off => Ipv6Choice::Off,
            }
            .decide(),
            inbound: self.inbound_ports.clone(),
            inbound_spared: self.exclude_inbound_ports.clone(),
            outbound: self.outbound_cidrs.clone(),
            outbound_spared: self.exclude_outbound_cidrs.clone(),
            outbound_spared_ports: self.exclude_outbound_ports.clone(),
            proxy: ProxyUser {
                uids: in_order(&self.proxy_uid),
                gids: in_order(&self.proxy_gid),
                inbound_port: self.inbound_to,
                outbound_port: self.outbound_to,
            },
            ..self.routes.plan()
        }
    }

    pub(super) fn asked(&self) -> Option<Backend> {
        Some(match self.backend {
            BackendArg::Auto => return None,
            BackendArg::Nft => Backend::Nft,
            BackendArg::Iptables => Backend::Iptables(Variant::System),
            BackendArg::IptablesNft => Backend::Iptables(Variant::Nft),
            BackendArg::IptablesLegacy => Backend::Iptables(Variant::Legacy),
        })
    }

    pub(super) async fn backend(&self) -> Result<Backend, InstallError> {
        match self.asked() {
            Some(backend) => Ok(backend.resolve().await),
            None => Ok(Backend::choose().await?),
        }
    }
}

impl RouteArgs {
    /// A plan with these routes, and the defaults of everything else.
    pub(super) fn plan(self) -> Plan {
        Plan {
            mode: Mode::Tproxy,
            ipv6: true,
            inbound: Which::All,
            inbound_spared: Ports::default(),
            outbound: Which::All,
            outbound_spared: Addresses::default(),
            outbound_spared_ports: Ports::default(),
            proxy: ProxyUser {
                uids: Vec::new(),
                gids: Vec::new(),
                inbound_port: 15_006,
                outbound_port: 15_001,
            },
            mark: self.mark,
            table: self.route_table,
        }
    }
}

fn in_order(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}
