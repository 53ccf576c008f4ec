//! A certificate authority for one test.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use serde_json::{Value, json};
use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::tls::{DownstreamTls, UpstreamTls};
use weft_xds_proto::json::Descriptors;

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key in PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for both sides of a connection.
    pub(crate) fn issue(&self, names: &[SanType]) -> Issued {
        self.issue_as(names, |_| {})
    }

    pub(crate) fn issue_as(
        &self,
        names: &[SanType],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = named("leaf");
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// The authority's own certificate, shown as if it were a peer's.
    pub(crate) fn itself(&self) -> Issued {
        Issued {
            chain: self.pem.clone(),
            key: self.issuer.key().serialize_pem(),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

pub(crate) fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

impl Issued {
    pub(crate) fn json(&self) -> Value {
        json!({ "certificate_chain": { "inline_string": self.chain }, "private_key": { "inline_string": self.key } })
    }
}

/// What of a test's contexts differs from the plainest.
pub(crate) fn downstream(common: Value, further: Value) -> Arc<DownstreamTls> {
    let proto = message(common, further);
    let mut diag = Diagnostics::new();
    let read = DownstreamTls::parse(&proto, &FieldPath::root(), &mut diag);
    assert!(!diag.has_faults(), "{:?}", diag.findings());
    Arc::new(read.unwrap())
}

pub(crate) fn upstream(common: Value, further: Value) -> Arc<UpstreamTls> {
    let proto = message(common, further);
    let mut diag = Diagnostics::new();
    let read = UpstreamTls::parse(&proto, &FieldPath::root(), &mut diag);
    assert!(!diag.has_faults(), "{:?}", diag.findings());
    Arc::new(read.unwrap())
}

fn message<M: prost::Name + Default>(common: Value, further: Value) -> M {
    let mut whole = json!({ "common_tls_context": common });
    for (name, value) in further.as_object().unwrap() {
        whole[name] = value.clone();
    }
    Descriptors::load();
    weft_xds_proto::json::from_json(&whole).unwrap()
}
