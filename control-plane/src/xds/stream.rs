//! Moves the messages of one stream between its socket and its session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::debug;
use weft_config::spiffe::SpiffeId;

use super::node::NodeInfo;
use super::push::Push;
use super::request::{DeltaRequest, Refusal, SotwRequest};
use super::server::Core;
use super::session::{Answer, Session};
use crate::accept::Peer;
use crate::accept::seats::Speaking;
use crate::identity::{AUDIT, ClientCertificate};
use crate::snapshot::{ResourceType, Snapshot, may_see};
use crate::source::workloads::RegistrationGuard;
use crate::status::{BoardGuard, Inspect, StreamStatus};

/// A request of either protocol.
#[derive(Debug)]
pub(crate) enum Request {
    Sotw(SotwRequest),
    Delta(DeltaRequest),
}

impl Request {
    /// A name that it subscribes to and that a client which has proved to be `identity` may not know of.
    fn foreign(&self, identity: Option<&SpiffeId>) -> Option<&str> {
        let (type_url, names) = match self {
            Self::Sotw(request) => (&request.type_url, &request.names),
            Self::Delta(request) => (&request.type_url, &request.subscribe),
        };
        let listeners = ResourceType::Listener.type_url();
        let mut names = names
            .iter()
            .filter(|_| type_url.is_empty() || type_url == listeners);
        names
            .find(|name| !may_see(identity, name))
            .map(String::as_str)
    }
}

/// What a stream needs besides its session.
#[derive(Debug)]
pub(crate) struct StreamContext {
    pub(crate) core: Arc<Core>,
    pub(crate) peer: Option<Peer>,
    /// What the client has proved with who it is, where it had to.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    pub(crate) service: &'static str,
}

/// How long a stream may stay open without having said who asks, where streams are short: it takes one of those that there
/// can be. Where there is room it stays, for a client may have nothing to ask for until it is used.
const INTRODUCTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What is held while the node is known.
struct Presence {
    _speaking: Option<Speaking>,
    board: BoardGuard,
    registration: Option<RegistrationGuard>,
    inspections: mpsc::Receiver<Inspect>,
}

/// Runs one stream until the client or the server ends it.
pub(crate) async fn run<S>(
    mut session: Session,
    context: StreamContext,
    requests: S,
    responses: mpsc::Sender<Result<Push, Status>>,
) where
    S: Stream<Item = Result<Request, Status>>,
{
    let mut requests = std::pin::pin!(requests);
    let mut snapshots = context.core.snapshots.subscribe();
    let mut stop = context.core.stop.clone();
    let mut snapshot = Arc::clone(&snapshots.borrow_and_update());
    let mut presence: Option<Presence> = None;
    // Whether the session may have something to say: only then is room in the channel awaited.
    let mut restless = false;
    let mut lost = std::pin::pin!(context.certificate_lost());
    // Whether it was said that the client asks for what is of others.
    let mut told = false;
    let mut introduced_by = Instant::now() + INTRODUCTION_TIMEOUT;
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => {
                let _gone = responses.try_send(Err(Status::unavailable("the control plane is stopping")));
                return;
            }
            request = requests.next() => {
                let request = match request {
                    Some(Ok(request)) => request,
                    Some(Err(status)) => {
                        debug!(peer = ?context.peer, %status, "stream failed");
                        let _gone = responses.try_send(Err(status));
                        return;
                    }
                    None => return,
                };
                if !told && let Some(name) = request.foreign(context.identity()) {
                    context.audit("subscription to what is of others", name);
                    told = true;
                }
                match take(&mut session, request) {
                    Ok(answer) => context.core.counters.answered(answer),
                    Err(refusal) => {
                        debug!(peer = ?context.peer, %refusal, "stream refused");
                        if let Refusal::Claim(why) = &refusal {
                            context.audit("registration refused", &why.to_string());
                        }
                        context.core.counters.refused_streams.fetch_add(1, Ordering::Relaxed);
                        let _gone = responses.send(Err(status_of(&refusal))).await;
                        return;
                    }
                }
                if presence.is_none() && let Some(node) = session.node() {
                    presence = Some(context.enter(Arc::clone(node), &snapshot));
                }
                restless = true;
            }
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                snapshot = Arc::clone(&snapshots.borrow_and_update());
                restless = true;
            }
            Some(ask) = inspection(&mut presence) => {
                let _gone = ask.send(session.entries());
            }
            permit = responses.reserve(), if restless && knows(&snapshot, &presence) => {
                let Ok(permit) = permit else { return };
                match session.next_push(&snapshot, Timestamp::now()) {
                    Some(push) => {
                        context.core.counters.pushed(&push);
                        permit.send(Ok(push));
                    }
                    None => restless = false,
                }
                if let Some(presence) = &presence {
                    presence.board.update(|status| report(status, &session, &snapshot));
                }
            }
            status = lost.as_mut() => {
                debug!(peer = ?context.peer, %status, "stream ended");
                let _gone = responses.try_send(Err(status));
                return;
            }
            () = sleep_until(introduced_by), if presence.is_none() => {
                if context.core.has_streams_to_spare() {
                    introduced_by = Instant::now() + INTRODUCTION_TIMEOUT;
                    continue;
                }
                context.core.counters.refused_streams.fetch_add(1, Ordering::Relaxed);
                let silent = Status::deadline_exceeded(format!("no request within {INTRODUCTION_TIMEOUT:?}"));
                let _gone = responses.try_send(Err(silent));
                return;
            }
            () = responses.closed() => return,
        }
    }
}

