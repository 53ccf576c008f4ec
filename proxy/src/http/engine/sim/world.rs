//! One run: the engine, its pump, and everything around it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use weft_config::listener::Direction;

use super::changes::Changes;
use super::client::Client;
use super::http2;
use super::link::Link;
use super::origin::Origin;
use super::peer::Peer;
use super::plan::{Book, Manners, Request, Tries};
use super::terms::Terms;
use super::tunnel::Relay;
use crate::detect::Protocol;
use crate::endpoint::ConnectError;
use crate::http::bounds::Bounds;
use crate::http::engine::connection::{Closing, Role};
use crate::http::engine::{AttemptId, ConnId, Engine, EngineOptions, ExchangeId};
use crate::listener::ConnectionFacts;
use crate::overload::Overload;
use crate::telemetry::{Metrics, Scope};

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) engine: Engine,
    pub(super) changes: Changes,
    pub(super) metrics: Arc<Metrics>,
    /// Exchanges that were seen to have a route.
    pub(super) routed: Vec<ExchangeId>,
    pub(super) links: Vec<Link>,
    pub(super) aborted: Vec<ConnId>,
    pub(super) connects: Vec<Connecting>,
    pub(super) relays: Vec<Relay>,
    pub(super) book: Book,
    /// Clients that have not come yet.
    coming: Vec<Peer>,
    /// Nothing fails, so that every answer is to be whole.
    pub(super) clean: bool,
    tunnels: bool,
    calls: bool,
    pub(super) obeys: bool,
    pub(super) retries: bool,
    pub(super) stash_max: usize,
    /// What may be under way on an HTTP/2 connection, downstream and upstream.
    windows: (i64, i64),
    /// The same of a stream.
    pub(super) stream_windows: (i64, i64),
}

pub(super) struct Connecting {
    pub(super) attempt: AttemptId,
    pub(super) at: Instant,
    pub(super) ok: bool,
}

