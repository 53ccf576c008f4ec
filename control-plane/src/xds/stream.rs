//! Moves the messages of one stream between its socket and its session.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
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
use crate::snapshot::{ResourceType, Snapshot};
use crate::source::workloads::RegistrationGuard;
use crate::status::{BoardGuard, Inspect, StreamStatus};
use crate::translate::{Registration, Workload};

/// A request of either protocol.
#[derive(Debug)]
pub(crate) enum Request {
    Sotw(SotwRequest),
    Delta(DeltaRequest),
}

impl Request {
    /// A name that it subscribes to and that a client which has proved to be `identity` may not know of.
    fn foreign(&self, identity: Option<&SpiffeId>, snapshot: &Snapshot) -> Option<&str> {
        let (type_url, names) = match self {
            Self::Sotw(request) => (&request.type_url, &request.names),
            Self::Delta(request) => (&request.type_url, &request.subscribe),
        };
        let listeners = ResourceType::Listener.type_url();
        let mut names = names
            .iter()
            .filter(|_| type_url.is_empty() || type_url == listeners);
        names
            .find(|name| !snapshot.may_see(identity, name))
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

/// How long is waited until a client that reads nothing has room for why its stream ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// What is held while the node is known.
struct Presence {
    _speaking: Option<Speaking>,
    board: BoardGuard,
    registration: Option<RegistrationGuard>,
    inspections: mpsc::Receiver<Inspect>,
}

/// Runs one stream until the client or the server ends it.
pub(crate) async fn run<S>(
    session: Session,
    context: StreamContext,
    requests: S,
    responses: mpsc::Sender<Result<Push, Status>>,
) where
    S: Stream<Item = Result<Request, Status>>,
{
    let mut requests = std::pin::pin!(requests);
    let mut snapshots = context.core.snapshots.subscribe();
    let mut stop = context.core.stop.clone();
    let mut lost = std::pin::pin!(context.certificate_lost());
    let mut talk = Talk::new(
        session,
        &context,
        Arc::clone(&snapshots.borrow_and_update()),
    );
    let mut introduced_by = Instant::now() + INTRODUCTION_TIMEOUT;
    // What the client is told last.
    let farewell = loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break Status::unavailable("the control plane is stopping"),
            request = requests.next() => match request {
                Some(Ok(request)) => if let Err(status) = talk.hear(request) {
                    break status;
                },
                Some(Err(status)) => {
                    debug!(peer = ?context.peer, %status, "stream failed");
                    break status;
                }
                None => return,
            },
            changed = snapshots.changed() => {
                if changed.is_err() {
                    return;
                }
                talk.snapshot = Arc::clone(&snapshots.borrow_and_update());
                talk.restless = true;
            }
            Some(ask) = inspection(&mut talk.presence) => {
                let _gone = ask.send(talk.session.entries());
            }
            permit = responses.reserve(), if talk.may_have_to_say() => {
                let Ok(permit) = permit else { return };
                if let Some(push) = talk.say() {
                    permit.send(Ok(push));
                }
            }
            status = lost.as_mut() => {
                context.audit("certificate no longer good", status.message());
                debug!(peer = ?context.peer, %status, "stream ended");
                break status;
            }
            () = sleep_until(introduced_by), if talk.presence.is_none() => {
                if context.core.has_streams_to_spare() {
                    introduced_by = Instant::now() + INTRODUCTION_TIMEOUT;
                    continue;
                }
                context.core.counters.refused_streams.fetch_add(1, Ordering::Relaxed);
                break Status::deadline_exceeded(format!("no request within {INTRODUCTION_TIMEOUT:?}"));
            }
            () = responses.closed() => return,
        }
    };
    let _unheard = timeout(FAREWELL_TIMEOUT, responses.send(Err(farewell))).await;
}

/// What was said on a stream, as far as it matters.
struct Talk<'a> {
    context: &'a StreamContext,
    session: Session,
    snapshot: Arc<Snapshot>,
    presence: Option<Presence>,
    /// Whether the session may have something to say: only then is room in the channel awaited.
    restless: bool,
    /// Whether it was told that the client asks for what is of others.
    told: bool,
}

impl<'a> Talk<'a> {
    fn new(session: Session, context: &'a StreamContext, snapshot: Arc<Snapshot>) -> Self {
        Self {
            context,
            session,
            snapshot,
            presence: None,
            restless: false,
            told: false,
        }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// If the stream ends with it.
    fn hear(&mut self, request: Request) -> Result<(), Status> {
        let context = self.context;
        if !self.told
            && let Some(name) = request.foreign(context.identity(), &self.snapshot)
        {
            context.audit("subscription to what is of others", name);
            self.told = true;
        }
        let taken = take(&mut self.session, request).and_then(|answer| {
            self.check_claim()?;
            Ok(answer)
        });
        match taken {
            Ok(answer) => context.core.counters.answered(answer),
            Err(refusal) => {
                debug!(peer = ?context.peer, %refusal, "stream refused");
                if let Refusal::Claim(why) = &refusal {
                    context.audit("registration refused", &why.to_string());
                }
                let refused = &context.core.counters.refused_streams;
                refused.fetch_add(1, Ordering::Relaxed);
                return Err(status_of(&refusal));
            }
        }
        if self.presence.is_none()
            && let Some(node) = self.session.node()
        {
            self.presence = Some(context.enter(Arc::clone(node), &self.snapshot));
        }
        self.restless = true;
        Ok(())
    }

    /// Whether who comes newly is of the service that it says, by what is in force.
    fn check_claim(&self) -> Result<(), Refusal> {
        match self.session.node().filter(|_| self.presence.is_none()) {
            Some(node) => Ok(node.check_service(&self.context.core.snapshots.current())?),
            None => Ok(()),
        }
    }

    /// Whether there may be something to say now: not before a snapshot has the workload that the stream registered, where it did,
    /// for its inbound listener would be said not to exist.
    fn may_have_to_say(&self) -> bool {
        let registration = self.presence.as_ref();
        let registration = registration.and_then(|it| it.registration.as_ref());
        let known = registration.is_none_or(|it| self.snapshot.registered >= it.since());
        self.restless && known
    }

    /// What is to be said next.
    fn say(&mut self) -> Option<Push> {
        let push = self.session.next_push(&self.snapshot, Timestamp::now());
        match &push {
            Some(push) => self.context.core.counters.pushed(push),
            None => self.restless = false,
        }
        if let Some(presence) = &self.presence {
            let (session, snapshot) = (&self.session, &self.snapshot);
            presence
                .board
                .update(|status| report(status, session, snapshot));
        }
        push
    }
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

    /// Says in the audit log that a workload has registered, which without a certificate anybody can.
    fn audit_registration(&self, registration: &Registration) {
        let Workload {
            service,
            namespace,
            address,
            ports,
            identity: None,
            ..
        } = &registration.workload
        else {
            return;
        };
        if self.core.limiter.may_say() {
            let node = &*registration.node_id;
            tracing::info!(
                target: AUDIT,
                node, service, namespace, %address, ?ports, peer = ?self.peer,
                "workload registered without an identity"
            );
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
        let registration = node.registration.clone().map(|registration| {
            self.audit_registration(&registration);
            self.core.registry.register(registration)
        });
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
