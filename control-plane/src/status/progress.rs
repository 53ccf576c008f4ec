//! Where every proxy stands with a snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::board::{StatusBoard, StreamStatus};
use crate::translate::RegistrationKey;

/// The streams that were open when the wait began, and what is waited for.
#[derive(Debug)]
pub struct Waiting {
    board: Arc<StatusBoard>,
    serial: u64,
    streams: BTreeMap<u64, RegistrationKey>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProgress {
    /// Its node id.
    pub id: String,
    /// Where it stands.
    pub state: ProxyState,
    /// Why it refused.
    pub reason: Option<String>,
}

/// Where a proxy stands with what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyState {
    /// It has everything, and nothing had to be sent.
    Unconcerned,
    /// It acknowledged.
    Acked,
    /// It left.
    Left,
    /// It has not answered yet.
    Pending,
    /// It refused.
    Refused,
}

impl Waiting {
    /// Begins to wait for the snapshot `serial` at everybody who is connected now.
    pub fn new(board: Arc<StatusBoard>, serial: u64) -> Self {
        let streams = board.read(|streams| {
            let ids = streams.iter();
            ids.map(|(id, status)| (*id, status.node.key())).collect()
        });
        Self {
            board,
            serial,
            streams,
        }
    }

    /// Where everybody whom it concerns stands now, by node id.
    pub fn progress(&self) -> Vec<ProxyProgress> {
        let mut proxies: BTreeMap<RegistrationKey, (ProxyState, Option<String>)> = BTreeMap::new();
        self.board.read(|open| {
            for (id, node) in &self.streams {
                let now = match open.get(id) {
                    None => (ProxyState::Left, None),
                    Some(status) => judge(status, self.serial),
                };
                // A proxy with several streams is as far as the one that is least far.
                let entry = proxies.entry(node.clone()).or_insert_with(|| now.clone());
                if now.0 > entry.0 {
                    *entry = now;
                }
            }
        });
        proxies
            .into_iter()
            .filter(|(_, (state, _))| *state != ProxyState::Unconcerned)
            .map(|((id, _), (state, reason))| ProxyProgress {
                id: id.to_string(),
                state,
                reason,
            })
            .collect()
    }
}

fn judge(status: &StreamStatus, serial: u64) -> (ProxyState, Option<String>) {
    let refusal = status.types.iter().find_map(|report| {
        let nack = report.nacked.as_ref()?;
        (nack.mark.serial >= serial).then(|| nack.reason.to_string())
    });
    if let Some(reason) = refusal {
        return (ProxyState::Refused, Some(reason));
    }
    if status.settled_serial < serial {
        return (ProxyState::Pending, None);
    }
    let concerned = status
        .types
        .iter()
        .any(|report| report.sent.is_some_and(|mark| mark.serial >= serial));
    match concerned {
        true => (ProxyState::Acked, None),
        false => (ProxyState::Unconcerned, None),
    }
}