/// What may happen next.
enum Step {
    Poll(usize),
    Act,
    Connect(usize),
    Accept,
    Drain,
    /// Another snapshot comes into force.
    Change,
    Pass(Duration),
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now = Instant::now();
        let terms = Terms::draw(&mut rng, seed.is_multiple_of(3));
        let metrics = Metrics::new();
        let changes = Changes::new(&terms, metrics.clone(), now);
        let engine = Engine::new(EngineOptions {
            snapshots: changes.store(),
            scope: Scope::build(&metrics, &"none".into(), Direction::Inbound, &[]).unwrap(),
            overload: Overload::new(&metrics),
            bounds: Bounds::default(),
            half_closed_timeout: Duration::from_secs(60),
            rng: Rng::with_seed(seed),
            now,
        });
        let mut world = Self {
            engine,
            now,
            changes,
            routed: Vec::new(),
            links: Vec::new(),
            aborted: Vec::new(),
            connects: Vec::new(),
            relays: Vec::new(),
            book: Book {
                requests: Vec::new(),
                tries: Vec::new(),
            },
            coming: Vec::new(),
            clean: terms.clean,
            tunnels: terms.tunnels,
            calls: terms.calls,
            obeys: terms.obeys,
            metrics,
            retries: terms.retries,
            stash_max: terms.stash_max,
            windows: terms.windows,
            stream_windows: terms.stream_windows,
            rng,
        };
        world.draw_clients();
        world
    }

    fn draw_clients(&mut self) {
        for _ in 0..self.rng.usize(1..8) {
            let http2 = self.rng.bool();
            let count = self.rng.usize(1..if http2 { 12 } else { 6 });
            let mut requests = Vec::new();
            for at in 0..count {
                let id = self.book.requests.len();
                let last = at + 1 == count;
                let rng = &mut self.rng;
                let request = match self.tunnels && (last || http2) && rng.u8(..8) == 0 {
                    true => Request::draw_tunnel(rng, id, self.clean),
                    false if self.calls && rng.bool() => {
                        Request::draw_call(rng, id, last, self.clean, http2)
                    }
                    false => Request::draw(rng, id, last, self.clean, http2),
                };
                self.book.requests.push(request.clone());
                requests.push(request);
            }
            let manners = Manners::draw(&mut self.rng, self.clean);
            let (rng, clean) = (&mut self.rng, self.clean);
            self.coming.push(match http2 {
                true => {
                    let window = self.windows.0;
                    Peer::Client2(http2::Client::new(rng, requests, manners, clean, window))
                }
                false => Peer::Client(Client::new(rng, requests, manners)),
            });
        }
        self.book.tries = vec![Tries::default(); self.book.requests.len()];
    }

    pub(super) fn run(mut self) {
        for at in 0.. {
            assert!(at < 400_000, "never comes to rest");
            self.check_bounds();
            self.check_routes();
            self.check_deadlines(self.now);
            if let Some(step) = self.draw_step() {
                self.take(step);
                continue;
            }
            // Where nothing is to fail, nobody sleeps longer than the proxy waits.
            if (self.clean || self.rng.bool()) && self.wake() {
                continue;
            }
            if self.coming.is_empty() && self.clients().all(|link| link.left) {
                break;
            }
            if !self.pass_time() && !self.wake() {
                break;
            }
        }
        // Whoever still sleeps has not heard yet what was said.
        while self.wake() {
            self.settle();
        }
        self.check_clients();
        for link in &mut self.links {
            if link.peer.is_client() {
                link.vanish();
            }
        }
        for round in 0.. {
            assert!(round < 10_000, "never comes to an end");
            if !self.settle() && !self.wake() && !self.pass_time() {
                break;
            }
        }
        self.check_empty();
        self.check_counted();
    }

    fn clients(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| link.peer.is_client())
    }

    /// Runs everything that needs no time. Whether there was anything.
    fn settle(&mut self) -> bool {
        let mut any = false;
        for at in 0.. {
            assert!(at < 400_000, "never comes to rest");
            let Some(step) = self.draw_step() else {
                break;
            };
            if !matches!(step, Step::Pass(_) | Step::Drain | Step::Change) {
                any = true;
            }
            self.take(step);
        }
        any
    }

    fn draw_step(&mut self) -> Option<Step> {
        let mut tried: Vec<usize> = (0..self.links.len() + self.connects.len() + 1).collect();
        self.rng.shuffle(&mut tried);
        if !self.clean && self.rng.u16(..400) == 0 && !self.coming.is_empty() {
            return Some(Step::Pass(Duration::from_millis(self.rng.u64(..3000))));
        }
        if !self.clean && self.rng.u16(..4000) == 0 {
            return Some(Step::Drain);
        }
        if self.rng.u16(..200) == 0 {
            return Some(Step::Change);
        }
        if self.rng.u16(..100) == 0 {
            self.wake();
        }
        if self.rng.bool() && self.relay() {
            return Some(Step::Act);
        }
        for at in tried {
            if let Some(link) = self.links.get(at) {
                let polls = link.scheduled && !link.dropped && !link.switched;
                if polls && self.rng.bool() {
                    return Some(Step::Poll(at));
                }
                if self.act(at) {
                    return Some(Step::Act);
                }
                if polls {
                    return Some(Step::Poll(at));
                }
            } else if let Some(connecting) = self.connects.get(at - self.links.len()) {
                if connecting.at <= self.now {
                    return Some(Step::Connect(at - self.links.len()));
                }
            } else if !self.coming.is_empty() {
                return Some(Step::Accept);
            }
        }
        self.relay().then_some(Step::Act)
    }

    /// Lets a tunnel pass something on. Whether there was anything.
    fn relay(&mut self) -> bool {
        let (rng, links) = (&mut self.rng, &mut self.links);
        let Some(at) = self.relays.iter_mut().position(|it| it.act(rng, links)) else {
            return false;
        };
        if self.relays[at].is_over(links) {
            self.relays.swap_remove(at).end(self.now);
        }
        true
    }

    /// Lets a peer do something.
    fn act(&mut self, at: usize) -> bool {
        self.links[at].act(&mut self.rng, &mut self.book)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Poll(at) => self.poll(at),
            Step::Act => {}
            Step::Connect(at) => self.connect(at),
            Step::Accept => self.accept(),
            Step::Drain => {
                self.engine.drain(self.now);
                self.end_turn();
            }
            Step::Change => self.change(),
            Step::Pass(time) => {
                self.now += time;
                self.expire();
            }
        }
    }

    /// Another snapshot comes into force: nothing that is in use is closed.
    fn change(&mut self) {
        let used = self.engine.wires.ids();
        let used: Vec<ConnId> = used.into_iter().filter(|id| self.in_use(*id)).collect();
        self.changes.make(&mut self.rng, self.now);
        self.engine.sweep(self.now);
        self.end_turn();
        for id in used {
            assert!(self.engine.is_open(id), "a change closed {id:?}");
        }
    }

    /// Whether a downstream may go on asking on a connection, or an upstream answers on it.
    fn in_use(&self, id: ConnId) -> bool {
        let connection = self.engine.wires.get(id).unwrap();
        connection.closing == Closing::No
            && (matches!(connection.role, Role::Downstream(_)) || !connection.streams.is_empty())
    }

    /// Wakes one of the peers that do not read. Whether there is any.
    fn wake(&mut self) -> bool {
        let asleep = self.links.iter_mut().filter(|link| link.is_asleep());
        let Some(link) = self.rng.choice(asleep.collect::<Vec<_>>()) else {
            return false;
        };
        link.wake(&mut self.rng);
        true
    }

    /// Time passes until something is due. Whether there is anything to wait for.
    fn pass_time(&mut self) -> bool {
        let connects = self.connects.iter().map(|connecting| connecting.at).min();
        let Some(next) = connects
            .into_iter()
            .chain(self.engine.next_deadline())
            .min()
        else {
            return false;
        };
        self.now = self.now.max(next);
        self.check_deadlines(self.now);
        self.expire();
        true
    }

    fn expire(&mut self) {
        if self.engine.next_deadline().is_some_and(|at| at <= self.now) {
            self.engine.expire(self.now);
            self.end_turn();
        }
    }

    fn accept(&mut self) {
        let Some(client) = self.coming.pop() else {
            return;
        };
        let facts = ConnectionFacts {
            listener: "in".into(),
            peer: "10.0.0.9:1".parse().unwrap(),
            local: "127.0.0.1:1".parse().unwrap(),
            original_dst: None,
            beside: None,
            direction: Direction::Inbound,
            protocol: matches!(client, Peer::Client2(_)).then_some(Protocol::Http2),
            hello: None,
            tls: None,
        };
        let id = self.engine.accepted(Rc::new(facts), self.now);
        self.links.push(Link::new(&mut self.rng, id, client));
        self.end_turn();
    }

    fn connect(&mut self, at: usize) {
        let Connecting { attempt, ok, .. } = self.connects.swap_remove(at);
        if ok {
            if let Some(id) = self.engine.connected(attempt, None, self.now) {
                let peer = self.new_origin(id);
                self.links.push(Link::new(&mut self.rng, id, peer));
            }
        } else {
            let error = ConnectError::Timeout {
                address: "nowhere".to_owned(),
                limit: Duration::from_secs(2),
            };
            self.engine.connect_failed(attempt, &error, self.now);
        }
        self.end_turn();
    }

    /// An origin that speaks what it is spoken to.
    fn new_origin(&mut self, id: ConnId) -> Peer {
        if self.engine.is_shared(id) {
            let window = self.windows.1;
            Peer::Origin2(http2::Origin::new(&mut self.rng, self.clean, window))
        } else {
            Peer::Origin(Origin::new(self.rng.bool()))
        }
    }
}