/// Whether a snapshot has the workload that the stream registered, where it did: before that its inbound listener would be
/// said not to exist.
fn knows(snapshot: &Snapshot, presence: &Option<Presence>) -> bool {
    let registration = presence.as_ref().and_then(|it| it.registration.as_ref());
    registration.is_none_or(|registration| snapshot.registered >= registration.since())
}

/// Ends when the server is to stop, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await;
}

fn take(session: &mut Session, request: Request) -> Result<Option<Answer>, Refusal> {
    match request {
        Request::Sotw(request) => session.on_sotw(request, Timestamp::now()),
        Request::Delta(request) => session.on_delta(request, Timestamp::now()),
    }
}

fn report(status: &mut StreamStatus, session: &Session, snapshot: &Snapshot) {
    status.types = session.reports();
    status.seen_serial = snapshot.serial;
    status.seen_revision = snapshot.revision;
    if session.is_settled(snapshot.serial) {
        status.settled_serial = snapshot.serial;
    }
}

async fn inspection(presence: &mut Option<Presence>) -> Option<Inspect> {
    match presence {
        Some(presence) => presence.inspections.recv().await,
        None => std::future::pending().await,
    }
}

fn status_of(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Claim(_) => Status::permission_denied(refusal.to_string()),
        Refusal::TooManyNames { .. } => Status::resource_exhausted(refusal.to_string()),
        _ => Status::invalid_argument(refusal.to_string()),
    }
}

impl StreamContext {
    /// Who the client has proved to be, where it had to.
    fn identity(&self) -> Option<&SpiffeId> {
        self.certificate.as_ref().map(|it| &it.identity)
    }

    /// Waits until the certificate of the client is no longer good; gives what it is told then.
    async fn certificate_lost(&self) -> Status {
        match &self.certificate {
            Some(certificate) => {
                let why = certificate.lost().await;
                super::service::lost(certificate, why)
            }
            None => std::future::pending().await,
        }
    }

    /// Says in the audit log that the client wants what it may not have.
    fn audit(&self, what: &'static str, reason: &str) {
        if let Some(certificate) = &self.certificate
            && self.core.limiter.may_say()
        {
            let ClientCertificate {
                identity, serial, ..
            } = &**certificate;
            tracing::warn!(target: AUDIT, %identity, serial, peer = ?self.peer, reason, "{what}");
        }
    }

    fn enter(&self, node: Arc<NodeInfo>, snapshot: &Snapshot) -> Presence {
        let address = self.peer.as_ref().and_then(|peer| peer.caller().address);
        let node = match address {
            Some(address) if !address.ip().to_canonical().is_loopback() => {
                Arc::new(node.of_elsewhere())
            }
            _ => node,
        };
        let registration = node
            .registration
            .clone()
            .map(|registration| self.core.registry.register(registration));
        let (inspect, inspections) = mpsc::channel(4);
        let board = self.core.board.enter(StreamStatus {
            id: self.core.stream_ids.fetch_add(1, Ordering::Relaxed),
            node,
            service: self.service,
            connected_at: Timestamp::now(),
            types: Default::default(),
            seen_serial: snapshot.serial,
            seen_revision: snapshot.revision,
            settled_serial: 0,
            inspect,
        });
        Presence {
            _speaking: self.peer.as_ref().map(Peer::speaks),
            board,
            registration,
            inspections,
        }
    }
}
