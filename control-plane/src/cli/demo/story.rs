//! What happens in the demo: a canary of `reviews` from 0 to 100 %, step by step, while traffic flows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cli::client::Client;

/// The sample's services, and all of `reviews` on version 1.
pub(super) const MANIFEST: &str = include_str!("mesh.yaml");

/// Percentages of version 2, in order.
const STEPS: [u32; 7] = [0, 10, 25, 50, 75, 90, 100];

/// How long a step lasts where the demo has no end of its own.
const STEP_WITHOUT_END: Duration = Duration::from_secs(5);

/// The canary on its way.
pub(super) struct Story {
    state: Arc<Mutex<State>>,
    stop: watch::Sender<bool>,
    teller: JoinHandle<()>,
}

/// How far it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Percentage of version 2 that is in force.
    pub percent: u32,
    /// Revisions that every sidecar acknowledged, in order.
    pub revisions: Vec<u64>,
    /// What went wrong, if anything did.
    pub trouble: Option<String>,
}

impl Story {
    /// Moves the canary over the first four fifths of `duration`, or a step every 5 s, back and forth, without one.
    pub(super) fn start(api: SocketAddr, duration: Option<Duration>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = watch::channel(false);
        let teller = tokio::spawn(tell(api, duration, state.clone(), stopped));
        Self {
            state,
            stop,
            teller,
        }
    }

    /// How far it has come now.
    pub(super) fn state(&self) -> State {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends it and says how far it came.
    pub(super) async fn stop(self) -> State {
        self.stop.send_replace(true);
        // Each step is one request with a time-out.
        let _ = self.teller.await;
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn tell(
    api: SocketAddr,
    duration: Option<Duration>,
    state: Arc<Mutex<State>>,
    mut stopped: watch::Receiver<bool>,
) {
    let client = Client::new(&format!("http://{api}"), None);
    let pause = duration.map_or(STEP_WITHOUT_END, |d| d * 4 / 5 / STEPS.len() as u32);
    let there_and_back = STEPS
        .iter()
        .chain(STEPS.iter().rev().skip(1))
        .skip(1)
        .copied()
        .cycle();
    let once = STEPS.iter().skip(1).copied();
    let steps: Box<dyn Iterator<Item = u32> + Send> = if duration.is_some() {
        Box::new(once)
    } else {
        Box::new(there_and_back)
    };
    for percent in steps {
        let next = Instant::now() + pause;
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep_until(next) => {}
        }
        let outcome = match &client {
            Ok(client) => {
                client
                    .apply_and_wait(
                        &route(percent),
                        "demo",
                        &format!("reviews v2 at {percent} %"),
                    )
                    .await
            }
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(revision) => {
                state.percent = percent;
                state.revisions.push(revision);
            }
            Err(error) => state.trouble = Some(format!("{error:#}")),
        }
    }
}

/// The route of `reviews` with this percentage of version 2.
pub(super) fn route(percent: u32) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: reviews}}
spec:
  parentRefs: [{{group: mesh.weft.dev, kind: MeshService, name: reviews, port: 9080}}]
  rules:
  - backendRefs:
    - {{group: mesh.weft.dev, kind: MeshService, name: reviews-v1, port: 9080, weight: {}}}
    - {{group: mesh.weft.dev, kind: MeshService, name: reviews-v2, port: 9080, weight: {percent}}}
    timeouts: {{request: 10s}}
",
        100u32.saturating_sub(percent)
    )
}
