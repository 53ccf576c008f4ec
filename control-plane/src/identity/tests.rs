use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, CertificateSigningRequest, DistinguishedName, KeyPair, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use weft_config::spiffe::{SpiffeId, TrustDomain};

use super::{Authority, Issued, Lifetimes, Refused};

mod api_tokens;
mod folder;
mod issuing;
mod kubernetes;
mod live;
mod material;
mod requests;
mod signing;
mod tokens;

const ID: &str = "spiffe://mesh.test/ns/default/sa/reviews";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn domain() -> TrustDomain {
    TrustDomain::parse("mesh.test").unwrap()
}

fn id() -> SpiffeId {
    SpiffeId::parse(ID).unwrap()
}

fn authority() -> Authority {
    Authority::in_memory(domain(), Lifetimes::default(), now()).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A request that asks for these names, signed with `key`.
fn request_for(key: &KeyPair, names: Vec<SanType>) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names;
    params.serialize_request(key).unwrap()
}

fn ask(authority: &Authority, request: &CertificateSigningRequest) -> Result<Issued, Refused> {
    authority.sign(request.pem().unwrap().as_bytes(), &id(), None, now())
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);
