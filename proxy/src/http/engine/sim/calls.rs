//! gRPC calls: requests like others, of which one thing more is true. Each ends with exactly one status, which is its origin's or
//! blames nobody wrongly, in its time.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use weft_config::grpc::GrpcStatus;
use weft_config::listener::Direction;

use super::plan::{self, Answer, Fate, Framing, Kind, Request};
use super::world::World;
use crate::http::engine::exchange::Exchange;
use crate::policy::parse_grpc_timeout;

/// Fields as they are written: `name`, `value`.
pub(super) type Pairs = Vec<(&'static str, String)>;

/// What makes a request a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// What its caller says of its time.
    timeout: Option<(&'static str, Duration)>,
}

/// What makes an answer one to a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) status: u32,
    /// The head says it, and nothing follows.
    pub(super) trailers_only: bool,
}

/// How an answer that has come whole was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// All of it by its origin.
    Origin,
    /// By the proxy, from its beginning or behind what had come.
    Proxy,
}

const TIMEOUTS: [(&str, Duration); 4] = [
    ("60m", Duration::from_millis(60)),
    ("500000u", Duration::from_millis(500)),
    ("3S", Duration::from_secs(3)),
    ("1M", Duration::from_secs(60)),
];

/// What one message to be repeated fails with.
pub(super) const UNAVAILABLE: u8 = 14;

impl Request {
    /// A call: of one message or of a stream of them, which nobody here can tell apart but by who waits for whom.
    pub(super) fn draw_call(
        rng: &mut Rng,
        id: usize,
        last: bool,
        clean: bool,
        http2: bool,
    ) -> Self {
        let mut call = Self::draw(rng, id, last, clean, http2);
        // Where nothing is to fail, nobody is short of time.
        let timeout = (!clean && rng.bool()).then(|| *rng.choice(&TIMEOUTS).unwrap());
        if call.framing == Framing::None {
            call.body = rng.usize(..300);
        }
        (call.kind, call.method, call.old) = (Kind::Plain, "POST", false);
        (call.framing, call.trailers) = (Framing::Chunked, false);
        call.call = Some(Call { timeout });
        for answer in &mut call.answers {
            answer.become_calls(rng);
        }
        call
    }

    /// What the head of a call says beside what others do.
    pub(super) fn call_fields(&self) -> Pairs {
        let Some(call) = self.call else {
            return Pairs::new();
        };
        let mut fields = vec![
            ("content-type", "application/grpc".to_owned()),
            ("te", "trailers".to_owned()),
        ];
        if let Some((text, _)) = call.timeout {
            fields.push(("grpc-timeout", text.to_owned()));
        }
        fields
    }

    fn timeout(&self) -> Option<Duration> {
        Some(self.call?.timeout?.1)
    }

    /// An origin is told by the head of this call, whose fields are looked up by name, that it is one, and of no more time than
    /// its caller has.
    pub(super) fn check_told<'h>(&self, field: impl Fn(&str) -> Option<&'h str>) {
        if self.call.is_none() {
            return;
        }
        assert_eq!(field("content-type"), Some("application/grpc"));
        let told = field("grpc-timeout").map(|it| parse_grpc_timeout(it.as_bytes()).expect(it));
        let most = self.timeout();
        assert_eq!(told.is_some(), most.is_some(), "{}", self.id);
        assert!(told <= most, "{}: told {told:?} of {most:?}", self.id);
    }
}

impl Answer {
    fn become_calls(&mut self, rng: &mut Rng) {
        // What is no gRPC at all passes as it is.
        if self.status != 200 {
            return;
        }
        let told = Told {
            status: *rng.choice(&[0, 0, 0, 5, u32::from(UNAVAILABLE)]).unwrap(),
            trailers_only: rng.u8(..4) == 0,
        };
        if told.trailers_only {
            self.body = 0;
        }
        self.framing = match told.trailers_only {
            true => Framing::Length,
            false => Framing::Chunked,
        };
        self.trailers = !told.trailers_only;
        self.says_close &= self.fate == Fate::Closed;
        self.told = Some(told);
    }

