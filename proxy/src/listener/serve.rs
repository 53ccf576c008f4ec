//! An accepted connection on its way to HTTP or a tunnel.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use weft_config::flag::ResponseFlag;
use weft_config::listener::{DownstreamCodec, Listener};

use super::admission::ConnectionGuard;
use super::admitted;
use super::bound::Settings;
use super::encrypted;
use super::facts::ConnectionFacts;
use super::first::{Dial, first_to_speak};
use super::meant::{facts, is_for_application};
use super::tcp::{Carried, Passing, carry};
use crate::detect::{Detector, Found, Protocol, Scan};
use crate::policy::Permit;
use crate::snapshot::{Absence, ChainKind, ChainView, ListenerView, TcpView, Wanted};
use crate::stream::Stream;
use crate::telemetry::{ConnectionLog, Limit};
use crate::worker::{HttpConnection, Worker};

/// A connection as it was accepted: a `TcpStream` of this worker's runtime, or one of the standard library on its way
/// to another's.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    pub(super) stream: S,
    pub(super) peer: SocketAddr,
    pub(super) settings: Arc<Settings>,
    pub(super) guard: ConnectionGuard,
}

/// An accepted connection between two workers.
pub(crate) type Parcel = Accepted<std::net::TcpStream>;

impl<S> Accepted<S> {
    pub(crate) fn try_map<T>(
        self,
        change: impl FnOnce(S) -> io::Result<T>,
    ) -> io::Result<Accepted<T>> {
        Ok(Accepted {
            stream: change(self.stream)?,
            peer: self.peer,
            settings: self.settings,
            guard: self.guard,
        })
    }
}

/// Serves a connection to its end, or until HTTP has it.
pub(crate) async fn serve(worker: Rc<Worker>, accepted: Accepted<TcpStream>) {
    // Boxed, so that a connection at rest does not carry the room that finding its way took.
    if let Some(carried) = Box::pin(open(&worker, accepted)).await {
        carried.run(&worker).await;
    }
}

async fn open(worker: &Rc<Worker>, accepted: Accepted<TcpStream>) -> Option<Carried> {
    let Accepted {
        stream,
        peer,
        settings,
        guard,
    } = accepted;
    let mut facts = match facts(&stream, peer, &settings, &guard.bound) {
        Ok(facts) => facts,
        Err(error) => {
            debug!(%peer, %error, "connection gone before it was looked at");
            return None;
        }
    };
    if !is_for_application(&settings, &facts) {
        debug!(%peer, destination = %facts.destination(), "redirected to a port that the application does not have");
        settings.stats.no_filter_chain.inc();
        return None;
    }
    let Some(view) = listener_view(worker, &mut facts).await else {
        settings.stats.connections_refused.inc();
        return None;
    };
    let seen = match plan(&view, &facts) {
        Plan::Known(protocol) => {
            facts.protocol = protocol;
            Seen::default()
        }
        Plan::Look(scan) => look(worker, &view, &mut facts, &stream, scan).await?,
    };
    let arrived = Arrived {
        stream: stream.into(),
        facts,
        seen,
        guard,
        settings,
    };
    let Some(chain) = view.find_chain(&arrived.facts) else {
        unmatched(&view, &arrived);
        return None;
    };
    let arrived = match &chain.tls {
        Some(context) => encrypted::accept(chain, context, arrived).await?,
        None => arrived,
    };
    let (permit, arrived) = admitted::admit(worker, chain, arrived)?;
    dispatch(worker, chain, arrived, permit).await
}

/// Counts and logs a connection that no filter chain takes: on a port that takes TLS of the mesh alone, whoever speaks plain text.
fn unmatched(view: &ListenerView, arrived: &Arrived) {
    arrived.settings.stats.no_filter_chain.inc();
    let Some(any) = view.chains.first() else {
        return;
    };
    let (facts, now) = (&arrived.facts, Instant::now());
    let destination = facts.destination();
    let spoken = match facts.transport_protocol() {
        "tls" => "TLS",
        _ => "plain text",
    };
    let mut log = ConnectionLog::begin(any.scope(), facts.peer, destination, None, now);
    log.flag(ResponseFlag::NR);
    log.details(format!(
        "filter_chain_not_found: nothing takes {spoken} on port {}",
        destination.port()
    ));
    log.finish(now);
}

