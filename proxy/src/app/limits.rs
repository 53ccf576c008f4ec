//! Bounds as the command line gives them.

use std::num::NonZero;
use std::time::Duration;

use clap::Args;
use weft_config::bootstrap::overload::Overload;
use weft_config::byte_size;
use weft_config::gateway_api::Span;

use super::bounds::HttpBoundArgs;
use super::mesh::OutboundLimits;
use crate::tunnel::TunnelLimits;

/// Bounds of the proxy.
#[derive(Clone, Debug, Default, Args)]
pub struct LimitArgs {
    /// Budget of resident memory, as 64Mi, or none: from 90 % of it on new connections are closed, from 95 % on new requests
    /// are answered 503 [default: the memory limit of the control group, or what the bootstrap says]
    #[arg(long, env = "WEFT_MEMORY_MAX", value_name = "BYTES", value_parser = memory)]
    pub memory_max: Option<MemoryMax>,
    /// Downstream connections open at once [default: as many as descriptors and memory allow, or what the bootstrap says]
    #[arg(long, env = "WEFT_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<NonZero<u64>>,
    /// Bytes of a request head that the application sends, 1Ki to 8Mi [default: 60Ki]
    #[arg(long, env = "WEFT_HEADER_BYTES_MAX", value_name = "BYTES", value_parser = header_bytes, conflicts_with = "bootstrap")]
    pub header_bytes_max: Option<usize>,
    /// Fields of such a head [default: 100]
    #[arg(long, env = "WEFT_HEADER_COUNT_MAX", value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          conflicts_with = "bootstrap")]
    pub header_count_max: Option<u16>,
    /// Bytes held for a side that does not take them, per direction of such a request, 4Ki to 1Gi [default: 64Ki]
    #[arg(long, env = "WEFT_BUFFER_BYTES_MAX", value_name = "BYTES", value_parser = buffer_bytes, conflicts_with = "bootstrap")]
    pub buffer_bytes_max: Option<usize>,
    /// How long a connection of the application may be silent before it counts as opaque, 1ms to 1m [default: 100ms]
    #[arg(long, env = "WEFT_DETECTION_TIMEOUT", value_name = "DURATION", value_parser = detection_timeout,
          conflicts_with = "bootstrap")]
    pub detection_timeout: Option<Duration>,
    /// Silence that ends a tunnel (TCP, CONNECT, WebSocket) of which a side has closed, 1ms to 24h [default: 1m]
    #[arg(long, env = "WEFT_HALF_CLOSED_TIMEOUT", value_name = "DURATION", value_parser = half_closed_timeout)]
    pub half_closed_timeout: Option<Duration>,
    /// What peers may do for nothing.
    #[command(flatten)]
    pub http: HttpBoundArgs,
}

/// A budget of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMax {
    /// So many bytes.
    Bytes(NonZero<u64>),
    /// None, whatever the control group or the bootstrap says.
    None,
}

impl LimitArgs {
    /// When load is shed: what was said elsewhere, but for what the command line says.
    pub(super) fn overload(&self, said: Overload) -> Overload {
        let mut overload = match self.memory_max {
            Some(MemoryMax::Bytes(bytes)) => said.with_memory(Some(bytes)),
            Some(MemoryMax::None) => said.with_memory(None),
            None => said,
        };
        if self.connections_max.is_some() {
            overload.connections_max = self.connections_max;
        }
        overload
    }

    /// Bounds on the tunnels of a worker.
    pub(super) fn tunnel(&self) -> TunnelLimits {
        let default = TunnelLimits::default();
        TunnelLimits {
            half_closed_timeout: self
                .half_closed_timeout
                .unwrap_or(default.half_closed_timeout),
            ..default
        }
    }

    /// Bounds of the outbound listener.
    pub(super) fn outbound(&self) -> OutboundLimits {
        let default = OutboundLimits::default();
        let header_count_max = self.header_count_max.map(usize::from);
        OutboundLimits {
            header_bytes_max: self.header_bytes_max.unwrap_or(default.header_bytes_max),
            header_count_max: header_count_max.unwrap_or(default.header_count_max),
            buffer_bytes_max: self.buffer_bytes_max.unwrap_or(default.buffer_bytes_max),
            detection_timeout: self.detection_timeout.unwrap_or(default.detection_timeout),
        }
    }
}

/// A size, or `none`; 0 would be a budget that nothing fits into, and is not taken for none.
fn memory(text: &str) -> Result<MemoryMax, String> {
    if text == "none" {
        return Ok(MemoryMax::None);
    }
    let bytes = NonZero::new(byte_size::parse(text)?);
    let bytes = bytes.ok_or("must be above 0, or `none` for no budget, got 0")?;
    Ok(MemoryMax::Bytes(bytes))
}

