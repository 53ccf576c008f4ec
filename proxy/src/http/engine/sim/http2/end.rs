//! A peer's end of an HTTP/2 connection. It believes nothing: whatever the proxy sends that RFC 9113 does not allow at
//! that moment fails the run.

use std::collections::{BTreeMap, VecDeque};

use super::frames::{self, Frame};
use crate::http::codec::h2::BlockReader;

pub(in super::super) type Fields = Vec<(String, String)>;

/// What a connection and its streams may carry before anything was told (RFC 9113 §6.9.2).
pub(super) const WINDOW: i64 = 65_535;

/// What one side told of itself.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Settings {
    pub(in super::super) window: i64,
    pub(in super::super) frame_max: usize,
    pub(in super::super) streams_max: usize,
    /// Whether tunnels may be asked for (RFC 8441).
    pub(in super::super) tunnels: bool,
}

/// What holds before anything was told.
pub(super) const UNTOLD: Settings = Settings {
    window: WINDOW,
    frame_max: 16_384,
    streams_max: usize::MAX,
    tunnels: false,
};

/// One end of a connection.
pub(in super::super) struct End {
    pub(super) origin: bool,
    input: Vec<u8>,
    greeted: bool,
    /// What is to be sent, and how much of it was.
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
    fields: BlockReader,
    /// A block of which frames are missing: its stream, whether it ends the message, what there is.
    block: Option<(u32, bool, Vec<u8>)>,
    /// What we told: the first is in force, the others were not acknowledged.
    pub(super) told: VecDeque<Settings>,
    /// What the proxy told.
    pub(in super::super) proxy: Option<Settings>,
    pub(super) streams: BTreeMap<u32, Stream>,
    /// Bytes of DATA that came, and that may come.
    pub(super) got: i64,
    pub(super) given: i64,
    /// Bytes of DATA that were sent, the credit for more, and what the proxy may let be under way.
    pub(super) data_sent: i64,
    credited: i64,
    window_max: i64,
    pub(super) pings: VecDeque<Ping>,
    /// The last stream that the proxy says it takes, and why.
    pub(in super::super) goaway: Option<(u32, u32)>,
    /// The last stream that we said we take, and whether the proxy is known to have heard so.
    pub(super) last: Option<u32>,
    pub(super) last_heard: bool,
    pub(super) highest: u32,
}

/// A question that was not answered, and what its answer proves to be known.
pub(super) struct Ping {
    pub(super) number: u64,
    pub(super) over: Vec<u32>,
    pub(super) leaving: bool,
}

/// One stream.
#[derive(Debug, Default)]
pub(in super::super) struct Stream {
    /// Heads that came, interim ones too.
    pub(in super::super) heads: Vec<Fields>,
    pub(in super::super) body: Vec<u8>,
    pub(in super::super) trailers: Option<Fields>,
    /// The proxy has ended its side.
    pub(in super::super) ended: bool,
    /// The proxy gave it up, for this.
    pub(in super::super) reset: Option<u32>,
    pub(super) got: i64,
    pub(super) updates: i64,
    pub(super) sent: i64,
    pub(super) credited: i64,
    /// We have ended our side.
    pub(in super::super) done: bool,
    /// We gave it up.
    pub(in super::super) given_up: bool,
    /// The proxy knows that it is over.
    sealed: bool,
}

impl Stream {
    pub(in super::super) fn is_over(&self) -> bool {
        (self.ended && self.done) || self.reset.is_some() || self.given_up
    }

    /// The head that is no interim one; a request's is its first.
    pub(in super::super) fn head(&self) -> Option<&Fields> {
        let last = self.heads.last()?;
        (!field(last, ":status").is_some_and(|status| status.starts_with('1'))).then_some(last)
    }
}

/// The value of a field.
pub(in super::super) fn field<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    let found = fields.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.as_str())
}

impl End {
    /// `window_max`: what the proxy may let be under way on the connection.
    pub(super) fn new(origin: bool, first: Settings, window_max: i64) -> Self {
        let mut end = Self {
            origin,
            input: Vec::new(),
            greeted: !origin,
            out: Vec::new(),
            sent: 0,
            fields: BlockReader::new(),
            block: None,
            told: VecDeque::from([UNTOLD]),
            proxy: None,
            streams: BTreeMap::new(),
            got: 0,
            given: WINDOW,
            data_sent: 0,
            credited: WINDOW,
            window_max: window_max.max(WINDOW),
            pings: VecDeque::new(),
            goaway: None,
            last: None,
            last_heard: false,
            highest: 0,
        };
        if !origin {
            end.out.extend_from_slice(frames::PREFACE);
        }
        end.tell(first);
        end
    }

