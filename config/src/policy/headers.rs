//! Reading header edits, and putting those of several levels together.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use std::sync::Arc;

use weft_xds_proto::pb::envoy::config::core::v3 as core;

use super::{HeaderAction, HeaderEdit, HeaderEdits};
use crate::diag::{Diagnostics, FieldPath};

/// Fields that frame a message or belong to one connection: the proxy writes them itself.
const FRAMING: [&str; 7] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl HeaderEdits {
    /// Reads one level's edits; `kind` is `request` or `response`, as the fields are named.
    pub(crate) fn parse(
        add: &[core::HeaderValueOption],
        remove: &[String],
        kind: &str,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Self {
        let mut edits = Self::default();
        let list = at.field(&format!("{kind}_headers_to_add"));
        for (index, option) in add.iter().enumerate() {
            let edit = HeaderEdit::parse(option);
            edits
                .add
                .extend(diag.keep(list.index(index), edit).flatten());
        }
        let list = at.field(&format!("{kind}_headers_to_remove"));
        for (index, name) in remove.iter().enumerate() {
            let name = editable_name(name);
            let name = diag.keep(list.index(index), name);
            edits
                .remove
                .extend(name.map(|it| it.to_ascii_lowercase().into()));
        }
        edits
    }

    /// These edits, then `later` ones, as one.
    pub fn then(&self, later: &Self) -> Self {
        if later.is_empty() {
            return self.clone();
        }
        let gone = |edit: &&HeaderEdit| !later.remove.iter().any(|it| edit.is_named(it));
        let mut remove = self.remove.clone();
        for name in &later.remove {
            if !remove.contains(name) {
                remove.push(name.clone());
            }
        }
        let kept = self.add.iter().filter(gone);
        Self {
            remove,
            add: kept.chain(&later.add).cloned().collect(),
        }
    }

    /// Those of these edits that still show when `final_word` had been made after them: what is made before another
    /// edit can so be made behind it.
    pub(crate) fn yielding_to(&self, final_word: &Self) -> Self {
        let settled = |name: &str| {
            let set = |edit: &HeaderEdit| {
                edit.is_named(name)
                    && matches!(edit.action, HeaderAction::Set | HeaderAction::Replace)
            };
            final_word
                .remove
                .iter()
                .any(|it| it.eq_ignore_ascii_case(name))
                || final_word.add.iter().any(set)
        };
        let named = |name: &str| final_word.add.iter().any(|edit| edit.is_named(name));
        let remove = self
            .remove
            .iter()
            .filter(|name| !named(name) && !settled(name));
        let add = self.add.iter().filter(|edit| !settled(&edit.name));
        Self {
            remove: remove.cloned().collect(),
            add: add.cloned().collect(),
        }
    }
}

impl HeaderEdit {
    fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// `None` for an empty value that is not to be kept: such a header is not added.
    fn parse(proto: &core::HeaderValueOption) -> Result<Option<Self>, String> {
        let Some(header) = &proto.header else {
            return Err("has no header".to_owned());
        };
        let name = editable_name(&header.key)?;
        let value = literal_value(header)?;
        if value.is_empty() && !proto.keep_empty_value {
            return Ok(None);
        }
        Ok(Some(Self {
            name: name.into(),
            value,
            action: HeaderAction::parse(proto)?,
        }))
    }
}

impl HeaderAction {
    fn parse(proto: &core::HeaderValueOption) -> Result<Self, String> {
        use core::header_value_option::HeaderAppendAction;
        if let Some(append) = &proto.append {
            return Ok(if append.value {
                Self::Append
            } else {
                Self::Set
            });
        }
        match HeaderAppendAction::try_from(proto.append_action) {
            Ok(HeaderAppendAction::AppendIfExistsOrAdd) => Ok(Self::Append),
            Ok(HeaderAppendAction::AddIfAbsent) => Ok(Self::AddIfAbsent),
            Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => Ok(Self::Set),
            Ok(HeaderAppendAction::OverwriteIfExists) => Ok(Self::Replace),
            Err(_) => Err(format!("has no append_action {}", proto.append_action)),
        }
    }
}

/// A field name (RFC 9110 section 5.1) that may be edited.
pub(crate) fn editable_name(name: &str) -> Result<&str, String> {
    if name.starts_with(':') {
        return Err(format!("{name:?}: pseudo-headers cannot be edited"));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is not a header name"));
    }
    if FRAMING.iter().any(|it| name.eq_ignore_ascii_case(it)) {
        return Err(format!(
            "{name:?} is written by the proxy and cannot be edited"
        ));
    }
    Ok(name)
}

/// A field value without substitutions; `%%` is a percent sign.
fn literal_value(header: &core::HeaderValue) -> Result<Arc<str>, String> {
    let text = match header.raw_value.as_slice() {
        [] => header.value.as_str(),
        raw => std::str::from_utf8(raw).map_err(|_| "raw_value is not UTF-8".to_owned())?,
    };
    let printable = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    if !text.bytes().all(printable) {
        return Err(format!("{text:?} has a control character"));
    }
    let value = text.replace("%%", "\0");
    if value.contains('%') {
        return Err(format!(
            "{text:?}: substitutions are not supported; write %% for a percent sign"
        ));
    }
    Ok(value.replace('\0', "%").into())
}