/// What looking at a connection brought.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) bytes: Vec<u8>,
    dial: Option<Dial>,
}

/// A connection that has been looked at.
pub(super) struct Arrived {
    pub(super) stream: Stream,
    pub(super) facts: ConnectionFacts,
    pub(super) seen: Seen,
    guard: ConnectionGuard,
    pub(super) settings: Arc<Settings>,
}

async fn dispatch(
    worker: &Rc<Worker>,
    chain: &ChainView,
    arrived: Arrived,
    permit: Permit,
) -> Option<Carried> {
    let speaks = arrived.facts.protocol;
    match (&chain.kind, speaks) {
        (ChainKind::Tcp(tcp), _) => pass(worker, tcp, arrived, permit).await,
        (ChainKind::Http(_), Some(Protocol::Http1 | Protocol::Http2)) => {
            let Arrived {
                stream,
                facts,
                seen,
                guard,
                ..
            } = arrived;
            worker.http.serve(HttpConnection {
                stream,
                first_bytes: seen.bytes,
                facts,
                guard,
            });
            None
        }
        (ChainKind::Http(_), _) => {
            // Neither HTTP nor a chain for anything else.
            arrived.settings.stats.no_filter_chain.inc();
            None
        }
    }
}

async fn pass(
    worker: &Rc<Worker>,
    tcp: &Arc<TcpView>,
    arrived: Arrived,
    permit: Permit,
) -> Option<Carried> {
    let Arrived {
        stream,
        facts,
        seen,
        guard,
        ..
    } = arrived;
    let dialled = seen
        .dial
        .filter(|dial| Arc::ptr_eq(&dial.view, tcp))
        .map(|dial| dial.outcome);
    carry(
        worker,
        tcp,
        Passing {
            stream,
            facts,
            first_bytes: seen.bytes,
            guard,
            permit,
        },
        dialled,
    )
    .await
}

/// How a connection's protocol becomes known.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Declared, or of no interest.
    Known(Option<Protocol>),
    /// By its first bytes.
    Look(Scan),
}

fn plan(view: &ListenerView, facts: &ConnectionFacts) -> Plan {
    let asked_for = view.config.detection.enabled && chains_differ_by_protocol(&view.config);
    let chain = view.find_chain(facts);
    match chain.map(|chain| &chain.kind) {
        Some(ChainKind::Http(_)) if view.on_demand.is_some() => Plan::Look(Scan::Any),
        _ if asked_for => Plan::Look(Scan::Any),
        _ if chain.is_some_and(|chain| chain.tls.is_some()) => Plan::Look(Scan::Tls),
        Some(ChainKind::Http(http)) => match http.hcm.codec {
            DownstreamCodec::Auto => Plan::Look(Scan::Http),
            DownstreamCodec::Http1 => Plan::Known(Some(Protocol::Http1)),
            DownstreamCodec::Http2 => Plan::Known(Some(Protocol::Http2)),
        },
        Some(ChainKind::Tcp(_)) | None => Plan::Known(None),
    }
}

fn chains_differ_by_protocol(listener: &Listener) -> bool {
    listener.filter_chains.iter().any(|chain| {
        !chain.matches.application_protocols.is_empty()
            || !chain.matches.transport_protocol.is_empty()
            || !chain.matches.server_names.is_empty()
    })
}

/// Whether what a ClientHello asks for decides anything: who only passes it on does not wait for its end.
fn looks_into_hello(view: &ListenerView) -> bool {
    let chains = view.chains.iter().chain(&view.default_chain);
    chains.map(|chain| &chain.tls).any(Option::is_some)
        || view
            .config
            .filter_chains
            .iter()
            .any(|chain| chain.matches.asks_hello())
}

