//! A simulated client of HTTP/1, and what is true of every answer that a client hears.

use fastrand::Rng;

use super::calls::{self, By};
use super::message::{End, Message};
use super::peer::Wish;
use super::plan::{self, Answer, Kind, Manners, Request};
use super::tunnel::{check_downward, upward};

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
    pub(super) tunnel: bool,
    /// Statuses of complete answers, by request.
    pub(super) heard: Vec<u16>,
    /// What the proxy said itself.
    pub(super) refusals: Vec<String>,
    pub(super) calls_begun: u64,
    pub(super) statuses: Vec<u32>,
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
            calls_begun: 0,
            statuses: Vec::new(),
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
            let request = &self.requests[self.begun];
            self.out.extend(request.bytes(rng));
            self.calls_begun += u64::from(request.call.is_some());
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
        let mut by = By::Origin;
        if message.status() >= 200 && (complete || closed) {
            let heard = Heard {
                status: message.status(),
                id: message.field("x-id"),
                flag: message.field("x-weft-response-flag"),
                body: &message.body,
                trailer: message.sum(),
                statuses: calls::statuses(&message.fields, &message.trailers),
            };
            by = check(request, &heard, complete);
            if complete {
                self.statuses.extend(heard.status());
            }
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
            if by == By::Proxy {
                self.refusals.push(format!("{message:?}"));
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
    /// What it says of how a call ended.
    pub(super) statuses: Vec<&'m str>,
}

impl Heard<'_> {
    /// The status of a call.
    pub(super) fn status(&self) -> Option<u32> {
        Some(self.statuses.first()?.parse().unwrap())
    }
}

/// An answer is one of ours, or a true copy of what an origin said to this request. A call may have been ended by us behind
/// what came.
pub(super) fn check(request: &Request, heard: &Heard<'_>, complete: bool) -> By {
    assert!(heard.statuses.len() <= 1, "{heard:?}");
    let Some(id) = heard.id else {
        assert!(heard.flag.is_some(), "an answer from nowhere: {heard:?}");
        if request.call.is_some() && complete {
            calls::check_status(None, &heard.statuses, false);
        }
        return By::Proxy;
    };
    let (id, attempt) = id.split_once('.').unwrap();
    let attempt: usize = attempt.parse().unwrap();
    assert_eq!(id, request.id.to_string(), "the answer to another request");
    let answer = request.answer(attempt);
    assert_eq!(heard.status, answer.status);
    if request.method == "HEAD" {
        return By::Origin;
    }
    let salt = Answer::salt(request.id, attempt);
    let told = plan::body(salt, answer.body);
    assert!(told.starts_with(heard.body), "another body");
    if complete
        && request.call.is_some()
        && calls::check_status(Some(answer), &heard.statuses, heard.trailer.is_some()) == By::Proxy
    {
        return By::Proxy;
    }
    if complete {
        assert_eq!(heard.body.len(), told.len(), "a cut answer looks complete");
        let sum = (answer.trailers && !request.old).then(|| plan::sum(salt));
        assert_eq!(heard.trailer, sum.as_deref(), "trailers of {}", request.id);
    }
    By::Origin
}
