//! A workload that has a certificate made for itself, and shows it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use weft_xds_proto::istio::IstioCertificateRequest;
use weft_xds_proto::istio::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::anybody::Anybody;

/// A key, with what was signed for it.
pub struct Workload {
    /// Its key.
    pub key: KeyPair,
    /// PEM: its certificate, and what leads from that to the root.
    pub chain: Vec<String>,
}

impl Workload {
    /// One that has proved by a token who it is.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn join(channel: Channel, token: &str, seconds: i64) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let request = request(&key, &[])?;
        let chain = create(channel, &request, Some(token), seconds).await?;
        Ok(Self { key, chain })
    }
}

/// A signing request as PEM that asks for these URIs.
///
/// # Errors
/// If one is no text for a certificate.
pub fn request(key: &KeyPair, uris: &[&str]) -> anyhow::Result<String> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for uri in uris {
        let uri = SanType::URI((*uri).try_into()?);
        params.subject_alt_names.push(uri);
    }
    Ok(params.serialize_request(key)?.pem()?)
}

/// Asks for a certificate.
///
/// # Errors
/// What the control plane says.
pub async fn create(
    channel: Channel,
    request: &str,
    token: Option<&str>,
    seconds: i64,
) -> Result<Vec<String>, Status> {
    let mut request = Request::new(IstioCertificateRequest {
        csr: request.to_owned(),
        validity_duration: seconds,
        metadata: None,
    });
    if let Some(token) = token {
        let bearer = MetadataValue::try_from(format!("Bearer {token}"));
        let bearer = bearer.map_err(|error| Status::internal(error.to_string()))?;
        request.metadata_mut().insert("authorization", bearer);
    }
    let mut client = IstioCertificateServiceClient::new(channel);
    let answer = client.create_certificate(request).await?;
    Ok(answer.into_inner().cert_chain)
}

/// A channel without TLS.
///
/// # Errors
/// If nobody listens.
pub async fn plain(address: SocketAddr) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect().await?)
}

/// A channel with TLS that trusts `roots` and shows the certificate of `workload`, where there is one.
///
/// # Errors
/// If the other side is not trusted, or does not listen. Whether it trusts us, TLS 1.3 tells at the first call.
pub async fn secure(
    address: SocketAddr,
    roots: &str,
    workload: Option<&Workload>,
) -> anyhow::Result<Channel> {
    let config = Arc::new(config(roots, workload)?);
    let connect = move |_: Uri| {
        let config = Arc::clone(&config);
        async move {
            let stream = connect(address, config).await;
            stream.map(TokioIo::new).map_err(std::io::Error::other)
        }
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let connector = tower::service_fn(connect);
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// A connection with TLS.
///
/// # Errors
/// As [`secure`].
pub async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost")?;
    let connector = TlsConnector::from(config);
    connector.connect(name, stream).await.context("handshake")
}

/// The group by which a server and a client of TLS 1.3 agree on their key, whoever the server is.
///
/// # Errors
/// If the handshake fails on our side.
pub async fn key_exchange_with(address: SocketAddr) -> anyhow::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let stream = connect(address, Arc::new(config)).await?;
    let group = stream.get_ref().1.negotiated_key_exchange_group();
    Ok(format!("{:?}", group.context("no group")?.name()))
}

/// What a client of TLS is made with.
///
/// # Errors
/// If roots, certificate or key cannot be read.
pub fn config(roots: &str, workload: Option<&Workload>) -> anyhow::Result<ClientConfig> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        store.add(root?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(store);
    let mut config = match workload {
        None => config.with_no_client_auth(),
        Some(workload) => {
            let chain = workload.chain.concat();
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
            let key = PrivateKeyDer::from_pem_slice(workload.key.serialize_pem().as_bytes())?;
            config.with_client_auth_cert(chain?, key)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