/// Looks at the first bytes; `None`: the connection failed meanwhile.
async fn look(
    worker: &Rc<Worker>,
    view: &ListenerView,
    facts: &mut ConnectionFacts,
    stream: &TcpStream,
    scan: Scan,
) -> Option<Seen> {
    let mut detector = Detector::new(scan);
    let deadline = Instant::now() + view.config.detection.timeout;
    let mut dial = None;
    let found = match detector.look(stream) {
        Ok(None) => match chain_if_opaque(view, facts).filter(|_| scan == Scan::Any) {
            Some((tcp, permit)) => {
                let first = first_to_speak(
                    worker,
                    view,
                    facts,
                    (tcp, &permit),
                    stream,
                    &mut detector,
                    deadline,
                )
                .await;
                dial = first.dial;
                first.found
            }
            None => timeout_at(deadline, detector.run(stream))
                .await
                .map_or(Ok(None), |found| found.map(Some)),
        },
        other => other,
    };
    facts.protocol = Some(match found {
        Ok(Some(Found::ByBytes(protocol))) => {
            if detector.met_bound() {
                worker.metrics.limits.hit(Limit::DetectionBytes);
            }
            protocol
        }
        Ok(Some(Found::ByEnd)) => detector.undecided(),
        Ok(None) => {
            worker.metrics.limits.hit(Limit::DetectionTime);
            detector.undecided()
        }
        Err(error) => {
            debug!(peer = %facts.peer, %error, "connection failed before its protocol was known");
            return None;
        }
    });
    if facts.protocol == Some(Protocol::Tls) && looks_into_hello(view) {
        // Who never ends its ClientHello finds its handshake out of time.
        let hello = timeout_at(deadline, detector.hello(stream)).await;
        facts.hello = hello.ok().and_then(Result::ok).flatten().map(Arc::new);
    }
    Some(Seen {
        bytes: detector.into_bytes(),
        dial,
    })
}

/// Where a connection goes if its server speaks first, or nobody does; nowhere, if it may not go there.
fn chain_if_opaque(view: &ListenerView, facts: &ConnectionFacts) -> Option<(Arc<TcpView>, Permit)> {
    let opaque = ConnectionFacts {
        protocol: Some(Protocol::Opaque),
        ..facts.clone()
    };
    let chain = view.find_chain(&opaque)?;
    let tcp = chain.tcp()?.clone();
    Some((tcp, Permit::foreseen(&chain.access, facts)?))
}

/// The listener in force. In mesh mode a connection to the address of a TCP service takes that service's listener.
async fn listener_view(worker: &Worker, facts: &mut ConnectionFacts) -> Option<Arc<ListenerView>> {
    let view = worker
        .snapshot
        .current()
        .listeners
        .get(&facts.listener)?
        .clone();
    let (Some(demand), Some(wanted)) = (&view.on_demand, facts.original_dst) else {
        return Some(view);
    };
    let answer = match demand.want(&wanted.to_string()) {
        Wanted::Ready(view) => Ok(view),
        Wanted::Absent(absence) => Err(absence),
        Wanted::Pending(ticket) => ticket.await,
    };
    match answer {
        Ok(service)
            if service
                .find_chain(facts)
                .is_some_and(|chain| chain.tcp().is_some()) =>
        {
            facts.listener = service.config.name.clone();
            Some(service)
        }
        // HTTP goes by its authority.
        Ok(_) => Some(view),
        Err(absence) => {
            if absence == Absence::TooMany {
                worker.metrics.limits.hit(Limit::Names);
            }
            match worker.snapshot.current().listener(UNKNOWN) {
                Some(unknown) => {
                    facts.listener = unknown.config.name.clone();
                    Some(unknown.clone())
                }
                None => Some(view),
            }
        }
    }
}

/// The listener that takes what was redirected on its way to where nobody of the mesh is known to be.
pub const UNKNOWN: &str = "outbound-unknown";
