//! What can be learnt of this machine without changing it.

use rustix::thread::{CapabilitySet, capabilities};

/// Whether IPv6 is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Choice {
    /// Where this network namespace has it.
    Auto,
    /// It is.
    On,
    /// It is left alone: connections over it pass the proxy by.
    Off,
}

impl Ipv6Choice {
    /// What it comes to here.
    pub fn decide(self) -> bool {
        match self {
            Self::Auto => uses_ipv6(),
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// Whether this network namespace has an address of IPv6, be it the loopback's alone: others may come at any time.
pub fn uses_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|listing| !listing.trim().is_empty())
}

/// Whether this process has `CAP_NET_ADMIN`. Whether it is that of this network namespace, the kernel says when asked.
pub fn may_administer() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::NET_ADMIN))
}
