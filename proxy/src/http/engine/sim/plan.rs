//! What is drawn before a run: requests, what origins do with them, and how the peers misbehave.

use std::fmt::Write;

use fastrand::Rng;

use super::calls::{Call, Pairs, Told};

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length,
    Chunked,
    Close,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// A WebSocket.
    Upgrade,
    /// A connection of its own.
    Connect,
}

/// One request, and what becomes of each attempt at it.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: usize,
    pub(super) kind: Kind,
    /// It is a gRPC call.
    pub(super) call: Option<Call>,
    pub(super) method: &'static str,
    pub(super) old: bool,
    pub(super) last: bool,
    pub(super) framing: Framing,
    pub(super) body: usize,
    /// There are fields behind the body.
    pub(super) trailers: bool,
    /// What the first, second, … attempt meets; the last holds for all that follow.
    pub(super) answers: Vec<Answer>,
}

/// What an origin does with a request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) body: usize,
    /// There are fields behind the body.
    pub(super) trailers: bool,
    /// Answers on the head alone.
    pub(super) early: bool,
    pub(super) interim: bool,
    /// Says that it is the last on its connection.
    pub(super) says_close: bool,
    /// It is gRPC.
    pub(super) told: Option<Told>,
    pub(super) fate: Fate,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// As it should, and the connection stays.
    Kept,
    /// As it should, and the origin closes without having said so.
    Closed,
    /// As it should, with bytes behind it that belong to nobody.
    Surplus,
    /// After some bytes, with a FIN.
    Cut(usize),
    /// After some bytes, with a RST.
    Reset(usize),
    /// After some bytes nothing comes any more.
    Stalled(usize),
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    /// Sends all, reads all, closes.
    Good,
    /// Closes its write side once all is sent.
    HalfCloses,
    /// Closes after having sent so many bytes.
    Leaves(usize),
    /// Resets after having sent so many bytes.
    Resets(usize),
    /// Reads no more after so many bytes.
    StopsReading(usize),
}

/// All requests of a run, and what became of them.
pub(super) struct Book {
    pub(super) requests: Vec<Request>,
    pub(super) tries: Vec<Tries>,
}

/// How often a request came to an origin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    /// An origin did something about it.
    pub(super) begun: usize,
    /// An origin said that it had not begun.
    pub(super) refused: usize,
}

/// The `at`th byte of a body.
fn byte(salt: usize, at: usize) -> u8 {
    let mixed = (salt * 7919 + at * 31) ^ (at >> 7);
    b'a' + u8::try_from(mixed % 26).unwrap()
}

/// How a WebSocket is asked for.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A body that says whose it is.
pub(super) fn body(salt: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| byte(salt, at)).collect()
}

/// What the fields behind a body say.
pub(super) fn sum(salt: usize) -> String {
    format!("sum-{salt}")
}

/// Sizes that matter: none, small, some reads long.
fn size(rng: &mut Rng) -> usize {
    match rng.u8(..20) {
        0..5 => 0,
        5..15 => rng.usize(1..300),
        15..19 => rng.usize(300..20_000),
        _ => rng.usize(20_000..80_000),
    }
}

