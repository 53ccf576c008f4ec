//! Changes: they are checked whole, stored as one revision, and followed until the proxies have answered.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use weft_config::diag::FieldPath;
use weft_config::gateway_api::{Kind, Object, ObjectKey};

use super::Refused;
use super::check::{self, Manifests};
use super::guard::Principal;
use super::model::{Action, ApplyEvent, ApplyRequest, Change, ObjectName, RollbackRequest};
use crate::app::{Mesh, Standing};
use crate::identity::{AUDIT, Role};
use crate::source::files::without_owner;
use crate::store::{ChangeSet, ObjectChange, Revision, StoreError};

/// Longest wait for proxies.
const WAIT_SECONDS_MAX: u32 = 600;

/// Objects of one change that the audit log names; it tells how many there were.
const AUDITED_MAX: usize = 20;

/// Lines of the difference of one object; a longer one is cut.
const DIFF_LINES_MAX: usize = 2000;

/// `POST /v1/apply`.
pub(super) async fn apply(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Result<Response, Refused> {
    let Json(request) = request.map_err(refuse_body)?;
    if !request.dry_run {
        principal.needs(Role::Write)?;
    }
    check_wait(request.wait_seconds)?;
    let (change, manifests) = change_set(&mesh, &request, &principal)?;
    let before = mesh.resources();
    let (after, changes) = mesh.store().preview(&change).map_err(refuse)?;
    let mut warnings: Vec<String> = manifests.findings.iter().map(ToString::to_string).collect();
    warnings.extend(check::warnings(
        &manifests.documents,
        &changes,
        (&before, &after),
        mesh.authority().current().trust_domain(),
    ));
    let planned = ApplyEvent::Planned {
        changes: changes.iter().map(describe).collect(),
        warnings,
        proxies: mesh.proxies_concerned(&changes).await,
    };
    if request.dry_run {
        return Ok(stream(vec![planned], None));
    }
    let stored = mesh.store().apply(&change).map_err(refuse)?;
    let revision = stored.number;
    audit(&principal, "apply", &stored);
    let events = vec![planned, ApplyEvent::Stored { revision }];
    Ok(stream(
        events,
        request.wait_seconds.map(|seconds| Follow {
            mesh,
            revision,
            seconds,
        }),
    ))
}

/// `POST /v1/rollback`.
pub(super) async fn rollback(
    State(mesh): State<Arc<Mesh>>,
    Extension(principal): Extension<Principal>,
    request: Result<Json<RollbackRequest>, JsonRejection>,
) -> Result<Response, Refused> {
    let Json(request) = request.map_err(refuse_body)?;
    check_wait(request.wait_seconds)?;
    let current = mesh.store().current().revision;
    let target = match request.revision {
        Some(revision) => revision,
        None => current
            .checked_sub(1)
            .ok_or_else(|| Refused::not_found("there is no revision to go back from"))?,
    };
    let change = mesh.store().rollback_change(target, &request.author);
    let change = ChangeSet {
        principal: principal.name.clone(),
        ..change.map_err(refuse)?
    };
    let changed = change
        .put
        .iter()
        .map(|object| (object.key(), mesh.is_of_directory(object)));
    let gone = change.delete.iter().map(|key| (key.clone(), false));
    let owned = changed
        .chain(gone)
        .filter(|(key, owned)| *owned || mesh.is_owned_by_file(key));
    refuse_owned(owned.map(|(key, _)| (String::new(), key)))?;
    let before = mesh.resources();
    let revision = mesh.store().apply(&change).map_err(refuse)?;
    audit(&principal, "rollback", &revision);
    let planned = ApplyEvent::Planned {
        changes: revision.changes.iter().map(describe).collect(),
        warnings: check::warnings(
            &[],
            &revision.changes,
            (&before, &mesh.resources()),
            mesh.authority().current().trust_domain(),
        ),
        proxies: mesh.proxies_concerned(&revision.changes).await,
    };
    let events = vec![
        planned,
        ApplyEvent::Stored {
            revision: revision.number,
        },
    ];
    let follow = request.wait_seconds.map(|seconds| Follow {
        mesh,
        revision: revision.number,
        seconds,
    });
    Ok(stream(events, follow))
}

/// Says in the audit log who has changed what.
fn audit(principal: &Principal, what: &'static str, revision: &Revision) {
    let changed = |it: &&ObjectChange| it.before != it.after;
    let objects = revision.changes.iter().filter(changed);
    let count = objects.clone().count();
    if count == 0 {
        return; // Nothing was written.
    }
    let named: Vec<String> = objects
        .take(AUDITED_MAX)
        .map(|it| it.key.to_string())
        .collect();
    let who = &principal.name;
    let (revision, author, objects) = (revision.number, &revision.author, named.join(", "));
    tracing::info!(target: AUDIT, who, author, revision, what, count, objects, "desired state changed");
}

/// The change that is asked for, checked together with everything that is there.
fn change_set(
    mesh: &Mesh,
    request: &ApplyRequest,
    principal: &Principal,
) -> Result<(ChangeSet, Manifests), Refused> {
    let manifests = Manifests::read(&request.files);
    let faults = manifests.faults();
    if !faults.is_empty() {
        return Err(Refused::invalid(
            match faults.len() {
                1 => "a fault, nothing was changed".to_owned(),
                count => format!("{count} faults, nothing was changed"),
            },
            faults,
        ));
    }
    let delete = request
        .delete
        .iter()
        .map(object_key)
        .collect::<Result<Vec<_>, _>>()?;
    let places = manifests.documents.iter().map(|document| {
        let place = document.source.locate(&FieldPath::root());
        (format!("{place}: "), document.object.key())
    });
    let deleted = delete.iter().map(|key| (String::new(), key.clone()));
    let owned = places.chain(deleted);
    refuse_owned(owned.filter(|(_, key)| mesh.is_owned_by_file(key)))?;
    if manifests.documents.is_empty() && delete.is_empty() {
        return Err(Refused::invalid(
            "there is no object in what was sent",
            Vec::new(),
        ));
    }
    let change = ChangeSet {
        put: manifests
            .documents
            .iter()
            .map(|document| without_owner(Object::clone(&document.object)))
            .collect(),
        delete,
        author: request.author.clone(),
        principal: principal.name.clone(),
        message: request.message.clone(),
    };
    Ok((change, manifests))
}

/// Refuses a change of objects of the watched directory, each with what leads to it: it would not last.
fn refuse_owned(owned: impl Iterator<Item = (String, ObjectKey)>) -> Result<(), Refused> {
    let faults: Vec<String> = owned
        .map(|(place, key)| {
            format!("{place}{key} comes from the watched directory: change it there")
        })
        .collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Refused::invalid(
            "objects of the watched directory cannot be changed over the API",
            faults,
        )),
    }
}

