//! TLS contexts: what handshakes of a filter chain or of a cluster are made with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use weft_config::tls::{
    CipherSuite, DownstreamTls, KeyExchange, TlsParameters, TlsVersion, UpstreamTls, mesh_alpn,
};

use super::error::HandshakeError;
use super::slot::{Certificate, Slot};
use super::trust::Trust;
use super::verifier::{OwnCertificates, Verifier};

/// Sessions that a server keeps for resumption.
const SERVER_SESSIONS_MAX: usize = 1024;

/// How connections of a filter chain are accepted.
#[derive(Debug)]
pub struct ServerContext {
    /// As configured.
    pub config: Arc<DownstreamTls>,
    certificates: Vec<Arc<Slot<Certificate>>>,
    trust: Option<Arc<Slot<Trust>>>,
    made: Made<ServerConfig>,
}

/// How connections of a cluster are opened.
#[derive(Debug)]
pub struct ClientContext {
    /// As configured.
    pub config: Arc<UpstreamTls>,
    certificates: Vec<Arc<Slot<Certificate>>>,
    trust: Option<Arc<Slot<Trust>>>,
    made: Made<Clients>,
    /// How often sessions were forgotten.
    forgotten: AtomicU64,
}

/// What is spoken inside of a connection to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes that nobody looks into.
    Bytes,
}

/// One for each of [`Inside`]; they differ in the protocols that are offered, and only between sidecars.
#[derive(Debug)]
struct Clients {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
}

/// The form that rustls takes, made anew when what it was made for changes. With it end the sessions that could be resumed: a
/// resumed one is not judged, so it must not outlive the trust under which it began, nor the certificate that it began with.
#[derive(Debug)]
struct Made<T> {
    current: ArcSwapOption<Of<T>>,
    making: Mutex<()>,
}

#[derive(Debug)]
struct Of<T> {
    /// The revision that it was made for.
    revision: u64,
    made: Arc<T>,
}

impl<T> Made<T> {
    fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            making: Mutex::new(()),
        }
    }

    fn get(
        &self,
        revision: u64,
        make: impl FnOnce() -> Result<T, rustls::Error>,
    ) -> Result<Arc<T>, rustls::Error> {
        let ready = || {
            let current = self.current.load();
            let current = current.as_ref()?;
            (current.revision == revision).then(|| current.made.clone())
        };
        if let Some(ready) = ready() {
            return Ok(ready);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = ready() {
            return Ok(ready);
        }
        let made = Arc::new(make()?);
        self.current.store(Some(Arc::new(Of {
            revision,
            made: made.clone(),
        })));
        Ok(made)
    }
}

impl ServerContext {
    pub(super) fn new(
        config: Arc<DownstreamTls>,
        certificates: Vec<Arc<Slot<Certificate>>>,
        trust: Option<Arc<Slot<Trust>>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            certificates,
            trust,
            made: Made::new(),
        })
    }

    /// The URI of the certificate that is shown; of the first, where there are several.
    pub(super) fn uri(&self) -> Option<Arc<str>> {
        let first = self.certificates.first()?.current()?;
        first.facts.uri().cloned()
    }

    /// What a handshake is made with now.
    pub(crate) fn current(&self) -> Result<Arc<ServerConfig>, HandshakeError> {
        check_ready(&self.certificates)?;
        // With a new certificate of ours: who resumes a session never sees it, and gives us up when the one it saw has expired.
        let revision = revision(&self.certificates, self.trust.as_ref());
        Ok(self.made.get(revision, || self.make())?)
    }

    fn make(&self) -> Result<ServerConfig, rustls::Error> {
        let common = &self.config.common;
        let provider = Arc::new(provider(&common.parameters));
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(&common.parameters))?;
        let required = self.config.require_client_certificate;
        let asks = self.trust.as_ref().filter(|trust| {
            // What has not come yet will judge.
            let wants = |trust: Arc<Trust>| trust.wants_certificate();
            required || trust.current().is_none_or(wants)
        });
        let builder = match asks {
            Some(trust) => {
                let verifier = Verifier::of_downstream(trust.clone(), required, &provider);
                builder.with_client_cert_verifier(Arc::new(verifier))
            }
            None => builder.with_no_client_auth(),
        };
        let mut made = builder.with_cert_resolver(Arc::new(OwnCertificates {
            slots: self.certificates.clone(),
            require_server_name: self.config.require_server_name,
        }));
        made.alpn_protocols = alpn(&common.alpn);
        let resumption = self.config.resumption;
        made.session_storage = match resumption.stateful {
            true => ServerSessionMemoryCache::new(SERVER_SESSIONS_MAX),
            false => Arc::new(NoServerSessionStorage {}),
        };
        if resumption.tickets {
            made.ticketer = aws_lc_rs::Ticketer::new()?;
        }
        if !resumption.tickets && !resumption.stateful {
            made.send_tls13_tickets = 0;
        }
        Ok(made)
    }
}

