//! Small values of xDS messages, read strictly: durations, shares, addresses, names.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weft_xds_proto::any;
use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::r#type::v3 as kind;
use weft_xds_proto::pb::google::protobuf as wkt;

use crate::diag::{Diagnostics, FieldPath};

/// Seconds of the longest duration, by protobuf's own rule: some 10,000 years. Added to a clock it stays in range.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// A duration that is not negative.
pub(crate) fn duration(proto: &wkt::Duration) -> Result<Duration, String> {
    if proto.seconds > DURATION_SECONDS_MAX {
        return Err(format!(
            "must be at most {DURATION_SECONDS_MAX}s, got {}s",
            proto.seconds
        ));
    }
    let whole = u64::try_from(proto.seconds);
    let nanos = u32::try_from(proto.nanos)
        .ok()
        .filter(|n| *n < 1_000_000_000);
    match (whole, nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ if proto.seconds >= 0 && proto.nanos >= 1_000_000_000 => Err(format!(
            "has {} nanoseconds, more than a second",
            proto.nanos
        )),
        _ => Err(format!(
            "must not be negative, got {}s",
            proto.seconds as f64 + f64::from(proto.nanos) / 1e9
        )),
    }
}

/// The field `name`, a duration that is not negative; `None` where it is not given or wrong, which `diag` then says.
pub(crate) fn optional_duration(
    proto: &Option<wkt::Duration>,
    at: &FieldPath,
    name: &str,
    diag: &mut Diagnostics,
) -> Option<Duration> {
    diag.keep(at.field(name), duration(proto.as_ref()?))
}

/// As [`optional_duration`], and above zero.
pub(crate) fn positive_duration(
    proto: &Option<wkt::Duration>,
    at: &FieldPath,
    name: &str,
    diag: &mut Diagnostics,
) -> Option<Duration> {
    let value = optional_duration(proto, at, name, diag)?;
    if value.is_zero() {
        diag.fault(at.field(name), "must be above 0s, got 0s");
        return None;
    }
    Some(value)
}

/// A wrapped integer, or `default`.
pub(crate) fn u32_or(proto: &Option<wkt::UInt32Value>, default: u32) -> u32 {
    proto.as_ref().map_or(default, |it| it.value)
}

/// A wrapped bool, or `default`.
pub(crate) fn bool_or(proto: &Option<wkt::BoolValue>, default: bool) -> bool {
    proto.as_ref().map_or(default, |it| it.value)
}

/// A share as parts per million, at most all of them.
pub(crate) fn per_million(proto: &kind::FractionalPercent) -> Result<u32, String> {
    use kind::fractional_percent::DenominatorType;
    let factor = match DenominatorType::try_from(proto.denominator) {
        Ok(DenominatorType::Hundred) => 10_000,
        Ok(DenominatorType::TenThousand) => 100,
        Ok(DenominatorType::Million) => 1,
        Err(_) => return Err(format!("has no denominator {}", proto.denominator)),
    };
    Ok(proto.numerator.saturating_mul(factor).min(1_000_000))
}

/// The share of a runtime fraction: its default, since there is no runtime layer to look the key up in.
pub(crate) fn runtime_per_million(proto: &core::RuntimeFractionalPercent) -> Result<u32, String> {
    proto
        .default_value
        .as_ref()
        .map_or(Ok(1_000_000), per_million)
}

/// An IP address and port.
pub(crate) fn socket_addr(proto: &core::SocketAddress) -> Result<SocketAddr, String> {
    let port = port(proto)?;
    let ip: IpAddr = proto
        .address
        .parse()
        .map_err(|_| format!("{:?} is not an IP address", proto.address))?;
    Ok(SocketAddr::new(ip, port))
}

/// The number of a TCP port; 0 where it is 0.
pub(crate) fn port(proto: &core::SocketAddress) -> Result<u16, String> {
    use core::socket_address::{PortSpecifier, Protocol};
    if proto.protocol != Protocol::Tcp as i32 {
        return Err("only TCP is supported".to_owned());
    }
    if !proto.network_namespace_filepath.is_empty() {
        return Err("other network namespaces are not supported".to_owned());
    }
    match &proto.port_specifier {
        Some(PortSpecifier::PortValue(port)) => {
            u16::try_from(*port).map_err(|_| format!("port must be at most 65535, got {port}"))
        }
        Some(PortSpecifier::NamedPort(name)) => {
            Err(format!("named ports are not supported, got {name:?}"))
        }
        None => Err("has no port_value".to_owned()),
    }
}

/// The message in `packed`, whose type is known to be `M`'s.
pub(crate) fn unpack<M: prost::Name + Default>(
    packed: &wkt::Any,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<M> {
    diag.keep(at.clone(), any::unpack(packed))
}

/// The name of the message type in a type URL: what follows the last slash.
pub(crate) fn type_name(packed: &wkt::Any) -> &str {
    packed
        .type_url
        .rsplit_once('/')
        .map_or(packed.type_url.as_str(), |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_no_clock_can_add_is_refused() {
        let of = |seconds, nanos| duration(&wkt::Duration { seconds, nanos });
        let longest = of(DURATION_SECONDS_MAX, 999_999_999).expect("the longest");
        assert!(std::time::UNIX_EPOCH.checked_add(longest).is_some());
        for seconds in [DURATION_SECONDS_MAX + 1, i64::MAX] {
            let fault = of(seconds, 0).expect_err("too long");
            assert_eq!(
                fault,
                format!("must be at most 315576000000s, got {seconds}s")
            );
        }
        assert!(of(-1, 0).is_err() && of(0, -1).is_err() && of(0, 1_000_000_000).is_err());
    }
}
