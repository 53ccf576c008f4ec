//! One run: the engine, its pump, and everything around it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;
use weft_config::listener::Direction;

use super::http2;
use super::link::Link;
use super::peer::{Client, Origin, Peer};
use super::plan::{Book, Manners, Request, Tries};
use super::terms::Terms;
use super::tunnel::Relay;
use crate::balance::Cluster;
use crate::detect::Protocol;
use crate::endpoint::ConnectError;
use crate::http::codec::Codec;
use crate::http::engine::connection::Role;
use crate::http::engine::wires::READ_BYTES;
use crate::http::engine::{AttemptId, ConnId, Engine, EngineOptions, ExchangeId};
use crate::listener::ConnectionFacts;
use crate::overload::Overload;
use crate::snapshot::{Builder, SnapshotStore};
use crate::telemetry::{Metrics, Resource, Scope};

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) engine: Engine,
    cluster: Arc<Cluster>,
    pub(super) links: Vec<Link>,
    pub(super) aborted: Vec<ConnId>,
    pub(super) connects: Vec<Connecting>,
    pub(super) relays: Vec<Relay>,
    book: Book,
    /// Clients that have not come yet.
    coming: Vec<Peer>,
    /// Nothing fails, so that every answer is to be whole.
    pub(super) clean: bool,
    tunnels: bool,
    retries: bool,
    stash_max: usize,
    /// What may be under way on an HTTP/2 connection, downstream and upstream.
    windows: (i64, i64),
    /// The same of a stream.
    stream_windows: (i64, i64),
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
    Pass(Duration),
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let now = Instant::now();
        let terms = Terms::draw(&mut rng, seed.is_multiple_of(3));
        let metrics = Metrics::new();
        let store = SnapshotStore::new();
        let mut builder = Builder::new(store.clone(), metrics.clone());
        builder.put_cluster(Arc::new(terms.cluster), now);
        builder.put_listener(Arc::new(terms.listener), now);
        builder.commit(now);
        let cluster = store.current().cluster("c").unwrap().clone();
        let engine = Engine::new(EngineOptions {
            snapshots: store,
            scope: Scope::build(&metrics, &"none".into(), Direction::Inbound, &[]).unwrap(),
            overload: Overload::new(&metrics),
            rng: Rng::with_seed(seed),
            now,
        });
        let mut world = Self {
            engine,
            now,
            cluster,
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
            if let Some(step) = self.draw_step() {
                self.take(step);
                continue;
            }
            if self.coming.is_empty() && self.clients().all(|link| link.left) {
                break;
            }
            if !self.pass_time() {
                break;
            }
        }
        self.check_clients();
        for link in &mut self.links {
            if link.peer.is_client() {
                link.vanish();
            }
        }
        for round in 0.. {
            assert!(round < 10_000, "never comes to an end");
            if !self.settle() && !self.pass_time() {
                break;
            }
        }
        self.check_empty();
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
            if !matches!(step, Step::Pass(_) | Step::Drain) {
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
            Step::Pass(time) => {
                self.now += time;
                self.expire();
            }
        }
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
            direction: Direction::Inbound,
            protocol: matches!(client, Peer::Client2(_)).then_some(Protocol::Http2),
        };
        let id = self.engine.accepted(Rc::new(facts), self.now);
        self.links.push(Link::new(&mut self.rng, id, client));
        self.end_turn();
    }

    fn connect(&mut self, at: usize) {
        let Connecting { attempt, ok, .. } = self.connects.swap_remove(at);
        if ok {
            if let Some(id) = self.engine.connected(attempt, self.now) {
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

    /// What waits in memory is bounded, whatever the peers do.
    fn check_bounds(&self) {
        let most = self.stash_max + 4 * READ_BYTES + 400_000;
        for link in &self.links {
            let waiting = self.engine.pending(link.id).len();
            assert!(
                waiting <= most,
                "{waiting} bytes wait to be written, {most} may"
            );
        }
        for id in self.engine.wires.ids() {
            let connection = self.engine.wires.get(id).unwrap();
            if let (Role::Upstream(_), Codec::H2(codec)) = (&connection.role, &connection.codec) {
                let served = connection.streams.all().len();
                assert!(
                    codec.streams() <= served,
                    "a stream that nobody has to do with"
                );
            }
        }
        for id in self.engine.exchanges.keys() {
            self.check_held(id);
        }
    }

    /// What an exchange holds back is what its sender could send before it is held up itself.
    fn check_held(&self, id: ExchangeId) {
        let exchange = self.engine.exchanges.get(id).unwrap();
        let room = |shared: bool, window: i64| match shared {
            // Beside what another attempt may need.
            true => usize::try_from(window).unwrap() + self.stash_max,
            false => self.stash_max + READ_BYTES,
        };
        let (down, up) = self.stream_windows;
        let from_down = exchange.body.waiting() + exchange.raw_from_down.len();
        let most = room(self.engine.is_shared(exchange.down), down);
        assert!(
            from_down <= most,
            "{from_down} of a request wait, {most} may"
        );
        let from_up = exchange.rest.waiting() + exchange.raw_from_up.len();
        let most = room(exchange.attempt.http2, up);
        assert!(from_up <= most, "{from_up} of an answer wait, {most} may");
    }

    /// Everybody has heard what was to be heard, or found the connection closed.
    fn check_clients(&self) {
        for link in &self.links {
            let peer = &link.peer;
            assert!(
                !peer.is_client() || !peer.is_tame() || peer.is_done() || link.told,
                "a client waits for ever"
            );
            let closed = link.told || link.left || link.dropped;
            assert!(
                closed || !peer.is_tame() || peer.is_acknowledged(),
                "settings or a PING were not answered"
            );
            if self.clean {
                let complaints = peer.complaints();
                assert!(complaints.is_empty(), "{complaints:?}");
                assert!(
                    peer.is_done(),
                    "closed before the last answer: {:?}",
                    link.id
                );
            }
        }
        for (request, tries) in self.book.requests.iter().zip(&self.book.tries) {
            let repeats = self.retries || request.method != "POST";
            assert!(
                tries.begun <= 1 || repeats,
                "{} was begun twice",
                request.id
            );
            assert!(tries.begun <= 4, "{}: {tries:?}", request.id);
        }
    }

    fn check_empty(&self) {
        assert_eq!(self.engine.population(), (0, 0), "connections, exchanges");
        assert!(
            self.links.iter().all(|link| link.dropped),
            "a socket was kept"
        );
        assert!(self.engine.pools.by_key.is_empty(), "a pool was kept");
        assert_eq!(self.engine.pools.attempts.len(), 0, "a connect was kept");
        assert_eq!(self.engine.next_deadline(), None);
        for resource in [
            Resource::Connection,
            Resource::Pending,
            Resource::Request,
            Resource::Retry,
        ] {
            assert_eq!(self.cluster.stats.active(resource), 0, "{resource:?}");
        }
        for endpoint in self.cluster.endpoints(self.now) {
            assert_eq!(endpoint.state.active(), 0, "requests of an endpoint");
        }
    }
}
