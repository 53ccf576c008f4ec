//! What was let in and no longer would be: judged again whenever another snapshot comes into force.

use std::future::pending;
use std::sync::Arc;

use super::access::{AccessGate, Denied, connection};
use crate::listener::ConnectionFacts;
use crate::snapshot::{Snapshot, SnapshotStore};

/// Resolves when a snapshot in force denies what `judge` stands for; looks at once, and then at each snapshot.
pub async fn revoked(store: &SnapshotStore, judge: impl Fn(&Snapshot) -> Option<Denied>) -> Denied {
    let mut revisions = store.revisions();
    // What came into force since it was let in counts too.
    revisions.mark_changed();
    loop {
        if revisions.changed().await.is_err() {
            return pending().await;
        }
        if let Some(denied) = judge(&store.current()) {
            return denied;
        }
    }
}

/// Whether `snapshot` has a connection cut.
pub fn connection_revoked(snapshot: &Snapshot, facts: &ConnectionFacts) -> Option<Denied> {
    let listener = snapshot.listener(&facts.listener).filter(|it| it.cuts())?;
    let chain = listener.find_chain(facts)?;
    first_denial(&chain.access, facts)
}

/// The first of `gates` that cuts a connection.
pub fn first_denial(gates: &[Arc<AccessGate>], facts: &ConnectionFacts) -> Option<Denied> {
    let asked = connection(facts);
    let cutting = gates.iter().filter(|gate| gate.cuts());
    let mut denials = cutting.map(|gate| gate.admit_again(&asked));
    denials.find_map(Result::err)
}
