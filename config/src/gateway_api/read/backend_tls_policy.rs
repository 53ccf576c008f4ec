//! Reading `BackendTLSPolicy`, and the `ConfigMap`s that it names.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Fields, Item, Reader, check, reference};
use crate::gateway_api::backend_tls_policy::{
    BackendTlsPolicy, BackendValidation, CaReference, SubjectAltName, WellKnownRoots,
};
use crate::gateway_api::config_map::{ConfigMap, ConfigMapData};
use crate::yaml::{Data, shorten};

const CA_REFS_MAX: usize = 8;
const NAMES_MAX: usize = 5;

/// As Kubernetes bounds a whole `ConfigMap`.
const CA_BYTES_MAX: usize = 1 << 20;

/// Reads the `spec` of a `BackendTLSPolicy`.
pub(crate) fn backend_tls_policy(
    cx: &mut Reader<'_>,
    fields: &mut Fields<'_>,
) -> Option<BackendTlsPolicy> {
    let list = fields.get("targetRefs");
    let target_refs = reference::target_refs(cx, fields);
    if let Some(list) = list
        && target_refs.iter().any(|target| !target.kind.is_service())
    {
        list.fault(
            cx,
            "a BackendTLSPolicy attaches to a Service or MeshService: it is about endpoints",
        );
    }
    if let Some(options) = fields.get("options") {
        options.fault(cx, "no options are known: leave this out");
    }
    let validation = fields.require(cx, "validation");
    let validation = validation.and_then(|item| validation_of(cx, &item));
    Some(BackendTlsPolicy {
        target_refs,
        validation: validation?,
    })
}

fn validation_of(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<BackendValidation> {
    let mut fields = item.fields(cx)?;
    let ca_refs = fields.get("caCertificateRefs");
    let ca_refs = ca_refs.map(|list| list.each(cx, 0, CA_REFS_MAX, ca_reference));
    let well_known = fields
        .get("wellKnownCACertificates")
        .map(|item| item.choice(cx, &[("System", WellKnownRoots::System)]));
    match (&ca_refs, &well_known) {
        (Some(refs), Some(_)) if !refs.is_empty() => {
            fields.fault(cx, "`caCertificateRefs` and `wellKnownCACertificates` exclude each other");
        }
        (None, None) => fields.fault(
            cx,
            "whom to trust must be said: `caCertificateRefs`, or `wellKnownCACertificates: System`",
        ),
        (Some(refs), None) if refs.is_empty() && !cx.has_faults() => fields.fault(
            cx,
            "`caCertificateRefs` is empty: name a ConfigMap, or say `wellKnownCACertificates: System`",
        ),
        _ => {}
    }
    let hostname = fields.require(cx, "hostname");
    let hostname = hostname.and_then(|item| check::precise_host(cx, &item));
    let names = fields.get("subjectAltNames");
    let names = names.map(|list| list.each(cx, 0, NAMES_MAX, subject_alt_name));
    fields.finish(cx);
    Some(BackendValidation {
        ca_refs: ca_refs.unwrap_or_default(),
        well_known: well_known.flatten(),
        hostname: hostname?,
        subject_alt_names: names.unwrap_or_default(),
    })
}

fn ca_reference(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<CaReference> {
    let mut fields = item.fields(cx)?;
    let group = fields.require(cx, "group");
    let group = group.and_then(|item| item.choice(cx, &[("", ()), ("core", ())]));
    let kind = fields.require(cx, "kind");
    let kind = kind.and_then(|item| item.choice(cx, &[("ConfigMap", ())]));
    let name = fields.require(cx, "name");
    let name = name.and_then(|item| check::subdomain(cx, &item));
    fields.finish(cx);
    group.and(kind)?;
    Some(CaReference::to_config_map(name?))
}

fn subject_alt_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<SubjectAltName> {
    #[derive(Clone, Copy)]
    enum Type {
        Hostname,
        Uri,
    }
    let mut fields = item.fields(cx)?;
    let kind = fields.require(cx, "type");
    let kind =
        kind.and_then(|item| item.choice(cx, &[("Hostname", Type::Hostname), ("URI", Type::Uri)]));
    let name = match kind? {
        Type::Hostname => {
            let hostname = fields.require(cx, "hostname");
            let hostname = hostname.and_then(|item| check::precise_host(cx, &item));
            hostname.map(|hostname| SubjectAltName::Hostname { hostname })
        }
        Type::Uri => {
            let uri = fields.require(cx, "uri");
            let uri = uri.and_then(|item| item.parsed(cx, absolute_uri));
            uri.map(|uri| SubjectAltName::Uri { uri })
        }
    };
    fields.finish(cx);
    name
}

/// A URI with a scheme (RFC 3986 §3), as certificates have them.
fn absolute_uri(text: &str) -> Result<String, String> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    match is_scheme && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a URI with its scheme, at most 253 bytes, got `{}`",
            shorten(text)
        )),
    }
}

/// Reads a `ConfigMap`, whose fields stand beside `metadata`.
pub(crate) fn config_map(cx: &mut Reader<'_>, fields: &mut Fields<'_>) -> Option<ConfigMap> {
    fields.accept(&["immutable", "binaryData"]);
    let mut data = ConfigMapData::default();
    let given = fields.get("data");
    if let Some(item) = &given
        && let Data::Map(entries) = &item.node.data
    {
        let ca = entries.iter().find(|entry| entry.key == "ca.crt");
        let ca = ca.map(|entry| Item::new(&entry.value, item.path.key(&entry.key)));
        data.ca = ca.and_then(|item| item.parsed(cx, certificates));
    } else if let Some(item) = &given {
        item.fields(cx); // which says that it must be a map
    }
    if data.ca.is_none() && !cx.has_faults() {
        cx.warn(
            fields.mark,
            &fields.path.field("data"),
            "has no `ca.crt`, which is all that is read of a ConfigMap",
        );
    }
    Some(ConfigMap { data })
}

/// Text with certificates in PEM.
fn certificates(text: &str) -> Result<String, String> {
    if text.len() > CA_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("must be at most {CA_BYTES_MAX} bytes, got {bytes}"));
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(text.to_owned()),
        _ => Err("must be certificates in PEM".to_owned()),
    }
}