pub(super) fn object_key(name: &ObjectName) -> Result<ObjectKey, Refused> {
    let kind = Kind::find(&name.kind)
        .ok_or_else(|| Refused::not_found(format!("kind {:?} is not known", name.kind)))?;
    Ok(ObjectKey::new(kind, &name.namespace, &name.name))
}

/// A revision whose acknowledgement is waited for.
struct Follow {
    mesh: Arc<Mesh>,
    revision: u64,
    seconds: u32,
}

impl Follow {
    /// Sends progress as it changes, and at last what became of it.
    async fn run(self, out: mpsc::Sender<ApplyEvent>) {
        let end = Instant::now() + Duration::from_secs(self.seconds.into());
        let Some(waiting) = self.mesh.follow(self.revision).await else {
            tracing::error!(
                revision = self.revision,
                "stored, but not published in time"
            );
            return;
        };
        let mut ticks = self.mesh.status_ticks();
        let mut told = None;
        let mut awaited = BTreeSet::new();
        loop {
            ticks.borrow_and_update();
            if self.mesh.is_stopping() {
                return; // The proxies went because we go: that is no answer of theirs.
            }
            let standing = Standing::new(&waiting);
            awaited.extend(standing.waiting.iter().cloned());
            if standing.waiting.is_empty() || Instant::now() >= end {
                let Standing {
                    acknowledged,
                    refused,
                    waiting,
                    mut left,
                } = standing;
                left.retain(|proxy| awaited.contains(proxy)); // others had answered, or nothing to answer
                let done = ApplyEvent::Done {
                    revision: self.revision,
                    acknowledged,
                    refused,
                    waiting,
                    left,
                };
                // A client that is gone wants to know no more.
                let _ = out.send(done).await;
                return;
            }
            let counts = (
                standing.acknowledged.len(),
                standing.refused.len(),
                standing.waiting.len(),
            );
            if told.replace(counts) != Some(counts) {
                let (acknowledged, refused, waiting) = counts;
                if out
                    .send(ApplyEvent::Progress {
                        acknowledged,
                        refused,
                        waiting,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            tokio::select! {
                changed = ticks.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }
}

/// An answer of one JSON object a line: those that are known, then those that `follow` sends.
fn stream(known: Vec<ApplyEvent>, follow: Option<Follow>) -> Response {
    let (out, events) = mpsc::channel(16);
    tokio::spawn(async move {
        for event in known {
            if out.send(event).await.is_err() {
                return;
            }
        }
        if let Some(follow) = follow {
            follow.run(out).await;
        }
    });
    let lines = tokio_stream::StreamExt::map(ReceiverStream::new(events), |event| {
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Ok::<_, Infallible>(Bytes::from(line))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(
        CONTENT_TYPE,
        axum::http::HeaderValue::from_static("application/x-ndjson"),
    );
    response
}

/// A change as the API tells it.
pub(super) fn describe(change: &ObjectChange) -> Change {
    let action = match (&change.before, &change.after) {
        (None, _) => Action::Created,
        (Some(_), None) => Action::Deleted,
        (before, after) if before == after => Action::Unchanged,
        _ => Action::Changed,
    };
    // What the store says of an object is no change that anybody asked for.
    let written = |object: &Arc<Object>| {
        let mut object = Object::clone(object);
        object.metadata.generation = None;
        object.metadata.creation_timestamp = None;
        crate::cli::yaml(&object.to_json())
    };
    let lines = |object: &Option<Arc<Object>>| object.as_ref().map(written).unwrap_or_default();
    Change {
        object: object_name(&change.key),
        action,
        diff: diff(&lines(&change.before), &lines(&change.after)),
    }
}

pub(super) fn object_name(key: &ObjectKey) -> ObjectName {
    ObjectName {
        kind: key.kind.name().to_owned(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Lines of two texts that differ, each led by `-` or `+`, with those around them led by a space; nothing where they are equal.
fn diff(before: &str, after: &str) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let difference = similar::TextDiff::from_lines(before, after);
    let lines = difference.iter_all_changes().map(|change| {
        let sign = match change.tag() {
            similar::ChangeTag::Delete => '-',
            similar::ChangeTag::Insert => '+',
            similar::ChangeTag::Equal => ' ',
        };
        format!("{sign} {}", change.value().trim_end())
    });
    lines.take(DIFF_LINES_MAX).collect()
}

fn check_wait(seconds: Option<u32>) -> Result<(), Refused> {
    match seconds {
        Some(seconds) if seconds > WAIT_SECONDS_MAX => Err(Refused::invalid(
            format!("wait_seconds must be at most {WAIT_SECONDS_MAX}, got {seconds}"),
            Vec::new(),
        )),
        _ => Ok(()),
    }
}

pub(super) fn refuse_body(rejection: JsonRejection) -> Refused {
    Refused::new(rejection.status(), rejection.body_text())
}

pub(super) fn refuse(error: StoreError) -> Refused {
    use axum::http::StatusCode;
    if let StoreError::Unservable { faults } = error {
        return Refused::invalid(
            "proxies would refuse what comes of it, nothing was changed",
            faults,
        );
    }
    let status = match &error {
        StoreError::UnknownObject { .. } | StoreError::UnknownRevision { .. } => {
            StatusCode::NOT_FOUND
        }
        StoreError::NamedTwice { .. } | StoreError::TooManyObjects { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = &error as &dyn std::error::Error, "store failed");
    }
    Refused::new(status, weft_config::causes::with_causes(&error))
}
