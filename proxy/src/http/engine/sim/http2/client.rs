//! A client that has many requests under way.

use fastrand::Rng;

use super::super::calls::{self, By};
use super::super::client::{Heard, check};
use super::super::peer::Wish;
use super::super::plan::{self, Framing, Kind, Manners, Request};
use super::super::tunnel::{check_downward, upward};
use super::end::{End, field};
use super::frames;
use super::{Fields, Goals, draw_settings, owned};

/// A client with its requests, and what it has heard.
pub(in super::super) struct Client {
    end: End,
    pub(in super::super) manners: Manners,
    calls: Vec<Call>,
    /// Streams open at a time.
    at_once: usize,
    /// Does not wait for the proxy's settings.
    hasty: bool,
    goals: Goals,
    /// Nothing is to fail.
    clean: bool,
    /// How often it says what nobody needs, and gives a request up.
    whims: u8,
    cancels: u8,
    bytes_sent: usize,
    bytes_got: usize,
    pub(in super::super) calls_begun: u64,
    pub(in super::super) statuses: Vec<u32>,
    pub(in super::super) reset: bool,
}

/// One request.
struct Call {
    request: Request,
    state: State,
    body: Vec<u8>,
    sent: usize,
    /// Its tunnel was granted, or not.
    granted: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Waits,
    Runs(u32),
    /// Answered in full.
    Answered,
    /// Answered by the proxy itself.
    Refused(String),
    /// Its answer did not come, or not whole: how much of it had come, and the code of the reset, if there was one.
    Lost(usize, Option<u32>),
}

impl Client {
    pub(in super::super) fn new(
        rng: &mut Rng,
        requests: Vec<Request>,
        manners: Manners,
        clean: bool,
        window_max: i64,
    ) -> Self {
        let calls = requests.into_iter().map(|request| Call {
            body: plan::body(request.id, request.body),
            request,
            state: State::Waits,
            sent: 0,
            granted: None,
        });
        Self {
            end: End::new(false, draw_settings(rng), window_max),
            manners,
            calls: calls.collect(),
            at_once: *rng.choice(&[1, 2, 5, 100]).unwrap(),
            hasty: rng.bool(),
            clean,
            goals: Goals::draw(rng),
            whims: rng.u8(..6),
            cancels: if clean { 0 } else { rng.u8(..4) / 2 },
            bytes_sent: 0,
            bytes_got: 0,
            calls_begun: 0,
            statuses: Vec::new(),
            reset: false,
        }
    }

    pub(in super::super) fn is_done(&self) -> bool {
        let goes = self.end.goaway.is_some();
        self.calls.iter().all(|call| match call.state {
            State::Waits => goes,
            State::Runs(_) => false,
            _ => true,
        })
    }

    /// What went otherwise than it should have, where nothing fails.
    pub(in super::super) fn complaints(&self) -> Vec<String> {
        let calls = self.calls.iter();
        let bad = calls.filter(|call| matches!(call.state, State::Refused(_) | State::Lost(..)));
        bad.map(|call| format!("request {}: {:?}", call.request.id, call.state))
            .collect()
    }

    /// Whether everything that was asked of the proxy itself was answered.
    pub(in super::super) fn is_acknowledged(&self) -> bool {
        self.end.is_answered()
    }

    pub(in super::super) fn unsent(&self) -> &[u8] {
        let unsent = self.end.unsent();
        match self.manners {
            Manners::Leaves(at) | Manners::Resets(at) => {
                &unsent[..unsent.len().min(at.saturating_sub(self.bytes_sent))]
            }
            _ => unsent,
        }
    }

    pub(in super::super) fn sent(&mut self, n: usize) {
        self.bytes_sent += n;
        self.end.sent(n);
    }

    pub(in super::super) fn reads(&self) -> bool {
        !matches!(self.manners, Manners::StopsReading(at) if self.bytes_got >= at)
    }

    pub(in super::super) fn wish(&self, told: bool) -> Wish {
        match self.manners {
            Manners::Leaves(at) if self.bytes_sent >= at => Wish::Close,
            Manners::Resets(at) if self.bytes_sent >= at => Wish::Reset,
            _ if self.is_done() || told => Wish::Close,
            _ => Wish::Stay,
        }
    }

