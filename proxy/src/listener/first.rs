//! Who speaks first decides: downstream is listened to while upstream is dialled and listened to as well.
//!
//! So a server that greets (MySQL, SMTP, FTP) is heard without waiting for the client to be silent for long enough.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::facts::ConnectionFacts;
use super::tcp::{ConnectFailure, Connected, connect};
use crate::detect::{Detector, Found, Protocol};
use crate::policy::Permit;
use crate::snapshot::{ListenerView, TcpView};
use crate::worker::Worker;

/// An upstream connection opened before it was known to be needed.
pub(super) struct Dial {
    /// By which view.
    pub(super) view: Arc<TcpView>,
    pub(super) outcome: Result<Connected, ConnectFailure>,
}

/// Who spoke first.
pub(super) struct First {
    /// What downstream said; `Ok(None)`: nobody said anything in time.
    pub(super) found: io::Result<Option<Found>>,
    pub(super) dial: Option<Dial>,
}

/// Where upstream cannot be reached, nobody will greet: a client that has something to say is given this long.
const UNREACHABLE_WAIT: Duration = Duration::from_secs(1);

pub(super) async fn first_to_speak(
    worker: &Worker,
    listener: &ListenerView,
    facts: &ConnectionFacts,
    (view, permit): (Arc<TcpView>, &Permit),
    stream: &TcpStream,
    detector: &mut Detector,
    deadline: Instant,
) -> First {
    let mut dialling = pin!(connect(worker, facts, view.clone(), permit));
    let mut outcome: Option<Result<Connected, ConnectFailure>> = None;
    let mut until = deadline;
    let found = loop {
        tokio::select! {
            biased;
            found = detector.run(stream) => break found.map(Some),
            dialled = &mut dialling, if outcome.is_none() => {
                if dialled.is_err() {
                    until = until.min(Instant::now() + UNREACHABLE_WAIT);
                }
                outcome = Some(dialled);
            }
            () = greeting(&mut outcome) => break Ok(Some(Found::ByBytes(Protocol::Opaque))),
            () = sleep_until(until) => break Ok(None),
        }
    };
    let goes_there = || {
        let protocol = match found.as_ref().ok()? {
            Some(Found::ByBytes(protocol)) => *protocol,
            Some(Found::ByEnd) | None => detector.undecided(),
        };
        let facts = ConnectionFacts {
            protocol: Some(protocol),
            ..facts.clone()
        };
        Some(Arc::ptr_eq(listener.find_chain(&facts)?.tcp()?, &view))
    };
    if outcome.is_none() && goes_there() == Some(true) {
        outcome = Some(dialling.await);
    }
    First {
        found,
        dial: outcome.map(|outcome| Dial { view, outcome }),
    }
}

/// Resolves when upstream has said something, its end included.
async fn greeting(dialled: &mut Option<Result<Connected, ConnectFailure>>) {
    match dialled {
        // A failure is something to hear as well: the tunnel will find it again.
        Some(Ok(connected)) => poll_fn(|cx| connected.stream.poll_heard(cx)).await,
        _ => pending().await,
    }
}
