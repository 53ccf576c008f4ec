//! Secrets as servers tell them, and what a TLS server shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use weft_xds_proto::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3 as pb;

use crate::anybody::Anybody;

/// Bound on a handshake.
const LIMIT: Duration = Duration::from_secs(10);

/// The secret `name` with the certificate and key `OF.pem` and `OF.key` of a folder.
///
/// # Errors
/// If a file cannot be read.
pub fn certificate(name: &str, folder: &Path, of: &str) -> anyhow::Result<pb::Secret> {
    Ok(secret(
        name,
        pb::secret::Type::TlsCertificate(pb::TlsCertificate {
            certificate_chain: Some(bytes(&folder.join(format!("{of}.pem")))?),
            private_key: Some(bytes(&folder.join(format!("{of}.key")))?),
            ..Default::default()
        }),
    ))
}

/// The secret `name` with the roots in `ca.pem` of a folder.
///
/// # Errors
/// If the file cannot be read.
pub fn roots(name: &str, folder: &Path) -> anyhow::Result<pb::Secret> {
    Ok(secret(
        name,
        pb::secret::Type::ValidationContext(pb::CertificateValidationContext {
            trusted_ca: Some(bytes(&folder.join("ca.pem"))?),
            ..Default::default()
        }),
    ))
}

fn secret(name: &str, holds: pb::secret::Type) -> pb::Secret {
    pb::Secret {
        name: name.to_owned(),
        r#type: Some(holds),
    }
}

fn bytes(path: &Path) -> anyhow::Result<DataSource> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(DataSource {
        specifier: Some(Specifier::InlineBytes(bytes)),
        ..Default::default()
    })
}

/// The first certificate in a file of PEM.
///
/// # Errors
/// If there is none.
pub fn first_certificate(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(CertificateDer::from_pem_file(path)?.to_vec())
}

/// The certificate that whoever listens at `address` shows, whoever signed it.
///
/// # Errors
/// If nobody listens there, or no handshake is made.
pub async fn shown_at(address: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let handshake = async {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, socket).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let first = shown.and_then(<[_]>::first).context("no certificate")?;
        anyhow::Ok(first.to_vec())
    };
    tokio::time::timeout(LIMIT, handshake).await?
}
