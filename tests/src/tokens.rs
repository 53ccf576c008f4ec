//! Issuers of tokens: keys that sign, and servers that hand out the public halves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key that signs tokens.
pub struct Signer {
    /// Its name (`kid`).
    pub name: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    /// A key called `name` for ES256 or RS256.
    ///
    /// # Errors
    /// If none is made.
    pub fn new(name: &str, algorithm: Algorithm) -> anyhow::Result<Self> {
        let pair = match algorithm {
            Algorithm::RS256 => &PKCS_RSA_SHA256,
            _ => &PKCS_ECDSA_P256_SHA256,
        };
        let pair = KeyPair::generate_for(pair)?;
        let der = pair.serialize_der();
        let key = match algorithm {
            // PKCS #8 puts 26 bytes before the PKCS #1 form that is asked for here.
            Algorithm::RS256 => EncodingKey::from_rsa_der(der.get(26..).unwrap_or_default()),
            _ => EncodingKey::from_ec_der(&der),
        };
        Ok(Self {
            name: name.to_owned(),
            algorithm,
            key,
        })
    }

    /// Its public half.
    ///
    /// # Errors
    /// If it has none.
    pub fn jwk(&self) -> anyhow::Result<Jwk> {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm)?;
        jwk.common.key_id = Some(self.name.clone());
        Ok(jwk)
    }

    /// A token that says `claims`, and names its key.
    ///
    /// # Errors
    /// If it is not signed.
    pub fn sign(&self, claims: &Value) -> anyhow::Result<String> {
        self.sign_as(Some(&self.name), claims)
    }

    /// A token that names this key.
    ///
    /// # Errors
    /// If it is not signed.
    pub fn sign_as(&self, name: Option<&str>, claims: &Value) -> anyhow::Result<String> {
        let mut header = Header::new(self.algorithm);
        header.kid = name.map(str::to_owned);
        encode(&header, claims, &self.key).context("signing")
    }
}

/// The public halves of keys, as a set.
///
/// # Errors
/// If one has none.
pub fn key_set(signers: &[&Signer]) -> anyhow::Result<String> {
    let keys = signers.iter().map(|it| it.jwk());
    let keys = keys.collect::<anyhow::Result<_>>()?;
    Ok(serde_json::to_string(&JwkSet { keys })?)
}

/// Serves a set of keys; it ends with this guard.
pub struct KeyServer {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    body: Mutex<String>,
    broken: AtomicBool,
    asked: AtomicU64,
}

impl KeyServer {
    /// Serves `body` at every path.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(body: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            body: Mutex::new(body),
            broken: AtomicBool::new(false),
            asked: AtomicU64::new(0),
        });
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |_: Request<Incoming>| {
                    let answer = state.answer();
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `body` from now on.
    pub fn serve(&self, body: String) {
        let mut current = self
            .state
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = body;
    }

    /// Answers 503 from now on, or what it is to serve again.
    pub fn break_down(&self, broken: bool) {
        self.state.broken.store(broken, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.state.asked.load(Ordering::Relaxed)
    }
}

impl State {
    fn answer(&self) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = Response::new(Full::from(body.clone()));
        if self.broken.load(Ordering::Relaxed) {
            *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