    /// What of the connection's window is left for us.
    pub(super) fn open(&self) -> i64 {
        self.credited - self.data_sent
    }

    /// The streams that we have not said are lost.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Stream> {
        let last = self.last.unwrap_or(u32::MAX);
        self.streams.range(..=last).map(|(_, stream)| stream)
    }

    /// What came.
    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if !self.greeted {
            let seen = self.input.len().min(frames::PREFACE.len());
            assert_eq!(self.input[..seen], frames::PREFACE[..seen], "the preface");
            if seen < frames::PREFACE.len() {
                return;
            }
            self.input.drain(..seen);
            self.greeted = true;
        }
        while let Some(frame) = Frame::take(&mut self.input) {
            self.frame(frame);
        }
    }

    /// The largest of what was told and may be in force.
    fn most<T: Ord>(&self, of: impl Fn(&Settings) -> T) -> T {
        self.told.iter().map(of).max().unwrap()
    }

    fn frame(&mut self, frame: Frame) {
        assert!(
            self.proxy.is_some() || frame.kind == frames::SETTINGS,
            "SETTINGS come first"
        );
        let length = frame.payload.len();
        assert!(
            length <= self.most(|it| it.frame_max),
            "a frame of {length}"
        );
        let in_block = self.block.as_ref().map(|(stream, ..)| *stream);
        match in_block {
            Some(stream) => assert_eq!((frame.kind, frame.stream), (frames::CONTINUATION, stream)),
            None => assert_ne!(frame.kind, frames::CONTINUATION),
        }
        let on_stream = matches!(
            frame.kind,
            frames::DATA | frames::HEADERS | frames::RST_STREAM
        );
        assert!(!on_stream || frame.stream > 0, "on no stream");
        match frame.kind {
            frames::DATA => self.data_frame(&frame),
            frames::HEADERS => {
                assert!(!frame.has(frames::PADDED), "padding is none of ours");
                let end = frame.has(frames::END_STREAM);
                self.block = Some((frame.stream, end, Vec::new()));
                self.fragment(&frame);
            }
            frames::CONTINUATION => self.fragment(&frame),
            frames::RST_STREAM => self.rst_stream(&frame),
            frames::SETTINGS => self.settings(&frame),
            frames::PING => self.ping_frame(&frame),
            frames::GOAWAY => self.goaway_frame(&frame),
            frames::WINDOW_UPDATE => self.window_update(&frame),
            kind => panic!("a frame of type {kind}"),
        }
    }

    /// The stream that a frame is on; `None` where what comes may have been under way when we gave it up.
    fn living(&mut self, id: u32) -> Option<&mut Stream> {
        let late = self.last.is_some_and(|last| id > last);
        assert!(late || id <= self.highest, "a frame on idle stream {id}");
        let stream = match self.streams.get_mut(&id) {
            Some(stream) => stream,
            None => {
                assert!(late && id % 2 == 1, "a frame on stream {id}");
                return None;
            }
        };
        assert!(!stream.sealed, "a frame on stream {id}, known to be over");
        assert!(
            stream.reset.is_none(),
            "a frame on stream {id} behind its reset"
        );
        (!stream.given_up && !late).then_some(stream)
    }

    fn data_frame(&mut self, frame: &Frame) {
        assert!(!frame.has(frames::PADDED), "padding is none of ours");
        let length = i64::try_from(frame.payload.len()).unwrap();
        self.got += length;
        assert!(
            self.got <= self.given,
            "DATA beyond the connection's window"
        );
        let window = self.most(|it| it.window);
        let id = frame.stream;
        let Some(stream) = self.living(id) else {
            return;
        };
        assert!(!stream.ended, "DATA behind the end of stream {id}");
        assert!(
            stream.head().is_some(),
            "DATA before the head of stream {id}"
        );
        stream.got += length;
        assert!(
            length == 0 || stream.got <= window + stream.updates,
            "DATA beyond the window of stream {id}: {} of {window} and {}",
            stream.got,
            stream.updates
        );
        stream.body.extend_from_slice(&frame.payload);
        stream.ended |= frame.has(frames::END_STREAM);
    }

    fn fragment(&mut self, frame: &Frame) {
        let (_, _, bytes) = self.block.as_mut().unwrap();
        bytes.extend_from_slice(&frame.payload);
        if !frame.has(frames::END_HEADERS) {
            return;
        }
        let (id, end, bytes) = self.block.take().unwrap();
        let fields = self.fields.read(&bytes);
        check_fields(&fields);
        if self.origin && id > self.highest && self.last.is_none_or(|last| id <= last) {
            self.new_stream(id);
        }
        assert!(
            !self.last_heard || self.streams.contains_key(&id),
            "a request behind GOAWAY"
        );
        let origin = self.origin;
        let Some(stream) = self.living(id) else {
            return;
        };
        assert!(!stream.ended, "fields behind the end of stream {id}");
        let first = stream.head().is_none();
        assert_eq!(first, fields.iter().any(|(name, _)| name.starts_with(':')));
        if first {
            assert_eq!(origin, field(&fields, ":status").is_none(), "{fields:?}");
            stream.heads.push(fields);
            assert!(!end || stream.head().is_some(), "an interim answer ends");
        } else {
            assert!(end, "trailers end stream {id}");
            stream.trailers = Some(fields);
        }
        stream.ended |= end;
    }

    /// The proxy asks for something.
    fn new_stream(&mut self, id: u32) {
        assert_eq!(id % 2, 1, "a client's streams are odd");
        let open = self.streams.values().filter(|it| !it.is_over()).count();
        let max = self.most(|it| it.streams_max);
        assert!(open < max, "{open} streams are open, and {max} may be");
        self.highest = id;
        self.streams.insert(id, Stream::default());
    }

    fn rst_stream(&mut self, frame: &Frame) {
        let code = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
        if let Some(stream) = self.living(frame.stream) {
            stream.reset = Some(code);
        }
    }

    fn settings(&mut self, frame: &Frame) {
        assert_eq!(frame.stream, 0);
        if frame.has(frames::ACK) {
            assert!(self.told.len() > 1, "an acknowledgement of nothing");
            self.told.pop_front();
            return;
        }
        let mut now = self.proxy.unwrap_or(UNTOLD);
        for setting in frame.payload.chunks(6) {
            let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
            match u16::from_be_bytes([setting[0], setting[1]]) {
                3 => now.streams_max = value as usize,
                4 => now.window = i64::from(value),
                5 => now.frame_max = value as usize,
                8 => now.tunnels = value == 1,
                _ => {}
            }
        }
        self.proxy = Some(now);
        frames::put(&mut self.out, frames::SETTINGS, frames::ACK, 0, b"");
    }

    fn ping_frame(&mut self, frame: &Frame) {
        let payload: [u8; 8] = frame.payload[..].try_into().unwrap();
        if !frame.has(frames::ACK) {
            return frames::put(&mut self.out, frames::PING, frames::ACK, 0, &payload);
        }
        let ping = self.pings.pop_front().expect("an answer to no PING");
        assert_eq!(u64::from_be_bytes(payload), ping.number, "another's PING");
        for id in ping.over {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.sealed = true;
            }
        }
        self.last_heard |= ping.leaving;
    }

    fn goaway_frame(&mut self, frame: &Frame) {
        let (last, code) = (
            frames::word(&frame.payload),
            frames::word(&frame.payload[4..]),
        );
        assert!(
            self.goaway.is_none_or(|(before, _)| last <= before),
            "GOAWAY takes back what it gave up"
        );
        self.goaway = Some((last, code));
    }

    fn window_update(&mut self, frame: &Frame) {
        let by = i64::from(frames::word(&frame.payload));
        assert!(by > 0, "credit for nothing");
        if frame.stream == 0 {
            self.credited += by;
            let most = self.window_max + self.data_sent;
            assert!(self.credited <= most, "credit for more than was sent");
        } else if let Some(stream) = self.living(frame.stream) {
            stream.credited += by;
            assert!(
                stream.credited <= stream.sent,
                "credit for {} on stream {}, where {} were sent",
                stream.credited,
                frame.stream,
                stream.sent
            );
        }
    }
}

/// RFC 9113 §8.2, §8.3.
fn check_fields(fields: &Fields) {
    let mut regular = false;
    for (name, value) in fields {
        let pseudo = name.starts_with(':');
        assert!(!(pseudo && regular), "pseudo-fields come first: {fields:?}");
        regular |= !pseudo;
        assert!(
            !name.bytes().any(|byte| byte.is_ascii_uppercase()),
            "{name}"
        );
        let hop = matches!(
            name.as_str(),
            "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "proxy-connection"
        );
        assert!(!hop, "{name}: {value} on HTTP/2");
    }
}
