//! What a peer did wrong, and what we would not write.

/// Declares [`ProtocolError`]: variant, status for a downstream, and the rule with its section.
macro_rules! protocol_errors {
    ($($variant:ident => $status:literal, $rule:literal;)*) => {
        /// A peer broke a rule of its protocol. The connection cannot go on.
        ///
        /// `Display` gives the rule and its section.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum ProtocolError {
            $(#[doc = $rule] #[error($rule)] $variant,)*
        }

        impl ProtocolError {
            /// The status that tells a downstream what it did wrong. An upstream's fault is a 502 whatever it was.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$variant => $status,)*
                }
            }
        }
    };
}

protocol_errors! {
    BadRequestLine => 400, "a request line is method, target and version with one space between (RFC 9112 §3)";
    BadMethod => 400, "a method is a token (RFC 9110 §9.1)";
    BadTarget => 400, "the request target is none of the four forms, or holds bytes that no URI has (RFC 9112 §3.2)";
    BadVersion => 400, "the version is not of the form HTTP/digit.digit (RFC 9112 §2.3)";
    UnsupportedVersion => 505, "only HTTP/1.0 and HTTP/1.1 are spoken here (RFC 9110 §15.6.6)";
    RequestLineTooLong => 414, "the request line is longer than the limit (RFC 9112 §3)";
    BadStatusLine => 400, "a status line is version, three digits and a reason, with one space between (RFC 9112 §4)";
    BlankLines => 400, "more empty lines before a message than the limit (RFC 9112 §2.2)";
    HeadTooLarge => 431, "the head holds more bytes than the limit (RFC 6585 §5)";
    TooManyFields => 431, "the head holds more fields than the limit (RFC 6585 §5)";
    BareLf => 400, "a line ends with LF alone (RFC 9112 §2.2)";
    BareCr => 400, "a CR stands alone (RFC 9112 §2.2)";
    SpaceBeforeFields => 400, "whitespace between the start line and the first field (RFC 9112 §2.2)";
    ObsFold => 400, "a field value is folded over several lines (RFC 9112 §5.2)";
    SpaceBeforeColon => 400, "whitespace between a field's name and its colon (RFC 9112 §5.1)";
    BadFieldName => 400, "a field name is a token followed by a colon (RFC 9112 §5)";
    BadFieldValue => 400, "a field value holds a control byte (RFC 9110 §5.5)";
    NoHost => 400, "an HTTP/1.1 request has no Host (RFC 9112 §3.2)";
    ManyHosts => 400, "a request has more than one Host (RFC 9112 §3.2)";
    BadHost => 400, "the Host is no valid host and port (RFC 9112 §3.2)";
    LengthAndEncoding => 400, "both Content-Length and Transfer-Encoding (RFC 9112 §6.3)";
    ManyLengths => 400, "more than one Content-Length, or a list of them (RFC 9112 §6.3)";
    BadLength => 400, "a Content-Length that is no decimal number within range (RFC 9110 §8.6)";
    NotFinallyChunked => 400, "a Transfer-Encoding that does not end in exactly one chunked (RFC 9112 §6.3)";
    UnknownCoding => 501, "a transfer coding other than chunked (RFC 9112 §6.1)";
    EncodingInHttp10 => 400, "Transfer-Encoding in an HTTP/1.0 message (RFC 9112 §6.1)";
    ConnectWithBody => 400, "a CONNECT request with content (RFC 9110 §9.3.6)";
    BadChunkSize => 400, "a chunk size is one to sixteen hexadecimal digits within range (RFC 9112 §7.1)";
    BadChunkExtension => 400, "a malformed chunk extension (RFC 9112 §7.1.1)";
    ChunkExtensionsTooLong => 400, "the chunk extensions of a body hold more bytes than the limit (RFC 9112 §7.1.1)";
    BadChunkEnd => 400, "a chunk's data is not followed by CRLF (RFC 9112 §7.1)";
    TrailersTooLarge => 431, "the trailers hold more bytes or fields than the limit (RFC 6585 §5)";
    Truncated => 400, "the connection was closed in the midst of a message (RFC 9112 §8)";
    Unsolicited => 400, "a response that no request asked for (RFC 9112 §9.2)";
    UnexpectedSwitch => 400, "a 101 that no request asked for (RFC 9110 §7.8)";
    TooManyInterims => 400, "more interim responses than the limit (RFC 9110 §15.2)";
}

/// A message that we were told to write and that would have been malformed. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The stream is not the one being served, or not at this point.
    #[error("nothing of the kind can be written on this stream now")]
    OutOfTurn,
    /// The head is not of the kind this side sends.
    #[error("a request on a connection that sends responses, or the reverse")]
    WrongHead,
    /// A method that is no token.
    #[error("the method is no token (RFC 9110 §9.1)")]
    Method,
    /// A path or authority with bytes that no request line can carry.
    #[error("the path or authority cannot stand in a request line (RFC 9112 §3.2)")]
    Target,
    /// A status outside 100 to 999.
    #[error("the status is not of three digits (RFC 9110 §15)")]
    Status,
    /// A field name that is no token.
    #[error("a field name is no token (RFC 9110 §5.1)")]
    FieldName,
    /// A field value with CR, LF, NUL or another control byte.
    #[error("a field value holds a control byte (RFC 9110 §5.5)")]
    FieldValue,
    /// Several lengths, or one that is no number.
    #[error("the Content-Length is no single number (RFC 9110 §8.6)")]
    Length,
    /// More content than was announced.
    #[error("the content is longer than its Content-Length (RFC 9112 §6.3)")]
    TooLong,
    /// The content ended before what was announced. The connection must be closed.
    #[error("the content is shorter than its Content-Length (RFC 9112 §6.3)")]
    TooShort,
    /// A switch of protocols that was not asked for.
    #[error("a switch of protocols that was not asked for (RFC 9110 §7.8)")]
    Switch,
}
