//! Reading `metadata`.

use std::collections::BTreeMap;

use super::{Fields, Item, Reader, check};
use crate::gateway_api::metadata::{Metadata, default_namespace};
use crate::gateway_api::names::{is_dns_label, is_dns_subdomain};
use crate::gateway_api::object::Kind;
use crate::yaml::{Data, shorten};

/// Reads `metadata` and sets the namespace that the rest of the document is read in.
pub(crate) fn metadata(cx: &mut Reader<'_>, item: &Item<'_>, kind: Kind) -> Metadata {
    let Some(mut fields) = item.fields(cx) else {
        return Metadata::default();
    };
    let name = fields
        .require(cx, "name")
        .and_then(|item| object_name(cx, &item, kind));
    let namespace = fields
        .get("namespace")
        .and_then(|item| check::label(cx, &item));
    let metadata = Metadata {
        name: name.unwrap_or_default(),
        namespace: namespace.unwrap_or_else(default_namespace),
        labels: string_map(cx, &mut fields, "labels", label_pair),
        annotations: string_map(cx, &mut fields, "annotations", |key, _| qualified(key)),
        generation: fields
            .get("generation")
            .and_then(|item| item.number(cx, 0, u32::MAX))
            .map(u64::from),
        creation_timestamp: fields
            .get("creationTimestamp")
            .and_then(|item| item.parsed(cx, timestamp)),
        uid: fields.get("uid").and_then(|item| item.string(cx)),
        resource_version: fields
            .get("resourceVersion")
            .and_then(|item| item.string(cx)),
    };
    fields.accept(&[
        "managedFields",
        "ownerReferences",
        "finalizers",
        "selfLink",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ]);
    fields.finish(cx);
    cx.namespace.clone_from(&metadata.namespace);
    metadata
}

fn object_name(cx: &mut Reader<'_>, item: &Item<'_>, kind: Kind) -> Option<String> {
    match kind {
        Kind::Service | Kind::MeshService => check::label(cx, item),
        _ => check::subdomain(cx, item),
    }
}

/// Labels of a selector or of an object.
pub(crate) fn labels(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> BTreeMap<String, String> {
    string_map(cx, fields, name, label_pair)
}

fn string_map(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
    name: &'static str,
    rule: fn(&str, &str) -> Result<(), String>,
) -> BTreeMap<String, String> {
    let Some(item) = fields.get(name) else {
        return BTreeMap::new();
    };
    let Data::Map(entries) = &item.node.data else {
        item.fields(cx);
        return BTreeMap::new();
    };
    let mut map = BTreeMap::new();
    for entry in entries {
        let value = Item::new(&entry.value, item.path.key(&entry.key));
        let Some(text) = value.text(cx) else { continue };
        match rule(&entry.key, text) {
            Ok(()) => {
                map.insert(entry.key.clone(), text.to_owned());
            }
            Err(message) => cx.fault(entry.key_mark, &value.path, message),
        }
    }
    map
}

/// A label's key and value, as Kubernetes bounds them.
fn label_pair(key: &str, value: &str) -> Result<(), String> {
    qualified(key)?;
    if value.is_empty() || is_label_text(value) {
        return Ok(());
    }
    Err(format!(
        "a label's value has at most 63 of letters, digits, `-`, `_` and `.`, with a letter or digit at either end, got `{}`",
        shorten(value)
    ))
}

/// `name` or `domain/name`.
fn qualified(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if is_label_text(name) && prefix.is_none_or(is_dns_subdomain) {
        return Ok(());
    }
    Err(format!(
        "a key is a name of at most 63 letters, digits, `-`, `_` and `.`, or one behind a domain and `/`, got `{}`",
        shorten(key)
    ))
}

fn is_label_text(text: &str) -> bool {
    let lower = text.to_ascii_lowercase().replace(['_', '.'], "-");
    is_dns_label(&lower)
        && text
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
        && text
            .as_bytes()
            .last()
            .is_some_and(u8::is_ascii_alphanumeric)
}

/// `2026-01-31T23:59:59Z`, the only form that Kubernetes writes; as text it sorts by time.
fn timestamp(text: &str) -> Result<String, String> {
    let form = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            _ => byte == *form,
        });
    match fits {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a time in UTC such as `2026-01-31T23:59:59Z`, got `{}`",
            shorten(text)
        )),
    }
}
