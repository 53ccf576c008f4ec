//! The other ends of simulated connections: clients and origins.

use fastrand::Rng;

use super::http2;
use super::message::{End, Message};
use super::plan::{self, Answer, Book, Fate, Framing, Kind, Manners, Request};
use super::tunnel::{check_downward, downward, upward};

/// Who is at the other end of a connection.
pub(super) enum Peer {
    Client(Client),
    Origin(Origin),
    Client2(http2::Client),
    Origin2(http2::Origin),
}

impl Peer {
    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Client2(_))
    }

    /// Whether what it sends arrives undivided.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Origin(origin) if origin.whole)
    }

    /// Makes up its mind about what to send next. Whether there is something more.
    pub(super) fn think(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        match self {
            Self::Client(_) => false,
            // It may have been waiting for its own answer to be sent.
            Self::Origin(origin) => {
                if origin.over.is_none() && origin.unsent().is_empty() {
                    origin.look(&[], book, rng);
                }
                false
            }
            Self::Client2(client) => client.think(rng),
            Self::Origin2(origin) => origin.think(rng, book),
        }
    }

    /// Everything that is to be sent now and was not.
    pub(super) fn unsent(&mut self, rng: &mut Rng) -> &[u8] {
        match self {
            Self::Client(client) => client.unsent(rng),
            Self::Origin(origin) => origin.unsent(),
            Self::Client2(client) => client.unsent(),
            Self::Origin2(origin) => origin.unsent(),
        }
    }

    pub(super) fn sent(&mut self, n: usize) {
        match self {
            Self::Client(client) => client.sent(n),
            Self::Origin(origin) => origin.sent(n),
            Self::Client2(client) => client.sent(n),
            Self::Origin2(origin) => origin.sent(n),
        }
    }

    pub(super) fn reads(&self) -> bool {
        match self {
            Self::Client(client) => client.reads(),
            Self::Client2(client) => client.reads(),
            Self::Origin(_) | Self::Origin2(_) => true,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8], rng: &mut Rng, book: &mut Book) {
        match self {
            Self::Client(client) => client.received(bytes),
            Self::Origin(origin) => origin.look(bytes, book, rng),
            Self::Client2(client) => client.received(bytes),
            Self::Origin2(origin) => origin.received(bytes, book, rng),
        }
    }

    /// The proxy closed, in order or not.
    pub(super) fn ended(&mut self, reset: bool) {
        match self {
            Self::Client(client) => client.ended(reset),
            Self::Client2(client) => client.ended(reset),
            Self::Origin(origin) => origin.ended(reset),
            Self::Origin2(_) => {}
        }
    }

    /// `told`: it knows that the proxy closed.
    pub(super) fn wish(&self, told: bool) -> Wish {
        match self {
            Self::Client(client) => client.wish(told),
            Self::Origin(origin) => origin.wish(told),
            Self::Client2(client) => client.wish(told),
            Self::Origin2(origin) => origin.wish(told),
        }
    }

    /// Whether its connection has become a tunnel.
    pub(super) fn in_tunnel(&self) -> bool {
        match self {
            Self::Client(client) => client.tunnel,
            Self::Origin(origin) => origin.tunnel.is_some(),
            Self::Client2(_) | Self::Origin2(_) => false,
        }
    }

    /// Whether it has heard everything that it waited for, and was told so where not.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Client(client) => client.is_done(),
            Self::Client2(client) => client.is_done(),
            Self::Origin(_) | Self::Origin2(_) => true,
        }
    }

    /// Whether the proxy owes it no acknowledgement.
    pub(super) fn is_acknowledged(&self) -> bool {
        match self {
            Self::Client2(client) => client.is_acknowledged(),
            Self::Origin2(origin) => origin.is_acknowledged(),
            Self::Client(_) | Self::Origin(_) => true,
        }
    }

    /// Whether it sends and reads all that there is.
    pub(super) fn is_tame(&self) -> bool {
        let manners = match self {
            Self::Client(client) => client.manners,
            Self::Client2(client) => client.manners,
            Self::Origin(_) | Self::Origin2(_) => return true,
        };
        matches!(manners, Manners::Good | Manners::HalfCloses)
    }

    /// What went otherwise than it should have, where nothing fails.
    pub(super) fn complaints(&self) -> Vec<String> {
        match self {
            Self::Client(client) => client.refusals.clone(),
            Self::Client2(client) => client.complaints(),
            Self::Origin(_) | Self::Origin2(_) => Vec::new(),
        }
    }
}

/// What a peer wants done with its side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Stay,
    /// Nothing more will be sent.
    Shutdown,
    Close,
    Reset,
}

/// A client with its requests, and what it has heard.
pub(super) struct Client {
    pub(super) requests: Vec<Request>,
    pub(super) manners: Manners,
    pipelines: bool,
    /// Requests put into `out`.
    begun: usize,
    out: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    at: usize,
    /// The last request was granted its tunnel.
    tunnel: bool,
    /// Statuses of complete answers, by request.
    pub(super) heard: Vec<u16>,
    /// What the proxy said itself.
    pub(super) refusals: Vec<String>,
    /// An answer said that it was the last.
    pub(super) told_last: bool,
    pub(super) reset: bool,
}

