//! Messages written as YAML or JSON: bootstrap files and watched resource files.
//!
//! Stricter than Envoy where that catches mistakes: duplicate keys and unknown fields are faults, and all of them are
//! found at once, each with its place in the file.

mod yaml;

use prost::Name;
use weft_xds_proto::json::{self, JsonError};

use crate::diag::{Diagnostics, FieldPath, Finding, Severity, near_name};
use yaml::Places;
pub use yaml::TEXT_BYTES_MAX;

/// A message read from a text, and where its values stand in it.
#[derive(Clone, Debug)]
pub struct Document<M> {
    /// The message.
    pub message: M,
    places: Places,
}

impl<M: Name + Default> Document<M> {
    /// Reads `text`, YAML or JSON; `file` is its name in findings.
    ///
    /// `None` means that there was a fault; all of them are in `diag`.
    pub fn parse(text: &str, file: &str, diag: &mut Diagnostics) -> Option<Self> {
        let (value, places) = match yaml::read(text, file) {
            Ok(read) => read,
            Err(finding) => {
                diag.add(*finding);
                return None;
            }
        };
        match json::from_json::<M>(&value) {
            Ok(message) => Some(Self { message, places }),
            Err(errors) => {
                for error in errors {
                    let mut finding = places.locate(finding(error));
                    if finding.location.is_none() {
                        finding.message = format!("{file}: {}", finding.message);
                    }
                    diag.add(finding);
                }
                None
            }
        }
    }

    /// Adds `found`, each finding with its place in the file.
    pub fn locate(&self, found: Diagnostics, diag: &mut Diagnostics) {
        for finding in found.findings() {
            diag.add(self.places.locate(finding.clone()));
        }
    }
}

fn finding(error: JsonError) -> Finding {
    let (path, message) = match error {
        JsonError::UnknownType { path, type_name } => {
            (path, format!("type {type_name:?} is not known"))
        }
        JsonError::UnknownField {
            path,
            name,
            message_type,
            known,
        } => {
            let known = known.iter().map(String::as_str);
            let message = match near_name(&name, known) {
                Some(near) => format!("{message_type} has no such field, did you mean {near:?}?"),
                None => format!("{message_type} has no such field"),
            };
            (path, message)
        }
        JsonError::Mismatch { path, message } => (path, message),
    };
    Finding {
        severity: Severity::Fault,
        path: FieldPath::from_text(path),
        location: None,
        message,
    }
}
