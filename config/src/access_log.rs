//! Access log formats: Envoy's command operators, compiled.
//!
//! The proxy renders what is compiled here, and the parsers of listeners call [`compile`] so that a format that
//! cannot be honoured is refused where it was written.

mod direction;

use std::sync::Arc;

/// One access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// File, or `/dev/stdout` and `/dev/stderr`.
    pub path: Arc<str>,
    /// How a line is written.
    pub format: AccessLogFormat,
}

/// How an access log line is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// Envoy's default line, then response flag reason.
    Text,
    /// One JSON object a line with Weft's own field names.
    Json,
    /// Envoy command operators in a text, compiled when the listener is built.
    Pattern(Arc<str>),
    /// Envoy command operators in the values of a flat JSON object.
    JsonPattern(Arc<[(String, String)]>),
}

/// A compiled format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// One line of text; ends in a line feed.
    Text(Vec<Part>),
    /// One JSON object a line: names and what their values are made of.
    Json(Vec<(String, Vec<Part>)>),
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Written as it is.
    Literal(String),
    /// Filled in.
    Value {
        /// With what.
        operator: Operator,
        /// Bytes at most; `None`: no bound but that of the line.
        bytes_max: Option<usize>,
    },
}

/// What is filled in. `-` stands for what is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `START_TIME`: when the head arrived, UTC with milliseconds.
    StartTime,
    /// `REQ(A?B)`: the request header A, or B where there is no A. Lower case.
    Request(String, Option<String>),
    /// `RESP(A?B)`: the response header A, or B where there is no A. Lower case.
    Response(String, Option<String>),
    /// `TRAILER(A?B)`: the field A behind the response's body, or B where there is no A. Lower case.
    Trailer(String, Option<String>),
    /// `GRPC_STATUS`: how a gRPC call ended; nothing for other requests.
    GrpcStatus(GrpcStatusForm),
    /// `PROTOCOL`: the downstream's.
    Protocol,
    /// `RESPONSE_CODE`: 0 where none was sent.
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`: why, in a word or a few.
    ResponseCodeDetails,
    /// `RESPONSE_FLAGS`: letters.
    ResponseFlags,
    /// `RESPONSE_FLAGS_LONG`: long names.
    ResponseFlagsLong,
    /// `BYTES_RECEIVED`: body bytes from the downstream.
    BytesReceived,
    /// `BYTES_SENT`: body bytes to the downstream.
    BytesSent,
    /// `DURATION`: milliseconds from the head to the end.
    Duration,
    /// `UPSTREAM_HOST`: address of the endpoint.
    UpstreamHost,
    /// `UPSTREAM_CLUSTER`: name of the cluster.
    UpstreamCluster,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`: attempts at endpoints.
    AttemptCount,
    /// `DOWNSTREAM_REMOTE_ADDRESS`, with port or without.
    RemoteAddress {
        /// Whether the port is written.
        port: bool,
    },
    /// `DOWNSTREAM_LOCAL_ADDRESS`, with port or without.
    LocalAddress {
        /// Whether the port is written.
        port: bool,
    },
    /// `DOWNSTREAM_LOCAL_PORT`.
    LocalPort,
    /// `ROUTE_NAME`.
    RouteName,
    /// What the handshake of an encrypted downstream connection has shown.
    Tls(TlsField),
}

/// What a handshake has shown. Several names are written with commas between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsField {
    /// `DOWNSTREAM_TLS_VERSION`: `TLSv1.3`.
    Version,
    /// `DOWNSTREAM_TLS_CIPHER`.
    Cipher,
    /// `REQUESTED_SERVER_NAME`: the name that the downstream asked for.
    ServerName,
    /// `DOWNSTREAM_PEER_URI_SAN`: the SPIFFE id of the downstream's certificate, mostly.
    PeerUri,
    /// `DOWNSTREAM_PEER_DNS_SAN`.
    PeerDns,
    /// `DOWNSTREAM_PEER_SUBJECT`.
    PeerSubject,
    /// `DOWNSTREAM_PEER_ISSUER`.
    PeerIssuer,
    /// `DOWNSTREAM_PEER_SERIAL`, in hexadecimal.
    PeerSerial,
    /// `DOWNSTREAM_PEER_FINGERPRINT_256`: SHA-256 in hexadecimal.
    PeerFingerprint,
    /// `DOWNSTREAM_LOCAL_URI_SAN`: of the certificate that we have shown.
    OwnUri,
}