    pub(in super::super) fn received(&mut self, bytes: &[u8]) {
        self.bytes_got += bytes.len();
        self.end.received(bytes);
        if let Some((last, code)) = self.end.goaway {
            // Where time passes by itself, an acknowledgement may be under way for too long.
            let late = !self.clean && code == frames::SETTINGS_TIMEOUT;
            assert!(late || code == frames::NO_ERROR, "we are blamed: {code}");
            for call in &mut self.calls {
                if matches!(call.state, State::Runs(id) if id > last) {
                    call.state = State::Waits;
                }
            }
        }
        for at in 0..self.calls.len() {
            self.look(at, false);
        }
    }

    /// The proxy closed, in order or not.
    pub(in super::super) fn ended(&mut self, reset: bool) {
        self.reset = reset;
        for at in 0..self.calls.len() {
            self.look(at, true);
        }
    }

    /// Whether an answer is over, and whether it is a true one.
    fn look(&mut self, at: usize, closed: bool) {
        let call = &mut self.calls[at];
        let State::Runs(id) = call.state else {
            return;
        };
        let stream = &self.end.streams[&id];
        if call.request.kind != Kind::Plain
            && call.granted.is_none()
            && let Some(head) = stream.head()
        {
            let granted = field(head, ":status") == Some("200");
            call.granted = Some(granted);
            call.body = if granted {
                upward(&call.request)
            } else {
                Vec::new()
            };
        }
        let half = call.granted == Some(true) && !stream.done;
        if half && stream.ended && stream.reset.is_none() && !closed {
            return;
        }
        if !stream.ended && stream.reset.is_none() && !closed {
            return;
        }
        let Some(head) = stream.head() else {
            assert!(!stream.ended, "an end before an answer");
            match stream.reset {
                Some(frames::REFUSED_STREAM) => {
                    let max = self.end.proxy.map(|it| it.streams_max);
                    assert!(self.hasty || max.is_some_and(|max| max < self.at_once));
                    call.state = State::Waits;
                    call.sent = 0;
                }
                Some(code) => panic!("request {} was reset for {code}", call.request.id),
                None => call.state = State::Lost(0, None),
            }
            return;
        };
        if call.granted == Some(true) {
            check_downward(&call.request, &stream.body, stream.ended);
            call.state = match stream.ended && stream.done {
                true => State::Answered,
                false => State::Lost(stream.body.len(), stream.reset),
            };
            return;
        }
        let heard = Heard {
            status: field(head, ":status").unwrap().parse().unwrap(),
            id: field(head, "x-id"),
            flag: field(head, "x-weft-response-flag"),
            body: &stream.body,
            trailer: stream.trailers.as_ref().and_then(|it| field(it, "x-sum")),
            statuses: calls::statuses(head, stream.trailers.as_deref().unwrap_or_default()),
        };
        let by = check(&call.request, &heard, stream.ended);
        if stream.ended {
            self.statuses.extend(heard.status());
        }
        let length = field(head, "content-length").map(|length| length.parse().unwrap());
        if stream.ended && call.request.method != "HEAD" {
            assert!(length.is_none_or(|length: usize| length == stream.body.len()));
        }
        call.state = match (stream.ended, by) {
            (false, _) => State::Lost(stream.body.len(), stream.reset),
            (true, By::Origin) => State::Answered,
            (true, By::Proxy) => State::Refused(format!("{stream:?}")),
        };
    }

    /// Does one of the things that it may do now. Whether there was any.
    pub(in super::super) fn think(&mut self, rng: &mut Rng) -> bool {
        if self.end.unsent().len() > 20_000 {
            return false;
        }
        let mut ways = [0, 1, 2, 3, 4];
        rng.shuffle(&mut ways);
        ways.into_iter().any(|way| match way {
            0 => self.begin(rng),
            1 => self.go_on(rng),
            2 => {
                let Goals { stream, connection } = self.goals;
                self.end.credit(rng, stream, connection)
            }
            3 if self.whims > 0 && rng.u8(..20) == 0 => {
                self.whims -= 1;
                self.end.whim(rng);
                true
            }
            4 if self.cancels > 0 && rng.u8(..20) == 0 => self.cancel(rng),
            _ => false,
        })
    }

