//! How HTTP/2 connections are held, on either side (`Http2ProtocolOptions`).

use std::time::Duration;

use weft_xds_proto::pb::envoy::config::core::v3 as core;

use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{optional_duration, positive_duration};

/// The greatest window (RFC 9113 §6.9.1), and the greatest number of streams.
const SIGNED_MAX: u32 = i32::MAX.unsigned_abs();

/// The least window that may be asked for, as in Envoy: what every connection begins with.
const WINDOW_MIN: u32 = 65_535;

/// A table beyond this would cost every connection more than it saves.
const HEADER_TABLE_BYTES_MAX: u32 = 65_536;

/// Bounds on an HTTP/2 connection, and how it is kept alive. Names in parentheses are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Http2Options {
    /// Streams open at once. From 1 to 2^31-1, default 1,024 (`max_concurrent_streams`). Towards an endpoint, what it allows
    /// counts too.
    pub streams_max: u32,
    /// Bytes of a stream that may wait for whoever takes them. From 65,535 to 2^31-1, default 65,535; in Envoy 16 MiB
    /// (`initial_stream_window_size`).
    pub stream_window_bytes: u32,
    /// Bytes under way on all streams of a connection. From 65,535 to 2^31-1, default 1 MiB; in Envoy 24 MiB
    /// (`initial_connection_window_size`).
    pub connection_window_bytes: u32,
    /// Bytes of the table that compresses what the peer sends. At most 65,536, default 4,096 (`hpack_table_size`).
    pub header_table_bytes: u32,
    /// Whether WebSockets may be opened by extended CONNECT (RFC 8441): by peers that come to us, or at endpoints that take it.
    /// Default false (`allow_connect`).
    pub allow_connect: bool,
    /// Answers to the peer's own frames that may wait to be written. Above 0, default 1,000 (`max_outbound_control_frames`).
    pub control_frames_max: u32,
    /// Frames in a row that carry nothing and end nothing, for each open stream. Default 1 (`max_consecutive_inbound_frames_with_empty_payload`).
    pub empty_frames_max: u32,
    /// PRIORITY frames for each stream. Default 100 (`max_inbound_priority_frames_per_stream`).
    pub priority_frames_per_stream_max: u32,
    /// WINDOW_UPDATE frames for each DATA frame sent. Above 0, default 10
    /// (`max_inbound_window_update_frames_per_data_frame_sent`).
    pub window_updates_per_data_frame_max: u32,
    /// Asking the peer for a sign of life; `None`: never, the default (`connection_keepalive`).
    pub keepalive: Option<Http2Keepalive>,
}

/// When a peer is asked for a sign of life by PING, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Http2Keepalive {
    /// Time between two questions. At least 1 ms.
    pub interval: Duration,
    /// Time for the answer, after which the connection is closed. At least 1 ms.
    pub timeout: Duration,
    /// The share of the interval, percent, that is added at random at most. Default 15.
    pub jitter_percent: f64,
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            streams_max: 1024,
            stream_window_bytes: WINDOW_MIN,
            connection_window_bytes: 1024 * 1024,
            header_table_bytes: 4096,
            allow_connect: false,
            control_frames_max: 1000,
            empty_frames_max: 1,
            priority_frames_per_stream_max: 100,
            window_updates_per_data_frame_max: 10,
            keepalive: None,
        }
    }
}