/// How a gRPC status is written; one that has no name is its number in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcStatusForm {
    /// `CAMEL_STRING`: `DeadlineExceeded`. Where nothing is said.
    Camel,
    /// `SNAKE_STRING`: `DEADLINE_EXCEEDED`.
    Snake,
    /// `NUMBER`, and `GRPC_STATUS_NUMBER`: `4`.
    Number,
}

/// A format that cannot be used: what, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    message: String,
}

impl FormatError {
    fn new(message: String) -> Self {
        Self { message }
    }
}

/// Envoy's default line, and the reason after it.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
    %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
    \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
    \"%UPSTREAM_HOST%\" \"%RESPONSE_CODE_DETAILS%\"\n";

/// Weft's own field names.
const JSON: [(&str, &str); 22] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("grpc_status", "%GRPC_STATUS(SNAKE_STRING)%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("reason", "%RESPONSE_CODE_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration_ms", "%DURATION%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("route", "%ROUTE_NAME%"),
    ("downstream", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("downstream_peer", "%DOWNSTREAM_PEER_URI_SAN%"),
    ("local", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
];

/// Compiles the format of an access log.
///
/// # Errors
/// Operators that are unknown or not supported, by name; parentheses and percent signs that do not close.
pub fn compile(log: &AccessLog) -> Result<Compiled, FormatError> {
    let json = |name: &str, format: &str| Ok((name.to_owned(), parse(format)?));
    match &log.format {
        AccessLogFormat::Text => parse(TEXT).map(Compiled::Text),
        AccessLogFormat::Pattern(pattern) => parse(pattern).map(Compiled::Text),
        AccessLogFormat::Json => {
            let fields = JSON.iter().map(|(name, format)| json(name, format));
            fields.collect::<Result<_, _>>().map(Compiled::Json)
        }
        AccessLogFormat::JsonPattern(fields) => {
            let fields = fields.iter().map(|(name, format)| json(name, format));
            fields.collect::<Result<_, _>>().map(Compiled::Json)
        }
    }
}

/// Reads literals and `%OPERATOR(PARAMETERS):LENGTH%`; `%%` is a percent sign.
fn parse(format: &str) -> Result<Vec<Part>, FormatError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (command, after) = split_command(after)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(parse_command(command)?);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// Splits at the percent sign that ends a command; those in parentheses do not.
fn split_command(text: &str) -> Result<(&str, &str), FormatError> {
    let mut depth = 0u32;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '%' if depth == 0 => {
                let (command, after) = text.split_at(at);
                return Ok((command, after.strip_prefix('%').unwrap_or(after)));
            }
            _ => {}
        }
    }
    Err(FormatError::new(format!(
        "\"%{text}\" has no closing %; write %% for a percent sign"
    )))
}

