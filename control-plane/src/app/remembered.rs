//! What was found out survives a restart: workloads whose sidecars have not come back yet, and answers of a DNS that is
//! slow or away, stay endpoints. Without this, the first sidecar to come back would be told that there are none.

use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};
use crate::translate::{Discovered, DnsAnswer, DnsQuestion, Registration, Workload};

/// Its name in the store.
const NOTE: &str = "discovered";

/// The form in which it is stored.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Workloads by node.
    workloads: Vec<(String, Workload)>,
    dns: Vec<(DnsQuestion, DnsAnswer)>,
}

/// What was found out before the last stop; nothing where the store cannot tell, which is logged.
pub(super) fn load(store: &Store) -> Discovered {
    let note = store.note(NOTE).map_err(|error| error.to_string());
    let note = note.and_then(|bytes| match bytes {
        Some(bytes) => serde_json::from_slice::<Note>(&bytes).map_err(|error| error.to_string()),
        None => Ok(Note::default()),
    });
    let note = note.unwrap_or_else(|why| {
        tracing::warn!(why, "workloads known before the restart are forgotten");
        Note::default()
    });
    let workloads = note.workloads.into_iter().map(|(node, workload)| {
        let node_id = node.into();
        Registration { node_id, workload }.into()
    });
    Discovered {
        workloads: workloads.collect(),
        dns: note
            .dns
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .into(),
    }
}

/// Stores what was found out.
///
/// # Errors
/// If the store cannot be written.
pub(super) fn save(store: &Store, discovered: &Discovered) -> Result<(), StoreError> {
    let workloads = discovered.workloads.iter();
    let dns = discovered.dns.iter();
    let note = Note {
        workloads: workloads
            .map(|it| (it.node_id.to_string(), it.workload.clone()))
            .collect(),
        dns: dns
            .map(|(question, answer)| (question.clone(), answer.clone()))
            .collect(),
    };
    let bytes = serde_json::to_vec(&note).unwrap_or_default(); // lists of strings and numbers
    store.set_note(NOTE, &bytes)
}