impl Http2Options {
    /// Reads what is given; the rest is the default.
    pub(crate) fn parse(
        proto: Option<&core::Http2ProtocolOptions>,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut options = Self::default();
        let Some(proto) = proto else {
            return options;
        };
        warn_ignored(proto, at, diag);
        let windows = (WINDOW_MIN, SIGNED_MAX);
        let mut set = |place: &mut u32, given: Option<u32>, name, (min, max): (u32, u32)| {
            let Some(given) = given else { return };
            if (min..=max).contains(&given) {
                *place = given;
            } else {
                let rule = format!("must be from {min} to {max}, got {given}");
                diag.fault(at.field(name), rule);
            }
        };
        set(
            &mut options.streams_max,
            proto.max_concurrent_streams.map(|it| it.value),
            "max_concurrent_streams",
            (1, SIGNED_MAX),
        );
        set(
            &mut options.stream_window_bytes,
            proto.initial_stream_window_size.map(|it| it.value),
            "initial_stream_window_size",
            windows,
        );
        set(
            &mut options.connection_window_bytes,
            proto.initial_connection_window_size.map(|it| it.value),
            "initial_connection_window_size",
            windows,
        );
        set(
            &mut options.control_frames_max,
            proto.max_outbound_control_frames.map(|it| it.value),
            "max_outbound_control_frames",
            (1, u32::MAX),
        );
        set(
            &mut options.empty_frames_max,
            proto
                .max_consecutive_inbound_frames_with_empty_payload
                .map(|it| it.value),
            "max_consecutive_inbound_frames_with_empty_payload",
            (0, u32::MAX),
        );
        set(
            &mut options.priority_frames_per_stream_max,
            proto
                .max_inbound_priority_frames_per_stream
                .map(|it| it.value),
            "max_inbound_priority_frames_per_stream",
            (0, u32::MAX),
        );
        set(
            &mut options.window_updates_per_data_frame_max,
            proto
                .max_inbound_window_update_frames_per_data_frame_sent
                .map(|it| it.value),
            "max_inbound_window_update_frames_per_data_frame_sent",
            (1, u32::MAX),
        );
        if let Some(given) = proto.hpack_table_size {
            options.header_table_bytes = given.value.min(HEADER_TABLE_BYTES_MAX);
            if given.value > HEADER_TABLE_BYTES_MAX {
                // A smaller table does what a larger one does.
                let got = given.value;
                let rule = format!("counts as {HEADER_TABLE_BYTES_MAX}, the most, got {got}");
                diag.warn(at.field("hpack_table_size"), rule);
            }
        }
        options.allow_connect = proto.allow_connect;
        let keepalive = proto.connection_keepalive.as_ref();
        options.keepalive = keepalive
            .and_then(|it| Http2Keepalive::parse(it, &at.field("connection_keepalive"), diag));
        options
    }
}

fn warn_ignored(proto: &core::Http2ProtocolOptions, at: &FieldPath, diag: &mut Diagnostics) {
    let mut ignored = |name: &str, given: bool, why: &str| {
        if given {
            diag.warn(at.field(name), why);
        }
    };
    let not_yet = "is not supported yet and ignored";
    ignored("allow_metadata", proto.allow_metadata, not_yet);
    let settings = !proto.custom_settings_parameters.is_empty();
    ignored("custom_settings_parameters", settings, not_yet);
    ignored(
        "max_outbound_frames",
        proto.max_outbound_frames.is_some(),
        "is ignored: what waits to be written is bounded in bytes",
    );
    ignored(
        "max_header_field_size_kb",
        proto.max_header_field_size_kb.is_some(),
        "is ignored: a field is bounded by the bound on its head",
    );
    ignored(
        "stream_reset_burst",
        proto.stream_reset_burst.is_some() || proto.stream_reset_rate.is_some(),
        "is ignored: a connection ends when half of its streams, and 250 at least, were reset before their answer; the runtime \
         key overload.premature_reset_total_stream_count says otherwise",
    );
    let closes = proto.override_stream_error_on_invalid_http_message;
    ignored(
        "override_stream_error_on_invalid_http_message",
        closes.is_some_and(|it| !it.value),
        "is ignored: a malformed message ends its own stream and no other",
    );
    ignored(
        "enable_huffman_encoding",
        proto.enable_huffman_encoding.is_some_and(|it| !it.value),
        "is ignored: what is shorter so is always encoded by Huffman",
    );
    ignored(
        "max_metadata_size",
        proto.max_metadata_size.is_some(),
        "is ignored: METADATA frames are not supported",
    );
    ignored(
        "use_oghttp2_codec",
        proto.use_oghttp2_codec.is_some(),
        "is ignored: there is one codec",
    );
    ignored(
        "disallow_obs_text",
        proto.disallow_obs_text.is_some_and(|it| it.value),
        not_yet,
    );
}

impl Http2Keepalive {
    fn parse(
        proto: &core::KeepaliveSettings,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        if proto.connection_idle_interval.is_some() {
            diag.warn(
                at.field("connection_idle_interval"),
                "is not supported yet and ignored",
            );
        }
        let timeout = positive_duration(&proto.timeout, at, "timeout", diag);
        if proto.timeout.is_none() {
            diag.fault(at.field("timeout"), "is missing");
        }
        let interval = optional_duration(&proto.interval, at, "interval", diag)?;
        let jitter_percent = proto.interval_jitter.map_or(15.0, |it| it.value);
        if !(0.0..=100.0).contains(&jitter_percent) {
            let rule = format!("must be from 0 to 100, got {jitter_percent}");
            diag.fault(at.field("interval_jitter"), rule);
        }
        // Zero turns it off.
        (!interval.is_zero()).then_some(Self {
            interval: interval.max(Duration::from_millis(1)),
            timeout: timeout?.max(Duration::from_millis(1)),
            jitter_percent,
        })
    }
}