fn frame(rng: &mut Rng, out: &mut Vec<u8>, framing: Framing, body: &[u8], trailers: &Pairs) {
    if framing != Framing::Chunked {
        return out.extend_from_slice(body);
    }
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(rng.usize(1..=rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = behind;
    }
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(lines(trailers).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn lines(fields: &Pairs) -> String {
    let line = |(name, value): &(&str, String)| format!("{name}: {value}\r\n");
    fields.iter().map(line).collect()
}

fn framing_fields(framing: Framing, len: usize) -> String {
    match framing {
        Framing::Length => format!("Content-Length: {len}\r\n"),
        Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
        Framing::None | Framing::Close => String::new(),
    }
}

impl Request {
    pub(super) fn draw(rng: &mut Rng, id: usize, last: bool, clean: bool, http2: bool) -> Self {
        let method = *rng
            .choice(&["GET", "GET", "HEAD", "POST", "POST", "PUT"])
            .unwrap();
        let old = last && !http2 && rng.u8(..6) == 0;
        let framing = match method {
            "POST" | "PUT" if old || rng.bool() => Framing::Length,
            "POST" | "PUT" => Framing::Chunked,
            _ => Framing::None,
        };
        let attempts = rng.usize(1..4);
        Self {
            id,
            kind: Kind::Plain,
            call: None,
            method,
            old,
            last: last && !http2 && rng.bool(),
            framing,
            body: if framing == Framing::None {
                0
            } else {
                size(rng)
            },
            trailers: framing == Framing::Chunked && rng.u8(..3) == 0,
            answers: (0..attempts)
                .map(|_| Answer::draw(rng, clean, http2))
                .collect(),
        }
    }

    pub(super) fn draw_tunnel(rng: &mut Rng, id: usize, clean: bool) -> Self {
        let (kind, method) = match rng.bool() {
            true => (Kind::Upgrade, "GET"),
            false => (Kind::Connect, "CONNECT"),
        };
        let attempts = rng.usize(1..4);
        let answers = (0..attempts).map(|_| {
            let mut answer = Answer::draw(rng, clean, false);
            (answer.framing, answer.trailers) = (Framing::Length, false);
            (answer.early, answer.interim, answer.says_close) = (false, false, false);
            answer.fate = match answer.fate {
                Fate::Cut(at) => Fate::Reset(at),
                Fate::Closed | Fate::Surplus => Fate::Kept,
                fate => fate,
            };
            if kind == Kind::Connect {
                answer.status = 200;
            } else if answer.status == 200 && rng.u8(..4) == 0 {
                answer.status = 403;
            }
            answer
        });
        let answers = answers.collect();
        Self {
            id,
            kind,
            call: None,
            method,
            old: false,
            last: false,
            framing: Framing::None,
            body: size(rng),
            trailers: false,
            answers,
        }
    }

    pub(super) fn bytes(&self, rng: &mut Rng) -> Vec<u8> {
        if self.kind == Kind::Connect {
            return b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_vec();
        }
        if self.kind == Kind::Upgrade {
            let id = self.id;
            let head = format!("GET /{id} HTTP/1.1\r\nHost: a\r\n{UPGRADE}\r\n");
            return head.into_bytes();
        }
        let version = if self.old { "1.0" } else { "1.1" };
        let mut head = format!("{} /{} HTTP/{version}\r\nHost: a\r\n", self.method, self.id);
        head += &framing_fields(self.framing, self.body);
        head += &lines(&self.call_fields());
        if self.last {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        let mut out = head.into_bytes();
        let trailers = self.trailers.then(|| ("x-sum", sum(self.id)));
        let body = body(self.id, self.body);
        let trailers = trailers.into_iter().collect();
        frame(rng, &mut out, self.framing, &body, &trailers);
        out
    }

    pub(super) fn answer(&self, attempt: usize) -> &Answer {
        &self.answers[attempt.min(self.answers.len() - 1)]
    }
}

impl Answer {
    fn draw(rng: &mut Rng, clean: bool, http2: bool) -> Self {
        let framing = *rng
            .choice(&[
                Framing::Length,
                Framing::Length,
                Framing::Chunked,
                Framing::Close,
            ])
            .unwrap();
        let at = rng.usize(..400);
        let fate = match rng.u8(..14) {
            0 | 1 => Fate::Closed,
            2 if !clean => Fate::Cut(at),
            3 if !clean => Fate::Reset(at),
            4 if !clean => Fate::Stalled(at),
            5 if !clean => Fate::Surplus,
            6 if !clean => Fate::Cut(0),
            _ => Fate::Kept,
        };
        // Where the end of the connection is the end of the body, nobody can tell that it was cut.
        let fate = match fate {
            Fate::Cut(at) if framing == Framing::Close => Fate::Reset(at),
            fate => fate,
        };
        // On HTTP/1 an answer before the end of the request costs the connection, and so what is pipelined behind.
        let early = (!clean || http2) && rng.u8(..4) == 0;
        // Who closes with a request unread takes his own answer back.
        let lasts = clean && early;
        let (fate, framing) = match (fate, framing) {
            (_, Framing::Close) if lasts => (Fate::Kept, Framing::Length),
            (_, framing) if lasts => (Fate::Kept, framing),
            kept => kept,
        };
        let status = if !clean && rng.u8(..5) == 0 { 503 } else { 200 };
        let body = match fate {
            Fate::Surplus => size(rng).min(5000),
            _ => size(rng),
        };
        Self {
            status,
            framing,
            body,
            trailers: framing == Framing::Chunked && rng.u8(..3) == 0,
            early,
            interim: rng.u8(..8) == 0,
            says_close: framing == Framing::Close
                || (fate == Fate::Closed && (clean || rng.bool())),
            told: None,
            fate,
        }
    }

    /// Says which attempt at which request it answers; the body is that of [`Self::salt`].
    pub(super) fn bytes(&self, rng: &mut Rng, request: &Request, attempt: usize) -> Vec<u8> {
        let mut head = String::new();
        if self.interim && !request.old {
            head += "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        }
        write!(
            head,
            "HTTP/1.1 {} Said\r\nX-Id: {}.{attempt}\r\n",
            self.status, request.id
        )
        .unwrap();
        head += &framing_fields(self.framing, self.body);
        head += &lines(&self.call_fields());
        if self.says_close {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        let mut out = head.into_bytes();
        if request.method != "HEAD" {
            let salt = Self::salt(request.id, attempt);
            let (body, trailers) = (body(salt, self.body), self.trailer_fields(salt));
            frame(rng, &mut out, self.framing, &body, &trailers);
        }
        match self.fate {
            Fate::Cut(at) | Fate::Reset(at) | Fate::Stalled(at) => out.truncate(at),
            Fate::Surplus if self.framing != Framing::Close => {
                out.extend_from_slice(
                    b"HTTP/1.1 200 Smuggled\r\nX-Id: 9999.0\r\nContent-Length: 0\r\n\r\n",
                );
            }
            Fate::Surplus | Fate::Kept | Fate::Closed => {}
        }
        out
    }

    pub(super) fn salt(id: usize, attempt: usize) -> usize {
        id * 100 + attempt + 50
    }
}

impl Manners {
    pub(super) fn draw(rng: &mut Rng, clean: bool) -> Self {
        let at = rng.usize(..3000);
        match rng.u8(..10) {
            0 => Self::HalfCloses,
            1 if !clean => Self::Leaves(at),
            2 if !clean => Self::Resets(at),
            3 if !clean => Self::StopsReading(at),
            _ => Self::Good,
        }
    }
}