impl ClientContext {
    pub(super) fn new(
        config: Arc<UpstreamTls>,
        certificates: Vec<Arc<Slot<Certificate>>>,
        trust: Option<Arc<Slot<Trust>>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            certificates,
            trust,
            made: Made::new(),
            forgotten: AtomicU64::new(0),
        })
    }

    /// No session that began before is resumed from now on.
    pub(super) fn forget_sessions(&self) {
        self.forgotten.fetch_add(1, Ordering::Release);
    }

    /// What a handshake is made with now.
    pub(super) fn current(&self, inside: Inside) -> Result<Arc<ClientConfig>, HandshakeError> {
        check_ready(&self.certificates)?;
        let swaps = revision(&self.certificates, self.trust.as_ref());
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let made = self.made.get(swaps + forgotten, || self.make())?;
        Ok(match inside {
            Inside::Http1 => made.http1.clone(),
            Inside::Http2 => made.http2.clone(),
            Inside::Bytes => made.bytes.clone(),
        })
    }

    /// The name that is asked for: the one configured, or the address, which is not sent.
    pub(super) fn server_name(&self, address: std::net::IpAddr) -> ServerName<'static> {
        let configured = self.config.server_name.as_deref();
        configured
            .and_then(|name| ServerName::try_from(name.to_owned()).ok())
            .unwrap_or_else(|| ServerName::from(address))
    }

    fn make(&self) -> Result<Clients, rustls::Error> {
        let made = self.make_one()?;
        if !self.config.is_mesh() {
            let one = Arc::new(made);
            return Ok(Clients {
                http1: one.clone(),
                http2: one.clone(),
                bytes: one,
            });
        }
        let offering = |protocols: &[&str]| {
            let mut made = made.clone();
            made.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
            Arc::new(made)
        };
        Ok(Clients {
            http1: offering(&[mesh_alpn::HTTP, "http/1.1"]),
            http2: offering(&[mesh_alpn::HTTP, mesh_alpn::HTTP2, "h2"]),
            bytes: offering(&[mesh_alpn::TCP]),
        })
    }

    fn make_one(&self) -> Result<ClientConfig, rustls::Error> {
        let common = &self.config.common;
        let provider = Arc::new(provider(&common.parameters));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(&common.parameters))?;
        let check_name = self.config.check_server_name;
        let verifier = Verifier::of_upstream(self.trust.clone(), check_name, &provider);
        let own = OwnCertificates {
            slots: self.certificates.clone(),
            require_server_name: false,
        };
        let mut made = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(own));
        made.alpn_protocols = alpn(&common.alpn);
        made.enable_sni = self.config.server_name.is_some();
        made.resumption = match self.config.sessions_max {
            0 => Resumption::disabled(),
            max => Resumption::in_memory_sessions(usize::try_from(max).unwrap_or(usize::MAX)),
        };
        Ok(made)
    }
}

/// Another one after any swap: each only rises, and so does their sum.
fn revision(own: &[Arc<Slot<Certificate>>], trust: Option<&Arc<Slot<Trust>>>) -> u64 {
    let own = own.iter().map(|slot| slot.revision());
    own.chain(trust.map(|trust| trust.revision())).sum()
}

/// A handshake without a certificate would fail for a reason that says nothing.
fn check_ready(slots: &[Arc<Slot<Certificate>>]) -> Result<(), HandshakeError> {
    let empty = slots.iter().find(|slot| slot.current().is_none());
    let some = slots.iter().any(|slot| slot.current().is_some());
    match empty {
        Some(empty) if !some => {
            let why = empty.fault().map(|fault| fault.to_string());
            Err(HandshakeError::NotReady(why.unwrap_or_default().into()))
        }
        _ => Ok(()),
    }
}

fn alpn(protocols: &[Arc<str>]) -> Vec<Vec<u8>> {
    protocols.iter().map(|it| it.as_bytes().to_vec()).collect()
}

fn versions(parameters: &TlsParameters) -> Vec<&'static SupportedProtocolVersion> {
    let all = [
        (TlsVersion::Tls12, &rustls::version::TLS12),
        (TlsVersion::Tls13, &rustls::version::TLS13),
    ];
    let spoken = parameters.version_min..=parameters.version_max;
    all.into_iter()
        .filter_map(|(version, known)| spoken.contains(&version).then_some(known))
        .collect()
}

fn provider(parameters: &TlsParameters) -> CryptoProvider {
    use aws_lc_rs::{cipher_suite, kx_group};
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = parameters
        .key_exchange
        .iter()
        .map(|group| match group {
            KeyExchange::X25519MlKem768 => kx_group::X25519MLKEM768,
            KeyExchange::X25519 => kx_group::X25519,
            KeyExchange::P256 => kx_group::SECP256R1,
            KeyExchange::P384 => kx_group::SECP384R1,
        })
        .collect();
    if parameters.cipher_suites.is_empty() {
        return provider;
    }
    let of_tls12 = |suite: &CipherSuite| match suite {
        CipherSuite::EcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    };
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some());
    let chosen = parameters.cipher_suites.iter().map(of_tls12);
    provider.cipher_suites.extend(chosen);
    provider
}