fn parse_command(command: &str) -> Result<Part, FormatError> {
    let (head, bytes_max) = match command.rsplit_once(':') {
        Some((head, digits))
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let max = digits.parse();
            (
                head,
                Some(max.map_err(|_| {
                    FormatError::new(format!("%{command}%: length {digits} is too large"))
                })?),
            )
        }
        _ => (command, None),
    };
    let (name, parameters) = match head.split_once('(') {
        None => (head, None),
        Some((name, parameters)) => {
            let closed = parameters.strip_suffix(')');
            let inner = closed.ok_or_else(|| {
                FormatError::new(format!("%{command}%: a parenthesis does not close"))
            })?;
            (name, Some(inner))
        }
    };
    let operator = match (name, parameters) {
        ("REQ", Some(names)) => {
            let (first, second) = header_names(command, names)?;
            Operator::Request(first, second)
        }
        ("RESP", Some(names)) => {
            let (first, second) = header_names(command, names)?;
            Operator::Response(first, second)
        }
        ("TRAILER", Some(names)) => {
            let (first, second) = header_names(command, names)?;
            Operator::Trailer(first, second)
        }
        ("GRPC_STATUS", Some(form)) => Operator::GrpcStatus(grpc_status_form(command, form)?),
        ("REQ" | "RESP" | "TRAILER", None) => {
            return Err(FormatError::new(format!(
                "%{command}% needs a header name in parentheses"
            )));
        }
        (_, Some(parameters)) if !parameters.is_empty() => {
            let known = plain(name).is_some();
            let why = if known {
                "its parameters are not supported"
            } else {
                "not supported"
            };
            return Err(FormatError::new(format!("%{command}%: {why}")));
        }
        (name, _) => plain(name).ok_or_else(|| unknown(command, name))?,
    };
    Ok(Part::Value {
        operator,
        bytes_max,
    })
}

fn header_names(command: &str, names: &str) -> Result<(String, Option<String>), FormatError> {
    let check = |name: &str| {
        let token = name.strip_prefix(':').unwrap_or(name);
        if token.is_empty()
            || !token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(FormatError::new(format!(
                "%{command}%: {name:?} is not a header name"
            )));
        }
        Ok(name.to_ascii_lowercase())
    };
    match names.split_once('?') {
        Some((first, second)) => Ok((check(first)?, Some(check(second)?))),
        None => Ok((check(names)?, None)),
    }
}

fn grpc_status_form(command: &str, form: &str) -> Result<GrpcStatusForm, FormatError> {
    match form {
        "" | "CAMEL_STRING" => Ok(GrpcStatusForm::Camel),
        "SNAKE_STRING" => Ok(GrpcStatusForm::Snake),
        "NUMBER" => Ok(GrpcStatusForm::Number),
        _ => Err(FormatError::new(format!(
            "%{command}%: the form must be CAMEL_STRING, SNAKE_STRING or NUMBER, got {form:?}"
        ))),
    }
}

/// Operators that need no parameters.
const PLAIN: [(&str, Operator); 31] = [
    ("START_TIME", Operator::StartTime),
    ("GRPC_STATUS", Operator::GrpcStatus(GrpcStatusForm::Camel)),
    (
        "GRPC_STATUS_NUMBER",
        Operator::GrpcStatus(GrpcStatusForm::Number),
    ),
    ("PROTOCOL", Operator::Protocol),
    ("RESPONSE_CODE", Operator::ResponseCode),
    ("RESPONSE_CODE_DETAILS", Operator::ResponseCodeDetails),
    ("RESPONSE_FLAGS", Operator::ResponseFlags),
    ("RESPONSE_FLAGS_LONG", Operator::ResponseFlagsLong),
    ("BYTES_RECEIVED", Operator::BytesReceived),
    ("BYTES_SENT", Operator::BytesSent),
    ("DURATION", Operator::Duration),
    ("UPSTREAM_HOST", Operator::UpstreamHost),
    ("UPSTREAM_CLUSTER", Operator::UpstreamCluster),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Operator::AttemptCount),
    (
        "DOWNSTREAM_REMOTE_ADDRESS",
        Operator::RemoteAddress { port: true },
    ),
    (
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Operator::RemoteAddress { port: false },
    ),
    (
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
        Operator::RemoteAddress { port: true },
    ),
    (
        "DOWNSTREAM_LOCAL_ADDRESS",
        Operator::LocalAddress { port: true },
    ),
    (
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Operator::LocalAddress { port: false },
    ),
    ("DOWNSTREAM_LOCAL_PORT", Operator::LocalPort),
    ("ROUTE_NAME", Operator::RouteName),
    ("DOWNSTREAM_TLS_VERSION", Operator::Tls(TlsField::Version)),
    ("DOWNSTREAM_TLS_CIPHER", Operator::Tls(TlsField::Cipher)),
    ("REQUESTED_SERVER_NAME", Operator::Tls(TlsField::ServerName)),
    ("DOWNSTREAM_PEER_URI_SAN", Operator::Tls(TlsField::PeerUri)),
    ("DOWNSTREAM_PEER_DNS_SAN", Operator::Tls(TlsField::PeerDns)),
    (
        "DOWNSTREAM_PEER_SUBJECT",
        Operator::Tls(TlsField::PeerSubject),
    ),
    (
        "DOWNSTREAM_PEER_ISSUER",
        Operator::Tls(TlsField::PeerIssuer),
    ),
    (
        "DOWNSTREAM_PEER_SERIAL",
        Operator::Tls(TlsField::PeerSerial),
    ),
    (
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        Operator::Tls(TlsField::PeerFingerprint),
    ),
    ("DOWNSTREAM_LOCAL_URI_SAN", Operator::Tls(TlsField::OwnUri)),
];