    fn running(&self) -> Vec<(usize, u32)> {
        let calls = self.calls.iter().enumerate();
        calls
            .filter_map(|(at, call)| match call.state {
                State::Runs(id) => Some((at, id)),
                _ => None,
            })
            .collect()
    }

    /// Sends the head of a request.
    fn begin(&mut self, rng: &mut Rng) -> bool {
        let max = match self.end.proxy {
            Some(proxy) => proxy.streams_max.min(self.at_once),
            None if self.hasty => self.at_once,
            None => return false,
        };
        let open = self.end.streams.values().filter(|it| !it.is_over()).count();
        let waiting = |call: &Call| call.state == State::Waits;
        let Some(at) = self.calls.iter().position(waiting) else {
            return false;
        };
        let tunnels = self.end.proxy.is_some_and(|it| it.tunnels);
        let asks = self.calls[at].request.kind == Kind::Upgrade;
        if open >= max || self.end.goaway.is_some() || (asks && !tunnels) {
            return false;
        }
        let id = self.end.open_stream();
        let call = &mut self.calls[at];
        call.state = State::Runs(id);
        self.calls_begun += u64::from(call.request.call.is_some());
        let tunnel = call.request.kind != Kind::Plain;
        let ends = !tunnel && call.request.body == 0 && !call.request.trailers && rng.bool()
            || !tunnel && call.request.framing == Framing::None;
        self.end.head(rng, id, &head(&call.request), ends);
        true
    }

    /// Sends something more of a request.
    fn go_on(&mut self, rng: &mut Rng) -> bool {
        let mut running = self.running();
        rng.shuffle(&mut running);
        running.into_iter().any(|(at, id)| {
            let stream = &self.end.streams[&id];
            let call = &mut self.calls[at];
            let waits = call.request.kind != Kind::Plain && call.granted.is_none();
            if stream.done || stream.is_over() || waits {
                return false;
            }
            let (request, rest) = (&call.request, &call.body[call.sent..]);
            if rest.is_empty() && request.trailers {
                let trailers = vec![("x-sum".to_owned(), plan::sum(request.id))];
                self.end.head(rng, id, &trailers, true);
                return true;
            }
            let before = self.end.unsent().len();
            call.sent += self.end.data(rng, id, rest, !request.trailers);
            self.end.unsent().len() > before
        })
    }

    /// Gives up a request.
    fn cancel(&mut self, rng: &mut Rng) -> bool {
        let running = self.running();
        let Some((at, id)) = rng.choice(running) else {
            return false;
        };
        self.cancels -= 1;
        self.end.reset(id, frames::CANCEL);
        self.calls[at].state = State::Lost(0, Some(frames::CANCEL));
        if rng.bool() {
            self.end.ping(rng.u64(..));
        }
        true
    }
}

impl End {
    fn open_stream(&mut self) -> u32 {
        let id = if self.highest == 0 {
            1
        } else {
            self.highest + 2
        };
        self.highest = id;
        self.streams.insert(id, Default::default());
        id
    }
}

fn head(request: &Request) -> Fields {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let path = format!("/{}", request.id);
    match request.kind {
        Kind::Plain => {}
        Kind::Connect => return vec![pair(":method", "CONNECT"), pair(":authority", "a:1")],
        Kind::Upgrade => {
            return vec![
                pair(":method", "CONNECT"),
                pair(":protocol", "websocket"),
                pair(":scheme", "http"),
                pair(":authority", "a"),
                pair(":path", &path),
                pair("sec-websocket-version", "13"),
            ];
        }
    }
    let mut fields = vec![
        (":method".to_owned(), request.method.to_owned()),
        (":scheme".to_owned(), "http".to_owned()),
        (":authority".to_owned(), "a".to_owned()),
        (":path".to_owned(), format!("/{}", request.id)),
    ];
    if request.framing == Framing::Length {
        fields.push(("content-length".to_owned(), request.body.to_string()));
    }
    fields.extend(owned(request.call_fields()));
    fields
}
