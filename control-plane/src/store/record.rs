//! How a revision and its objects are written down.

use std::sync::Arc;

use serde_json::{Value, json};
use weft_config::gateway_api::{Kind, Object, ObjectKey};

use super::StoreError;
use super::revision::{ObjectChange, Revision};

impl Revision {
    /// Reads the record of revision `number`.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn parse_record(number: u64, bytes: &[u8]) -> Result<Self, StoreError> {
        let what = format!("revision {number}");
        let damaged = |why: &str| StoreError::Damaged {
            what: what.clone(),
            why: why.to_owned(),
        };
        let record: Value = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
        let text = |value: &Value, field: &str| {
            let found = value.get(field).and_then(Value::as_str).map(str::to_owned);
            found.ok_or_else(|| damaged(&format!("{field} is missing")))
        };
        let changes = record
            .get("changes")
            .and_then(Value::as_array)
            .ok_or_else(|| damaged("changes are missing"))?;
        let changes = changes.iter().map(|change| {
            let kind = text(change, "kind")?;
            let kind =
                Kind::find(&kind).ok_or_else(|| damaged(&format!("kind {kind} is not known")))?;
            let side = |field: &str| match change.get(field) {
                None | Some(Value::Null) => Ok(None),
                Some(object) => decode_value(&what, object).map(|object| Some(Arc::new(object))),
            };
            let key = ObjectKey::new(kind, text(change, "namespace")?, text(change, "name")?);
            Ok(ObjectChange {
                key,
                before: side("before")?,
                after: side("after")?,
            })
        });
        Ok(Self {
            number,
            time: text(&record, "time")?
                .parse()
                .map_err(|_| damaged("time is not a time"))?,
            author: text(&record, "author")?,
            // Records of earlier versions do not have it.
            principal: text(&record, "principal").unwrap_or_default(),
            message: text(&record, "message")?,
            changes: changes.collect::<Result<_, StoreError>>()?,
        })
    }

    /// Its record, as JSON; its number is not part of it, nor what has not changed.
    pub fn to_record(&self) -> Vec<u8> {
        let side = |object: &Option<Arc<Object>>| object.as_ref().map(|object| object.to_json());
        let changes = self
            .changes
            .iter()
            .filter(|change| change.before != change.after)
            .map(|change| {
                json!({
                    "kind": change.key.kind,
                    "namespace": change.key.namespace,
                    "name": change.key.name,
                    "before": side(&change.before),
                    "after": side(&change.after),
                })
            });
        json!({
            "time": self.time.to_string(),
            "author": self.author,
            "principal": self.principal,
            "message": self.message,
            "changes": changes.collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes()
    }
}

/// Reads an object with the code that reads the user's files.
pub(super) fn decode(what: &str, bytes: &[u8]) -> Result<Object, StoreError> {
    let damaged = |why: String| StoreError::Damaged {
        what: what.to_owned(),
        why,
    };
    let value: Value = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
    decode_value(what, &value)
}

fn decode_value(what: &str, value: &Value) -> Result<Object, StoreError> {
    weft_config::gateway_api::parse_json(value).map_err(|findings| {
        let why: Vec<String> = findings.iter().map(ToString::to_string).collect();
        StoreError::Damaged {
            what: what.to_owned(),
            why: why.join("; "),
        }
    })
}