fn header_bytes(text: &str) -> Result<usize, String> {
    bytes_within(text, 1 << 10, 8 << 20, "from 1Ki to 8Mi")
}

fn buffer_bytes(text: &str) -> Result<usize, String> {
    bytes_within(text, 4 << 10, 1 << 30, "from 4Ki to 1Gi")
}

fn bytes_within(text: &str, min: usize, max: usize, rule: &str) -> Result<usize, String> {
    let bytes = usize::try_from(byte_size::parse(text)?).ok();
    let within = bytes.filter(|bytes| (min..=max).contains(bytes));
    within.ok_or_else(|| format!("must be {rule}, got {text}"))
}

fn detection_timeout(text: &str) -> Result<Duration, String> {
    timeout_within(text, Duration::from_secs(60), "from 1ms to 1m")
}

fn half_closed_timeout(text: &str) -> Result<Duration, String> {
    timeout_within(text, Duration::from_secs(24 * 3600), "from 1ms to 24h")
}

fn timeout_within(text: &str, longest: Duration, rule: &str) -> Result<Duration, String> {
    let timeout = Span::parse(text)?.duration();
    match !timeout.is_zero() && timeout <= longest {
        true => Ok(timeout),
        false => Err(format!("must be {rule}, got {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn sizes_and_times_are_within_their_bounds() {
        assert_eq!(memory("none"), Ok(MemoryMax::None));
        let budget = NonZero::new(64 * MIB).unwrap();
        assert_eq!(memory("64Mi"), Ok(MemoryMax::Bytes(budget)));
        for wrong in ["0", "0Mi", "off", "", "-1", "1.5Gi"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
        assert_eq!(header_bytes("1Ki"), Ok(1024));
        assert_eq!(header_bytes("8Mi"), Ok(8 << 20));
        assert_eq!(
            header_bytes("1023"),
            Err("must be from 1Ki to 8Mi, got 1023".to_owned())
        );
        assert!(header_bytes("8388609").is_err());
        assert_eq!(buffer_bytes("4Ki"), Ok(4096));
        assert!(buffer_bytes("4095").is_err() && buffer_bytes("2Gi").is_err());
        let timeout = detection_timeout("1m");
        assert_eq!(timeout, Ok(Duration::from_secs(60)));
        assert!(detection_timeout("0s").is_err() && detection_timeout("1m1ms").is_err());
        assert_eq!(half_closed_timeout("5s"), Ok(Duration::from_secs(5)));
        assert!(half_closed_timeout("0s").is_err() && half_closed_timeout("25h").is_err());
    }

    #[test]
    fn the_command_line_goes_before_what_was_said_elsewhere() {
        let said = Overload {
            connections_max: NonZero::new(7),
            ..Overload::default().with_memory(NonZero::new(MIB))
        };
        let nothing = LimitArgs::default();
        assert_eq!(nothing.overload(said.clone()), said);
        let more = LimitArgs {
            memory_max: Some(memory("2Mi").unwrap()),
            connections_max: NonZero::new(9),
            ..LimitArgs::default()
        };
        let overload = more.overload(said.clone());
        assert_eq!(overload.memory_bytes_max, NonZero::new(2 * MIB));
        assert_eq!(overload.connections_max, NonZero::new(9));
        assert_eq!(overload.triggers, said.triggers);
        let off = LimitArgs {
            memory_max: Some(MemoryMax::None),
            ..LimitArgs::default()
        };
        assert_eq!(off.overload(said).memory_bytes_max, None);
    }

    #[test]
    fn what_is_not_said_of_the_outbound_listener_has_its_default() {
        assert_eq!(LimitArgs::default().outbound(), OutboundLimits::default());
        let args = LimitArgs {
            header_bytes_max: Some(2048),
            header_count_max: Some(7),
            buffer_bytes_max: Some(8192),
            detection_timeout: Some(Duration::from_secs(1)),
            half_closed_timeout: Some(Duration::from_secs(2)),
            ..LimitArgs::default()
        };
        let outbound = args.outbound();
        assert_eq!(
            (outbound.header_bytes_max, outbound.header_count_max),
            (2048, 7)
        );
        assert_eq!(outbound.buffer_bytes_max, 8192);
        assert_eq!(outbound.detection_timeout, Duration::from_secs(1));
        assert_eq!(args.tunnel().half_closed_timeout, Duration::from_secs(2));
        assert_eq!(LimitArgs::default().tunnel(), TunnelLimits::default());
    }
}
