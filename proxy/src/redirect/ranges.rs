//! Ports and networks as the command line gives them, in order and without overlap.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All, or only these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which<T> {
    /// All there are: `*`.
    All,
    /// These; none where it is empty: `none`.
    Only(T),
}

impl<T: FromStr<Err = String> + Default> FromStr for Which<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => Ok(Self::All),
            "none" => Ok(Self::Only(T::default())),
            _ => text.parse().map(Self::Only),
        }
    }
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be a port from 1 to 65535 or a range as 8000-8010, got {text:?}");
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (
            port(first).ok_or_else(wrong)?,
            port(last).ok_or_else(wrong)?,
        );
        if first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl PortRange {
    /// How it is written, with what stands between its ends.
    pub(super) fn written(self, between: char) -> String {
        if self.first == self.last {
            return self.first.to_string();
        }
        format!("{}{between}{}", self.first, self.last)
    }
}

/// Ports, in order; neighbours are one range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(Vec<PortRange>);

impl Ports {
    /// These ranges, merged.
    pub fn of(ranges: impl IntoIterator<Item = PortRange>) -> Self {
        let ranges = ranges
            .into_iter()
            .map(|it| (it.first.into(), it.last.into()));
        let port = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
        let merged = merge(ranges.collect());
        let merged = merged.into_iter().map(|(first, last)| PortRange {
            first: port(first),
            last: port(last),
        });
        Self(merged.collect())
    }

    /// These and those.
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// The ranges.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ranges: Result<Vec<PortRange>, String> = items(text).map(str::parse).collect();
        Ok(Self::of(ranges?))
    }
}

/// An address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// The first address; the bits behind the prefix are zero.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub length: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be an address or a network as 10.0.0.0/8 or fd00::/8, got {text:?}");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits(address);
        let length = match length {
            Some(length) => length.parse().ok().filter(|length| *length <= bits),
            None => Some(bits),
        };
        let length: u8 = length.ok_or_else(wrong)?;
        let network = Self { address, length };
        if network.first() != number(address) {
            let rule = "has bits behind its prefix";
            return Err(format!("{rule}, write {}, got {text:?}", network.masked()));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Network {
    fn masked(self) -> Self {
        let address = address(self.first(), self.address.is_ipv4());
        Self { address, ..self }
    }

    /// Bits behind the prefix, all set.
    fn rest(self) -> u128 {
        let free = bits(self.address).saturating_sub(self.length);
        1u128
            .checked_shl(free.into())
            .map_or(u128::MAX, |end| end - 1)
    }

    fn first(self) -> u128 {
        number(self.address) & !self.rest()
    }

    fn last(self) -> u128 {
        self.first() | self.rest()
    }
}

/// Networks of both families, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Vec<Network>);

impl Addresses {
    /// These; one that lies within another is left out.
    pub fn of(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut networks: Vec<Network> = networks.into_iter().collect();
        networks.sort_unstable();
        let mut kept: Vec<Network> = Vec::new();
        for network in networks {
            // Networks lie within each other or apart, and the wider one sorts first.
            let within = kept.last().is_some_and(|last| {
                last.address.is_ipv4() == network.address.is_ipv4() && network.last() <= last.last()
            });
            if !within {
                kept.push(network);
            }
        }
        Self(kept)
    }

    /// These and those.
    pub fn and(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// Those of one family.
    pub fn of_family(&self, ipv4: bool) -> impl Iterator<Item = Network> {
        let all = self.0.iter().copied();
        all.filter(move |network| network.address.is_ipv4() == ipv4)
    }

    /// Those of one family as nftables lists them: neighbours are one range, which is written as a network where it is one.
    pub(super) fn ranges(&self, ipv4: bool) -> Vec<String> {
        let ranges = self.of_family(ipv4).map(|it| (it.first(), it.last()));
        let merged = merge(ranges.collect());
        let written = |(first, last)| {
            let (first, last) = (address(first, ipv4), address(last, ipv4));
            let lengths = (0..=bits(first)).map(|length| Network {
                address: first,
                length,
            });
            let whole = |it: &Network| it.first() == number(first) && it.last() == number(last);
            match lengths.into_iter().find(whole) {
                Some(network) if network.length == bits(first) => first.to_string(),
                Some(network) => network.to_string(),
                None => format!("{first}-{last}"),
            }
        };
        merged.into_iter().map(written).collect()
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let networks: Result<Vec<Network>, String> = items(text).map(str::parse).collect();
        Ok(Self::of(networks?))
    }
}

/// The items of a list with commas; an empty text has none.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let items = text.split(',').map(str::trim);
    items.filter(move |_| !text.trim().is_empty())
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn address(number: u128, ipv4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(small) if ipv4 => Ipv4Addr::from(small).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// Ranges in order, those that overlap or touch made one.
fn merge(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}