    /// What the head says beside what others do.
    pub(super) fn call_fields(&self) -> Pairs {
        let mut fields = Pairs::new();
        if let Some(told) = self.told {
            fields.push(("content-type", "application/grpc".to_owned()));
            if told.trailers_only {
                fields.push(("grpc-status", told.status.to_string()));
            }
        }
        fields
    }

    /// The fields behind the body.
    pub(super) fn trailer_fields(&self, salt: usize) -> Pairs {
        let mut fields = Pairs::new();
        if self.trailers {
            fields.push(("x-sum", plan::sum(salt)));
            let told = self.told.map(|told| told.status.to_string());
            fields.extend(told.map(|status| ("grpc-status", status)));
        }
        fields
    }
}

/// What was heard of a call's status, in its head and behind its body.
pub(super) fn statuses<'f>(
    head: &'f [(String, String)],
    trailers: &'f [(String, String)],
) -> Vec<&'f str> {
    let all = head.iter().chain(trailers);
    let found = all.filter(|(name, _)| name == "grpc-status");
    found.map(|(_, value)| value.as_str()).collect()
}

/// The answer to a call has come whole: it has one status, and who has told it.
///
/// `answer`: what the origin said, if one did; `summed`: whether its own trailers came.
pub(super) fn check_status(answer: Option<&Answer>, statuses: &[&str], summed: bool) -> By {
    let told = match answer {
        None => None,
        Some(answer) => {
            let Some(told) = answer.told else {
                assert!(statuses.is_empty(), "{statuses:?} of what is no gRPC");
                return By::Origin;
            };
            Some(told)
        }
    };
    let [status] = statuses else {
        panic!("{statuses:?} of one call");
    };
    match told.filter(|told| told.trailers_only || summed) {
        Some(told) => {
            assert_eq!(*status, told.status.to_string(), "another status");
            By::Origin
        }
        None => {
            assert_ne!(*status, "0", "a call that was cut looks well");
            By::Proxy
        }
    }
}

impl World {
    /// No call that is to obey its caller's deadline lives at `at` or waits for that time, if its own is over before, unless all that is
    /// left of it waits for the caller to read.
    pub(super) fn check_deadlines(&self, at: Instant) {
        if !self.obeys {
            return;
        }
        for id in self.engine.exchanges.keys() {
            let exchange = self.engine.exchanges.get(id).unwrap();
            let until = self.until(exchange);
            assert!(
                until.is_none_or(|until| at <= until) || exchange.rest.is_last(),
                "a call outlives its deadline"
            );
        }
    }

    fn until(&self, exchange: &Exchange) -> Option<Instant> {
        let path = std::str::from_utf8(exchange.head.path()).ok()?;
        let id: usize = path.strip_prefix('/')?.parse().ok()?;
        Some(exchange.started_at + self.book.requests[id].timeout()?)
    }

    /// Each call was counted once, by the status that its caller heard.
    pub(super) fn check_counted(&self) {
        let (mut begun, mut heard) = (0, Vec::new());
        for link in &self.links {
            let (calls, statuses) = link.peer.calls();
            begun += calls;
            heard.extend(statuses);
        }
        let mut stats = vec![self.metrics.no_cluster()];
        for cluster in self.changes.clusters() {
            if !stats.iter().any(|it| it.name == cluster.stats.name) {
                stats.push(cluster.stats.clone());
            }
        }
        let counted = |index: usize| -> u64 {
            let totals = stats
                .iter()
                .filter_map(|it| it.http_totals(Direction::Inbound));
            totals.map(|it| it.grpc[index]).sum()
        };
        let all: u64 = (0..=GrpcStatus::COUNT).map(counted).sum();
        assert!(all <= begun, "{all} calls were counted, and {begun} made");
        for status in 0..GrpcStatus::COUNT {
            let times = heard
                .iter()
                .filter(|it: &&u32| **it as usize == status)
                .count();
            let counted = counted(status);
            assert!(
                counted >= times as u64,
                "status {status} was heard {times} times and counted {counted}"
            );
        }
        let running = self.metrics.listener(&"in".into(), Direction::Inbound);
        assert_eq!(running.requests_active.get(), 0, "requests running");
    }
}
