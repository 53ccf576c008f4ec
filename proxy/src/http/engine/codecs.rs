//! Codecs as the configuration wants them, and what they say of the bounds that were met.

use weft_config::cluster as config;
use weft_config::http2::Http2Options;
use weft_config::listener::HttpLimits;

use crate::detect::Protocol;
use crate::http::bounds::Bounds;
use crate::http::codec::h1::{self, H1Limits};
use crate::http::codec::h2::{self, H2Limits, Hit};
use crate::http::codec::{Codec, ProtocolError};
use crate::listener::ConnectionFacts;
use crate::telemetry::Limit;
use crate::tls::TlsFacts;

/// The codec of a connection from a peer, by what its first bytes said.
pub(super) fn of_downstream(
    facts: &ConnectionFacts,
    limits: &HttpLimits,
    bounds: &Bounds,
) -> Codec {
    let header_bytes_max = u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX);
    let header_count_max = u32::try_from(limits.header_count_max).unwrap_or(u32::MAX);
    match facts.protocol {
        Some(Protocol::Http2) => {
            let mut conn = h2::Conn::server(H2Limits {
                header_bytes_max,
                header_count_max,
                ..h2_limits(&limits.http2, bounds)
            });
            if facts.tls.as_ref().is_some_and(|tls| tls.tells_spelling()) {
                conn.tell_spelling();
            }
            Codec::H2(Box::new(conn))
        }
        _ => Codec::H1(h1::Conn::server(H1Limits {
            header_bytes_max,
            header_count_max,
            ..h1_limits(bounds)
        })),
    }
}

/// The codec of a connection to an endpoint.
///
/// `streams` is what the endpoint took at once over its last connection, which is what it will say again.
pub(super) fn of_upstream(
    http2: bool,
    streams: usize,
    tls: Option<&TlsFacts>,
    cluster: &config::Cluster,
    bounds: &Bounds,
) -> Codec {
    if http2 {
        let limits = h2_limits(&cluster.http2, bounds);
        let mut conn = h2::Conn::client(limits);
        conn.expect_streams(u32::try_from(streams).unwrap_or(u32::MAX));
        if tls.is_some_and(TlsFacts::tells_spelling) {
            conn.tell_spelling();
        }
        Codec::H2(Box::new(conn))
    } else {
        Codec::H1(h1::Conn::client(h1_limits(bounds)))
    }
}

fn h1_limits(bounds: &Bounds) -> H1Limits {
    H1Limits {
        interim_max: bounds.interims_max,
        ..H1Limits::default()
    }
}

fn h2_limits(options: &Http2Options, bounds: &Bounds) -> H2Limits {
    H2Limits {
        streams_max: options.streams_max,
        stream_window: options.stream_window_bytes,
        connection_window: options.connection_window_bytes,
        header_table_bytes: options.header_table_bytes,
        connect_protocol: options.allow_connect,
        control_frames_max: options.control_frames_max,
        empty_frames_max: options.empty_frames_max,
        priority_frames_per_stream_max: options.priority_frames_per_stream_max,
        window_updates_per_data_frame_max: options.window_updates_per_data_frame_max,
        interim_max: bounds.interims_max,
        continuations_max: bounds.continuations_max,
        premature_reset_streams_min: bounds.premature_reset_streams_min,
        provoked_resets_max: bounds.provoked_resets_max,
        closed_stream_frames_max: bounds.closed_stream_frames_max,
        unknown_frames_max: bounds.unknown_frames_max,
        ..H2Limits::default()
    }
}

/// The bound that a peer met, where that is what it did wrong on an HTTP/1 connection.
pub(super) fn bound_met(error: ProtocolError) -> Option<Limit> {
    match error {
        ProtocolError::RequestLineTooLong
        | ProtocolError::HeadTooLarge
        | ProtocolError::TrailersTooLarge => Some(Limit::HeaderBytes),
        ProtocolError::TooManyFields => Some(Limit::HeaderCount),
        ProtocolError::TooManyInterims => Some(Limit::Interims),
        _ => None,
    }
}

/// The bound that a peer met on an HTTP/2 connection.
pub(super) fn limit_of(hit: Hit) -> Limit {
    match hit {
        Hit::Streams => Limit::Http2Streams,
        Hit::HeaderBytes | Hit::Trailers => Limit::HeaderBytes,
        Hit::HeaderCount => Limit::HeaderCount,
        Hit::Continuations => Limit::Http2Continuations,
        Hit::Interims => Limit::Interims,
        Hit::EmptyFrames => Limit::Http2EmptyFrames,
        Hit::Priorities => Limit::Http2PriorityFrames,
        Hit::WindowUpdates => Limit::Http2WindowUpdates,
        Hit::ControlFrames => Limit::Http2ControlFrames,
        Hit::PrematureResets => Limit::Http2PrematureResets,
        Hit::ProvokedResets => Limit::Http2ProvokedResets,
        Hit::ClosedStreams => Limit::Http2ClosedStreamFrames,
        Hit::UnknownFrames => Limit::Http2UnknownFrames,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_configuration_are_those_of_the_codecs() {
        let bounds = Bounds::default();
        let h2 = h2_limits(&Http2Options::default(), &bounds);
        // What is asked for by name in configuration.
        let connect_protocol = false;
        let default = H2Limits {
            connect_protocol,
            ..H2Limits::default()
        };
        assert_eq!(h2, default);
        assert_eq!(h1_limits(&bounds), H1Limits::default());
        let limits = HttpLimits::default();
        assert_eq!(
            limits.header_bytes_max as u64,
            u64::from(default.header_bytes_max)
        );
        assert_eq!(
            limits.header_count_max as u64,
            u64::from(default.header_count_max)
        );
    }
}
