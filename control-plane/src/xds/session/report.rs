//! How far a client is, as the status and CSDS tell it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::snapshot::ResourceType;
use crate::xds::subscription::Told;

/// When a response of a type was sent or answered, and what it brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The store's revision.
    pub revision: u64,
    /// The snapshot.
    pub serial: u64,
    /// When.
    pub at: Timestamp,
}

/// A refused response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// What was refused, and when.
    pub mark: Mark,
    /// Why, in the client's words.
    pub reason: Arc<str>,
}

/// How far a client is with one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeReport {
    /// Whether it asked for the type at all.
    pub started: bool,
    /// Names that it asked for or was told of.
    pub resources: usize,
    /// The last response.
    pub sent: Option<Mark>,
    /// The last response that was accepted.
    pub acked: Option<Mark>,
    /// The last response that was refused; `None` again once a later one was accepted.
    pub nacked: Option<Nack>,
}

/// What a request said of the response before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Of which type.
    pub kind: ResourceType,
    /// Acknowledged rather than refused.
    pub accepted: bool,
}

/// What a request is to the response before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// There is none that it could answer, or it was answered before.
    None,
    /// It answers an older one, so it is out of date.
    Stale,
    Accepted,
    Refused,
}

impl Reply {
    pub(super) fn answer(self, kind: ResourceType) -> Option<Answer> {
        let accepted = match self {
            Self::None | Self::Stale => return None,
            Self::Accepted => true,
            Self::Refused => false,
        };
        Some(Answer { kind, accepted })
    }
}

/// One resource of one stream, for CSDS.
#[derive(Clone, Debug)]
pub(crate) struct EntryReport {
    pub(crate) kind: ResourceType,
    pub(crate) name: Arc<str>,
    pub(crate) told: Told,
    pub(crate) state: EntryState,
    pub(crate) nack: Option<Nack>,
    pub(crate) sent_at: Option<Timestamp>,
}

/// Where a resource stands with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryState {
    NotSent,
    Unanswered,
    Accepted,
    Refused,
    Absent,
}
