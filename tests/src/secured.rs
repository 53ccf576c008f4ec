//! TLS in front of a server that has none.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::pki::Pki;

/// A server with TLS alone, in front of one without. It ends with this.
pub struct Secured {
    /// Where it listens.
    pub address: SocketAddr,
    serve: JoinHandle<()>,
}

impl Secured {
    /// Shows the certificate `NAME.pem` of the authority's folder, and speaks `alpn`.
    ///
    /// # Errors
    /// If a file cannot be read, or no port be bound.
    pub async fn start(
        pki: &Pki,
        name: &str,
        alpn: &str,
        behind: SocketAddr,
    ) -> anyhow::Result<Self> {
        let file = |kind: &str| pki.folder().join(format!("{name}.{kind}"));
        let chain = vec![CertificateDer::from_pem_file(file("pem"))?];
        let key = PrivateKeyDer::from_pem_file(file("key"))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let address = socket.local_addr()?;
        let serve = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Whoever fails to shake hands is told so by TLS; whoever leaves has left.
                    let mut near = acceptor.accept(stream).await?;
                    let mut far = TcpStream::connect(behind).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Ok(Self { address, serve })
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.serve.abort();
    }
}
