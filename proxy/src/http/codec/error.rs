//! What a peer did wrong, and what we would not write.

/// Declares [`ProtocolError`]: variant, status for a downstream, and the rule with its section.
macro_rules! protocol_errors {
    ($($variant:ident => $status:literal, $rule:literal;)*) => {
        /// A peer broke a rule of its protocol. On HTTP/1 the connection cannot go on; on HTTP/2 it can where the fault is
        /// that of one message.
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

    BadPreface => 400, "the connection does not begin with the preface of HTTP/2 (RFC 9113 §3.4)";
    AnswerInHttp1 => 400, "an answer in HTTP/1 (RFC 9113 §3.4)";
    NoSettings => 400, "the first frame is no SETTINGS (RFC 9113 §3.4)";
    FrameTooLarge => 400, "a frame is longer than SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2)";
    BadFrameLength => 400, "a frame's length is none that its type can have (RFC 9113 §4.2)";
    BadPadding => 400, "the padding of a frame is longer than the frame (RFC 9113 §6.1)";
    BadStream => 400, "a frame on a stream that its type is not for (RFC 9113 §6)";
    IdleStream => 400, "a frame on a stream that was not opened (RFC 9113 §5.1)";
    ClosedStream => 400, "a frame behind the end of its stream (RFC 9113 §5.1)";
    StreamOrder => 400, "a new stream's number is even or not above those before (RFC 9113 §5.1.1)";
    BrokenBlock => 400, "the frames of a field block do not follow each other (RFC 9113 §4.3)";
    Push => 400, "a PUSH_PROMISE, which SETTINGS_ENABLE_PUSH forbids (RFC 9113 §8.4)";
    BadSetting => 400, "a setting with a value that it cannot have (RFC 9113 §6.5.2)";
    HeadTimeout => 408, "a frame or head was not complete in time (RFC 9110 §15.5.9)";
    SettingsTimeout => 400, "SETTINGS were not acknowledged in time (RFC 9113 §6.5.3)";
    UnaskedAck => 400, "an acknowledgement of SETTINGS that were not sent (RFC 9113 §6.5.3)";
    BadGoaway => 400, "a GOAWAY with a last stream above that of the one before (RFC 9113 §6.8)";
    NoIncrement => 400, "a WINDOW_UPDATE by nothing (RFC 9113 §6.9)";
    WindowOverflow => 400, "a flow-control window above 2^31-1 bytes (RFC 9113 §6.9.1)";
    WindowExceeded => 400, "more DATA than the flow-control window allows (RFC 9113 §6.9.1)";
    BadIndex => 400, "an index that is in neither table (RFC 7541 §2.3.3)";
    BadInteger => 400, "an integer longer than the limit (RFC 7541 §5.1)";
    BadHuffman => 400, "a string that no Huffman code gives (RFC 7541 §5.2)";
    BadTableSize => 400, "a table size above the limit, or not where it must be told (RFC 7541 §4.2)";
    TruncatedBlock => 400, "a field block that ends within a field (RFC 7541 §6)";

    UpperCaseName => 400, "a field name that is not in lower case (RFC 9113 §8.2.1)";
    HopField => 400, "a field that belongs to a connection of HTTP/1 (RFC 9113 §8.2.2)";
    BadTe => 400, "a TE other than trailers (RFC 9113 §8.2.2)";
    BadPseudoField => 400, "a pseudo-field that this message cannot have (RFC 9113 §8.3)";
    LatePseudoField => 400, "a pseudo-field behind other fields (RFC 9113 §8.3)";
    ManyPseudoFields => 400, "a pseudo-field more than once (RFC 9113 §8.3)";
    NoPseudoField => 400, "a pseudo-field is missing (RFC 9113 §8.3)";
    BadScheme => 400, "a scheme other than http and https (RFC 9113 §8.3.1)";
    HostDiffers => 400, "the Host is not the authority (RFC 9113 §8.3.1)";
    NoAuthority => 400, "a request has neither authority nor Host (RFC 9113 §8.3.1)";
    BadStatus => 400, "a status that is not of three digits (RFC 9113 §8.3.2)";
    SwitchInHttp2 => 400, "a 101 on HTTP/2 (RFC 9113 §8.6)";
    LengthDiffers => 400, "the Content-Length is not that of the content (RFC 9113 §8.1.1)";
    TrailersNotLast => 400, "trailers, or an interim response, at the wrong end of a message (RFC 9113 §8.1)";
    DataBeforeHead => 400, "content before the head of a response (RFC 9113 §8.1)";

    BlockTooLarge => 431, "a field block in more bytes than the limit (RFC 9113 §10.5.1)";
    TooManyContinuations => 431, "a field block in more frames than the limit (RFC 9113 §10.5.1)";
    EmptyFrames => 400, "more empty frames in a row than the limit (RFC 9113 §10.5)";
    PriorityFlood => 400, "more PRIORITY frames than the limit (RFC 9113 §10.5)";
    WindowUpdateFlood => 400, "more WINDOW_UPDATE frames than the limit (RFC 9113 §10.5)";
    ControlFlood => 400, "more answers to control frames wait to be written than the limit (RFC 9113 §10.5)";
    ResetFlood => 400, "too many streams were reset before their answer (RFC 9113 §10.5)";
    ProvokedFlood => 400, "too many streams had to be reset for faults on them (RFC 9113 §5.4.2)";
    ClosedStreamFlood => 400, "more frames on closed streams in a row than the limit (RFC 9113 §10.5)";
    UnknownFrameFlood => 400, "more frames of unknown types in a row than the limit (RFC 9113 §10.5)";
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
    /// An upgrade on a connection where extended CONNECT is not allowed by us, or not by the peer.
    #[error(
        "upgrades over HTTP/2 are not allowed by allow_connect, or not taken by the endpoint (RFC 8441 §3)"
    )]
    NoWebSockets,
    /// A head larger than the peer has said that it takes.
    #[error(
        "the head holds {bytes} bytes, the peer takes {max} (SETTINGS_MAX_HEADER_LIST_SIZE, RFC 9113 §6.5.2)"
    )]
    HeadTooLarge {
        /// As HTTP/2 counts them, 32 for each field among them.
        bytes: usize,
        /// What the peer takes.
        max: u32,
    },
    /// A switch of protocols that was not asked for.
    #[error("a switch of protocols that was not asked for (RFC 9110 §7.8)")]
    Switch,
}
