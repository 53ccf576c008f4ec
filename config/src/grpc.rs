//! What gRPC puts into HTTP: its content type and its status, and what HTTP makes of a status.

/// Whether a message of this content type is gRPC: `application/grpc`, alone or with `+` and an encoding, and whatever
/// parameters. Not gRPC-Web, which frames its trailers into the body.
///
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, `Content-Type`; media types know no case (RFC 9110
/// §8.3.1).
pub fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some((start, rest)) = content_type.split_at_checked(TYPE.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(TYPE) && matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..])
}

/// How a call ended, as `grpc-status` tells it: from 0 to 16 where the sender keeps to the list.
///
/// <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcStatus(u32);

impl GrpcStatus {
    /// It went well.
    pub const OK: Self = Self(0);
    /// The caller gave it up.
    pub const CANCELLED: Self = Self(1);
    /// Whoever failed did not say how.
    pub const UNKNOWN: Self = Self(2);
    /// Its time was over.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// A quota is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Nobody serves it now.
    pub const UNAVAILABLE: Self = Self(14);

    /// How many statuses have a name.
    pub const COUNT: usize = STATUSES.len();

    /// Reads the value of `grpc-status`. What is not a number counts as `UNKNOWN`, as clients take it.
    pub fn read(value: &[u8]) -> Self {
        let digits = value.trim_ascii();
        let number = std::str::from_utf8(digits)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok());
        number.map_or(Self::UNKNOWN, Self)
    }

    /// What a caller takes an HTTP answer without a gRPC status for.
    ///
    /// <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
    pub fn of_http(status: u16) -> Self {
        Self(match status {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    }

    /// The HTTP status that says the same, as Envoy judges endpoints by it; 500 for what has no name.
    ///
    /// <https://cloud.google.com/apis/design/errors#handling_errors>
    pub fn as_http(self) -> u16 {
        self.entry().map_or(500, |(_, _, http)| *http)
    }

    /// Whether the server is to blame: `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`, `INTERNAL`, `UNAVAILABLE`,
    /// `DATA_LOSS`, and what has no name.
    ///
    /// These are the ones that OpenTelemetry's conventions for gRPC have a server's span marked as an error for, and
    /// the ones that Envoy counts as 5xx.
    pub fn is_server_error(self) -> bool {
        self.as_http() >= 500
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// As gRPC writes it: `DEADLINE_EXCEEDED`. `None` for what has no name.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(name, _, _)| *name)
    }

    /// As Envoy's access log writes it: `DeadlineExceeded`. `None` for what has no name.
    pub fn camel_name(self) -> Option<&'static str> {
        self.entry().map(|(_, camel, _)| *camel)
    }

    /// All that have a name, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).take(Self::COUNT).map(Self)
    }

    fn entry(self) -> Option<&'static (&'static str, &'static str, u16)> {
        STATUSES.get(usize::try_from(self.0).ok()?)
    }
}

impl From<u8> for GrpcStatus {
    fn from(number: u8) -> Self {
        Self(number.into())
    }
}

/// Names in gRPC and in Envoy's access log, and the HTTP status that says the same.
const STATUSES: [(&str, &str, u16); 17] = [
    ("OK", "OK", 200),
    ("CANCELLED", "Canceled", 499),
    ("UNKNOWN", "Unknown", 500),
    ("INVALID_ARGUMENT", "InvalidArgument", 400),
    ("DEADLINE_EXCEEDED", "DeadlineExceeded", 504),
    ("NOT_FOUND", "NotFound", 404),
    ("ALREADY_EXISTS", "AlreadyExists", 409),
    ("PERMISSION_DENIED", "PermissionDenied", 403),
    ("RESOURCE_EXHAUSTED", "ResourceExhausted", 429),
    ("FAILED_PRECONDITION", "FailedPrecondition", 400),
    ("ABORTED", "Aborted", 409),
    ("OUT_OF_RANGE", "OutOfRange", 400),
    ("UNIMPLEMENTED", "Unimplemented", 501),
    ("INTERNAL", "Internal", 500),
    ("UNAVAILABLE", "Unavailable", 503),
    ("DATA_LOSS", "DataLoss", 500),
    ("UNAUTHENTICATED", "Unauthenticated", 401),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type_and_grpc_web_is_not_grpc() {
        for yes in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "application/grpc ; a=b",
            "Application/gRPC+JSON",
        ] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in [
            "",
            "application/grp",
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
            "application/grpcx",
            "text/plain; application/grpc",
        ] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn a_status_that_is_no_number_is_unknown_and_a_number_without_a_name_stays_one() {
        for bad in ["", "-1", "+1", "1.0", "OK", "0x1", "99999999999"] {
            assert_eq!(
                GrpcStatus::read(bad.as_bytes()),
                GrpcStatus::UNKNOWN,
                "{bad}"
            );
        }
        assert_eq!(GrpcStatus::read(b" 14 "), GrpcStatus::UNAVAILABLE);
        let odd = GrpcStatus::read(b"17");
        assert_eq!((odd.number(), odd.name(), odd.as_http()), (17, None, 500));
    }

    #[test]
    fn the_server_is_to_blame_for_six_of_them() {
        let blamed = GrpcStatus::all().filter(|status| status.is_server_error());
        let names: Vec<_> = blamed.filter_map(GrpcStatus::name).collect();
        assert_eq!(
            names,
            [
                "UNKNOWN",
                "DEADLINE_EXCEEDED",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS"
            ]
        );
    }
}