impl Client {
    pub(super) fn new(rng: &mut Rng, requests: Vec<Request>, manners: Manners) -> Self {
        Self {
            requests,
            manners,
            pipelines: rng.u8(..3) == 0,
            begun: 0,
            out: Vec::new(),
            sent: 0,
            got: Vec::new(),
            at: 0,
            tunnel: false,
            heard: Vec::new(),
            refusals: Vec::new(),
            told_last: false,
            reset: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.heard.len() == self.requests.len() || self.told_last
    }

    /// Everything that is to be sent now and was not.
    pub(super) fn unsent(&mut self, rng: &mut Rng) -> &[u8] {
        while self.begun < self.requests.len()
            && !self.told_last
            && (self.pipelines || self.begun == self.heard.len())
        {
            self.out.extend(self.requests[self.begun].bytes(rng));
            self.begun += 1;
        }
        let until = match self.manners {
            Manners::Leaves(at) | Manners::Resets(at) => self.out.len().min(at),
            _ => self.out.len(),
        };
        &self.out[self.sent.min(until)..until]
    }

    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    pub(super) fn reads(&self) -> bool {
        !matches!(self.manners, Manners::StopsReading(at) if self.got.len() >= at)
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.got.extend_from_slice(bytes);
        while self.look(false) {}
    }

    /// The proxy closed, in order or not.
    pub(super) fn ended(&mut self, reset: bool) {
        self.reset = reset;
        if self.tunnel {
            check_downward(self.requests.last().unwrap(), &self.got[self.at..], !reset);
        }
        if !reset {
            self.look(true);
        }
    }

    fn look(&mut self, closed: bool) -> bool {
        let Some(request) = self.requests.get(self.heard.len()) else {
            assert_eq!(self.got.len(), self.at, "bytes behind the last answer");
            return false;
        };
        if self.tunnel {
            if closed {
                self.heard.push(200);
            }
            return false;
        }
        let head_only = request.method == "HEAD";
        let head = Message::read(&self.got[self.at..], true, true);
        let opens = |head: &Message| match request.kind {
            Kind::Plain => false,
            Kind::Upgrade => head.status() == 101,
            Kind::Connect => head.status() == 200,
        };
        if let Some(head) = head.filter(opens) {
            assert!(self.begun == self.requests.len(), "an answer to nothing");
            self.at += head.taken;
            self.tunnel = true;
            self.out.extend(upward(request));
            return false;
        }
        let Some(message) = Message::read(&self.got[self.at..], head_only, true) else {
            return false;
        };
        assert!(
            !self.told_last,
            "an answer behind the last: {}",
            message.start
        );
        let complete = match message.end {
            End::Here => true,
            End::Later => false,
            End::WithConnection => closed,
        };
        if message.status() >= 200 && (complete || closed) {
            let heard = Heard {
                status: message.status(),
                id: message.field("x-id"),
                flag: message.field("x-weft-response-flag"),
                body: &message.body,
                trailer: message.sum(),
            };
            check(request, &heard, complete);
        }
        if !complete {
            return false;
        }
        self.at += message.taken;
        if message.status() >= 200 {
            assert!(self.begun > self.heard.len(), "an answer to nothing");
            self.told_last = message.field("connection") == Some("close")
                || message.end == End::WithConnection
                || request.last
                || request.old;
            self.heard.push(message.status());
            if message.field("x-id").is_none() {
                let said = String::from_utf8_lossy(&message.body);
                self.refusals.push(said.into_owned());
            }
        }
        true
    }

    pub(super) fn wish(&self, closed: bool) -> Wish {
        let waits = self
            .requests
            .last()
            .is_some_and(|last| last.kind != Kind::Plain);
        let all_sent = self.begun == self.requests.len()
            && self.sent == self.out.len()
            && (self.tunnel || !waits);
        match self.manners {
            // In a tunnel that would look like its end.
            Manners::Leaves(at) if self.sent >= at && self.tunnel => Wish::Reset,
            Manners::Leaves(at) if self.sent >= at => Wish::Close,
            Manners::Resets(at) if self.sent >= at => Wish::Reset,
            _ if self.tunnel && !self.reset => match (all_sent, closed) {
                (false, _) => Wish::Stay,
                (true, false) => Wish::Shutdown,
                (true, true) => Wish::Close,
            },
            _ if self.is_done() || closed => Wish::Close,
            Manners::HalfCloses if all_sent => Wish::Shutdown,
            _ => Wish::Stay,
        }
    }
}

/// An answer, as far as it was heard.
#[derive(Debug)]
pub(super) struct Heard<'m> {
    pub(super) status: u16,
    /// Which attempt at which request it says that it answers.
    pub(super) id: Option<&'m str>,
    pub(super) flag: Option<&'m str>,
    pub(super) body: &'m [u8],
    pub(super) trailer: Option<&'m str>,
}

/// An answer is one of ours, or a true copy of what an origin said to this request.
pub(super) fn check(request: &Request, heard: &Heard<'_>, complete: bool) {
    let Some(id) = heard.id else {
        assert!(heard.flag.is_some(), "an answer from nowhere: {heard:?}");
        return;
    };
    let (id, attempt) = id.split_once('.').unwrap();
    let attempt: usize = attempt.parse().unwrap();
    assert_eq!(id, request.id.to_string(), "the answer to another request");
    let answer = request.answer(attempt);
    assert_eq!(heard.status, answer.status);
    if request.method == "HEAD" {
        return;
    }
    let salt = Answer::salt(request.id, attempt);
    let told = plan::body(salt, answer.body);
    assert!(told.starts_with(heard.body), "another body");
    if complete {
        assert_eq!(heard.body.len(), told.len(), "a cut answer looks complete");
        let sum = (answer.trailers && !request.old).then(|| plan::sum(salt));
        assert_eq!(heard.trailer, sum.as_deref(), "trailers of {}", request.id);
    }
}

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
    tunnel: Option<Vec<u8>>,
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
    fn ended(&mut self, reset: bool) {
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
