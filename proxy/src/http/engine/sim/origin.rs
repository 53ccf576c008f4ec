//! A simulated origin of HTTP/1.

use fastrand::Rng;

use super::message::{End, Message};
use super::peer::Wish;
use super::plan::{self, Book, Fate, Framing, Kind};
use super::tunnel::{downward, upward};

/// An origin's end of one connection.
#[derive(Default)]
pub(super) struct Origin {
    /// What it sends arrives undivided, so that nobody could take what it sends too much for an answer to what follows.
    pub(super) whole: bool,
    got: Vec<u8>,
    at: usize,
    out: Vec<u8>,
    sent: usize,
    /// The request that is being answered, and what happens behind its answer.
    answering: Option<(Fate, bool)>,
    /// What is to come in the tunnel that it has granted.
    pub(super) tunnel: Option<Vec<u8>>,
    reset: bool,
    pub(super) over: Option<Wish>,
}

impl Origin {
    pub(super) fn new(whole: bool) -> Self {
        Self {
            whole,
            ..Self::default()
        }
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    /// Looks at what came.
    pub(super) fn look(&mut self, bytes: &[u8], book: &mut Book, rng: &mut Rng) {
        self.got.extend_from_slice(bytes);
        if self.over.is_some() {
            return;
        }
        if self.tunnel.is_some() || self.begin_tunnel(book) {
            return self.end_tunnel();
        }
        while let Some(message) = Message::read(&self.got[self.at..], false, false) {
            let id = message.start.split(' ').nth(1).unwrap();
            let id: usize = id.strip_prefix('/').unwrap().parse().unwrap();
            let request = &book.requests[id];
            let complete = message.end == End::Here;
            if self.answering.is_none() {
                let attempt = book.tries[id].begun;
                let mut answer = request.answer(attempt).clone();
                if answer.fate == Fate::Surplus && !self.whole {
                    answer.fate = Fate::Kept;
                }
                if !complete && !answer.early {
                    break;
                }
                // One that asks for a tunnel in vain has no body.
                let length = if request.kind == Kind::Plain {
                    request.body
                } else {
                    0
                };
                let told = plan::body(id, length);
                assert!(told.starts_with(&message.body), "another request's body");
                // The last chunk may still be on its way behind all of the data.
                let whole = told.len() == message.body.len();
                assert!(whole || !complete, "a cut request looks complete");
                if complete {
                    let told = request.trailers.then(|| plan::sum(id));
                    assert_eq!(message.sum(), told.as_deref(), "trailers of {id}");
                }
                request.check_told(|name| message.field(name));
                book.tries[id].begun += 1;
                self.out.extend(answer.bytes(rng, request, attempt));
                self.answering = Some((answer.fate, answer.framing == Framing::Close));
            }
            if self.sent < self.out.len() {
                break;
            }
            let (fate, close) = self.answering.unwrap();
            match fate {
                Fate::Reset(_) => self.over = Some(Wish::Reset),
                Fate::Stalled(_) => self.over = Some(Wish::Stay),
                Fate::Cut(_) | Fate::Closed => self.over = Some(Wish::Close),
                Fate::Kept | Fate::Surplus if close => self.over = Some(Wish::Close),
                Fate::Kept | Fate::Surplus if complete => {
                    self.answering = None;
                    self.at += message.taken;
                    if self.begin_tunnel(book) {
                        return self.end_tunnel();
                    }
                    continue;
                }
                Fate::Kept | Fate::Surplus => {}
            }
            break;
        }
    }

    /// Grants a tunnel, if one is asked for and it is to be granted.
    fn begin_tunnel(&mut self, book: &mut Book) -> bool {
        let input = &self.got[self.at..];
        let mut head = String::new();
        let id = if input.starts_with(b"T:") {
            assert_eq!(self.at, 0, "a tunnel on a used connection");
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                return false;
            };
            std::str::from_utf8(&input[2..end])
                .unwrap()
                .parse()
                .unwrap()
        } else {
            let Some(message) = Message::read(input, true, false) else {
                return false;
            };
            if message.field("upgrade").is_none() || self.answering.is_some() {
                return false;
            }
            assert!(message.field("sec-websocket-key").is_some());
            let path = message.start.split(' ').nth(1).unwrap();
            let id: usize = path.strip_prefix('/').unwrap().parse().unwrap();
            let attempt = book.tries[id].begun;
            if book.requests[id].answer(attempt).status != 200 {
                return false;
            }
            self.at += message.taken;
            head = format!(
                "HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Id: {id}.{attempt}\r\n\r\n"
            );
            id
        };
        let attempt = book.tries[id].begun;
        let answer = book.requests[id].answer(attempt);
        let mut bytes = [head.into_bytes(), downward(id, attempt, answer)].concat();
        if let Fate::Reset(at) | Fate::Stalled(at) = answer.fate {
            bytes.truncate(at);
        }
        self.out.extend(bytes);
        self.answering = Some((answer.fate, false));
        self.tunnel = Some(upward(&book.requests[id]));
        book.tries[id].begun += 1;
        true
    }

    /// Ends its half of the tunnel once all is said.
    fn end_tunnel(&mut self) {
        if self.sent == self.out.len()
            && let Some((fate, _)) = self.answering
        {
            self.over = Some(match fate {
                Fate::Reset(_) => Wish::Reset,
                Fate::Stalled(_) => Wish::Stay,
                _ => Wish::Shutdown,
            });
        }
    }

    /// The proxy closed, in order or not.
    pub(super) fn ended(&mut self, reset: bool) {
        self.reset = reset;
        if let Some(told) = &self.tunnel {
            let got = &self.got[self.at..];
            assert!(told.starts_with(got), "other bytes");
            // Before the proxy has heard that it was granted, it gives up a request, and no tunnel.
            let begun = !got.is_empty();
            assert!(
                reset || !begun || got.len() == told.len(),
                "a cut tunnel looks complete"
            );
        }
    }

    pub(super) fn wish(&self, closed: bool) -> Wish {
        match self.over {
            None | Some(Wish::Reset) if self.tunnel.is_some() && !self.reset => {
                self.over.unwrap_or(Wish::Stay)
            }
            // Who has not said all breaks off.
            Some(Wish::Stay) if closed && self.tunnel.is_some() => Wish::Reset,
            _ if closed => Wish::Close,
            Some(wish) => wish,
            None => Wish::Stay,
        }
    }
}