fn plain(name: &str) -> Option<Operator> {
    let known = PLAIN.iter().find(|(known, _)| *known == name);
    known.map(|(_, operator)| operator.clone())
}

fn unknown(command: &str, name: &str) -> FormatError {
    let known = PLAIN
        .iter()
        .map(|(known, _)| *known)
        .chain(["REQ", "RESP", "TRAILER"]);
    match crate::diag::near_name(name, known) {
        Some(near) => FormatError::new(format!(
            "%{command}% is not supported; did you mean %{near}%?"
        )),
        None => FormatError::new(format!("%{command}% is not supported")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(pattern: &str) -> Result<Compiled, String> {
        let log = AccessLog {
            path: "/dev/stdout".into(),
            format: AccessLogFormat::Pattern(pattern.into()),
        };
        compile(&log).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (pattern, says) in [
            (
                "%VIRTUAL_CLUSTER_NAME%",
                "%VIRTUAL_CLUSTER_NAME% is not supported",
            ),
            ("%RESPONSE_COD%", "did you mean %RESPONSE_CODE%?"),
            ("%START_TIME(%s)%", "its parameters are not supported"),
            ("%FILTER_STATE(a.b)%", "not supported"),
            ("%REQ(a b)%", "not a header name"),
            ("%REQ%", "needs a header name"),
            ("%TRAILER%", "needs a header name"),
            (
                "%GRPC_STATUS(STRING)%",
                "must be CAMEL_STRING, SNAKE_STRING or NUMBER, got \"STRING\"",
            ),
            ("%GRPC_STATUS(number)%", "got \"number\""),
            (
                "%GRPC_STATUS_NUMBER(NUMBER)%",
                "its parameters are not supported",
            ),
            ("%REQ(a%", "no closing %"),
            ("100 %", "no closing %"),
            ("%REQ(a):99999999999999999999999%", "too large"),
        ] {
            let error = compiled(pattern).unwrap_err();
            assert!(error.contains(says), "{pattern}: {error}");
        }
    }

    #[test]
    fn names_alternatives_lengths_and_percent_signs_are_read() {
        let Compiled::Text(parts) = compiled("a %% %REQ(X-A?:Path):10%%DURATION%\n").unwrap()
        else {
            panic!("a pattern is text");
        };
        assert_eq!(
            parts,
            [
                Part::Literal("a % ".into()),
                Part::Value {
                    operator: Operator::Request("x-a".into(), Some(":path".into())),
                    bytes_max: Some(10)
                },
                Part::Value {
                    operator: Operator::Duration,
                    bytes_max: None
                },
                Part::Literal("\n".into()),
            ]
        );
    }

    #[test]
    fn our_own_formats_compile() {
        for format in [AccessLogFormat::Text, AccessLogFormat::Json] {
            assert!(
                compile(&AccessLog {
                    path: "x".into(),
                    format
                })
                .is_ok()
            );
        }
    }
}
