//! What certificates and handshakes say.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::ProtocolVersion;
use rustls_pki_types::CertificateDer;
use weft_config::secret::SanKind;
use weft_config::spiffe::SpiffeId;
use weft_config::tls::mesh_alpn;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is known of a connection by its handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name in IANA's registry.
    pub cipher_suite: Arc<str>,
    /// The protocol that both sides agreed on (ALPN).
    pub alpn: Option<Arc<str>>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<Arc<str>>,
    /// The URI of the certificate that we have shown: our own SPIFFE id, mostly. Of a downstream connection.
    pub own_uri: Option<Arc<str>>,
    /// The certificate that the peer showed, which was judged.
    pub peer: Option<Arc<PeerCertificate>>,
    /// Whether an earlier session went on.
    pub resumed: bool,
}

impl TlsFacts {
    /// Whether both sides tell how names were spelled in heads that came over HTTP/1.
    pub fn tells_spelling(&self) -> bool {
        self.alpn.as_deref() == Some(mesh_alpn::HTTP2)
    }

    /// How the handshake ended, as it is counted.
    pub fn result(&self) -> &'static str {
        match self.resumed {
            true => "resumed",
            false => "ok",
        }
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub subject: Arc<str>,
    /// Its issuer.
    pub issuer: Arc<str>,
    /// Its serial number in hexadecimal.
    pub serial: Arc<str>,
    /// Its subject alternative names, in order.
    pub names: Vec<(SanKind, Arc<str>)>,
    /// First second of its life, since 1970.
    pub not_before: i64,
    /// Last second of its life, since 1970.
    pub not_after: i64,
    /// SHA-256 of its DER in hexadecimal.
    pub sha256: Arc<str>,
    /// Its DER.
    pub der: CertificateDer<'static>,
}

/// Names of one certificate that are looked at.
const NAMES_MAX: usize = 256;

#[cfg(test)]
impl PeerCertificate {
    /// One for tests, which says what there is to say.
    pub(crate) fn sample() -> Self {
        Self {
            subject: "CN=a".into(),
            issuer: "CN=root".into(),
            serial: "0a".into(),
            names: vec![
                (SanKind::Uri, "spiffe://td/a".into()),
                (SanKind::Dns, "a.test".into()),
                (SanKind::Uri, "spiffe://td/b".into()),
            ],
            not_before: 0,
            not_after: 86_400,
            sha256: "00ff".into(),
            der: CertificateDer::from(Vec::new()),
        }
    }
}

impl PeerCertificate {
    /// Reads a certificate; `None`: it cannot be read.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let validity = certificate.validity();
        Some(Self {
            subject: certificate.subject().to_string().into(),
            issuer: certificate.issuer().to_string().into(),
            serial: certificate.raw_serial_as_string().replace(':', "").into(),
            names: names(&certificate)?,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            sha256: hex(digest(&SHA256, der).as_ref()).into(),
            der: der.clone().into_owned(),
        })
    }

    /// Its SPIFFE id: the one URI that it has, if that is one (X.509-SVID §2).
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        let mut uris = self.names.iter().filter(|(kind, _)| *kind == SanKind::Uri);
        match (uris.next(), uris.next()) {
            (Some((_, uri)), None) => SpiffeId::parse(uri).ok(),
            _ => None,
        }
    }

    /// Its first URI.
    pub fn uri(&self) -> Option<&Arc<str>> {
        let mut names = self.names.iter();
        names.find_map(|(kind, name)| (*kind == SanKind::Uri).then_some(name))
    }

    /// Its host names.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        let names = self.names.iter();
        names.filter_map(|(kind, name)| (*kind == SanKind::Dns).then_some(&**name))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Option<Vec<(SanKind, Arc<str>)>> {
    let mut names = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(san) = extension.parsed_extension() else {
            continue;
        };
        for name in &san.general_names {
            let named = match name {
                GeneralName::DNSName(name) => (SanKind::Dns, (*name).into()),
                GeneralName::URI(uri) => (SanKind::Uri, (*uri).into()),
                GeneralName::RFC822Name(mail) => (SanKind::Email, (*mail).into()),
                GeneralName::IPAddress(bytes) => (SanKind::Ip, ip(bytes)?),
                _ => continue,
            };
            if names.len() == NAMES_MAX {
                return None;
            }
            names.push(named);
        }
    }
    Some(names)
}

fn ip(bytes: &[u8]) -> Option<Arc<str>> {
    use std::net::IpAddr;
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(ip.to_string().into())
}

/// A version as OpenSSL and Envoy write it.
pub(super) fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "-",
    }
}