#[cfg(test)]
mod tests {
    use weft_xds_proto::pb::google::protobuf as wkt;

    use super::*;

    fn read(proto: &core::Http2ProtocolOptions) -> (Http2Options, Vec<String>) {
        let mut diag = Diagnostics::new();
        let options = Http2Options::parse(Some(proto), &FieldPath::root(), &mut diag);
        let found = diag.findings().iter().map(ToString::to_string).collect();
        (options, found)
    }

    #[test]
    fn what_is_given_is_in_force_and_the_rest_is_the_default() {
        let (options, found) = read(&core::Http2ProtocolOptions {
            max_concurrent_streams: Some(wkt::UInt32Value { value: 9 }),
            hpack_table_size: Some(wkt::UInt32Value { value: 65_536 }),
            allow_connect: true,
            connection_keepalive: Some(core::KeepaliveSettings {
                interval: Some(wkt::Duration {
                    seconds: 30,
                    nanos: 0,
                }),
                timeout: Some(wkt::Duration {
                    seconds: 5,
                    nanos: 0,
                }),
                ..Default::default()
            }),
            ..Default::default()
        });
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(
            options,
            Http2Options {
                streams_max: 9,
                header_table_bytes: 65_536,
                allow_connect: true,
                keepalive: Some(Http2Keepalive {
                    interval: Duration::from_secs(30),
                    timeout: Duration::from_secs(5),
                    jitter_percent: 15.0,
                }),
                ..Http2Options::default()
            }
        );
    }

    #[test]
    fn what_changes_nothing_is_warned_of() {
        let yes = Some(wkt::BoolValue { value: true });
        let no = Some(wkt::BoolValue { value: false });
        let (options, found) = read(&core::Http2ProtocolOptions {
            hpack_table_size: Some(wkt::UInt32Value { value: 1_000_000 }),
            enable_huffman_encoding: no,
            max_metadata_size: Some(wkt::UInt64Value { value: 1 }),
            use_oghttp2_codec: no,
            disallow_obs_text: yes,
            ..Default::default()
        });
        assert_eq!(
            found,
            [
                "enable_huffman_encoding: is ignored: what is shorter so is always encoded by Huffman",
                "max_metadata_size: is ignored: METADATA frames are not supported",
                "use_oghttp2_codec: is ignored: there is one codec",
                "disallow_obs_text: is not supported yet and ignored",
                "hpack_table_size: counts as 65536, the most, got 1000000",
            ]
        );
        assert_eq!(options.header_table_bytes, 65_536);
        let (_, found) = read(&core::Http2ProtocolOptions {
            enable_huffman_encoding: yes,
            disallow_obs_text: no,
            ..Default::default()
        });
        assert_eq!(found, Vec::<String>::new(), "that is how it is");
    }

    #[test]
    fn what_no_connection_can_have_is_refused_with_place_and_rule() {
        let (_, found) = read(&core::Http2ProtocolOptions {
            max_concurrent_streams: Some(wkt::UInt32Value { value: 0 }),
            initial_stream_window_size: Some(wkt::UInt32Value { value: 65_534 }),
            initial_connection_window_size: Some(wkt::UInt32Value { value: 1 << 31 }),
            max_outbound_control_frames: Some(wkt::UInt32Value { value: 0 }),
            connection_keepalive: Some(core::KeepaliveSettings::default()),
            allow_metadata: true,
            ..Default::default()
        });
        assert_eq!(
            found,
            [
                "allow_metadata: is not supported yet and ignored",
                "max_concurrent_streams: must be from 1 to 2147483647, got 0",
                "initial_stream_window_size: must be from 65535 to 2147483647, got 65534",
                "initial_connection_window_size: must be from 65535 to 2147483647, got 2147483648",
                "max_outbound_control_frames: must be from 1 to 4294967295, got 0",
                "connection_keepalive.timeout: is missing",
            ]
        );
    }
}
