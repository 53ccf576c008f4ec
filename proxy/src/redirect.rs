//! Transparent redirection: rules of this network namespace that bring connections to the proxy without anybody's doing.
//!
//! A [`Plan`] says what is captured; it is pure, and rendered as one table of our own for nftables (`nft`), or as chains of our own
//! for iptables (`iptables`). [`install`], [`verify`] and [`remove`] compare what is in force with it, by the words of the tools
//! themselves, and change what differs: rules of others are read and never touched. The running proxy knows nothing of this room.

mod backend;
mod host;
mod install;
mod iptables;
mod nft;
mod plan;
mod ranges;
mod routes;
mod rules;
mod tool;

pub use backend::{Backend, BackendError, Variant};
pub use host::{Ipv6Choice, may_administer, uses_ipv6};
pub use install::{Found, InstallError, Installed, found, install, remove, script, verify};
pub use plan::{Mode, OWN_PORTS, Plan, ProxyUser};
pub use ranges::{Addresses, Network, PortRange, Ports, Which};
pub use rules::{Block, Difference, Rules};
pub use tool::ToolError;

#[cfg(test)]
mod tests;
