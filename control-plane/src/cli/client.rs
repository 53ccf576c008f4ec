//! A client of the control plane's HTTP API.

use std::time::Duration;

use anyhow::{Context, bail};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::model::{ApplyEvent, ApplyRequest, ErrorBody, SourceFile};

/// Bound on the head of an answer; streams of progress may take longer to end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one control plane.
#[derive(Clone, Debug)]
pub struct Client {
    server: Uri,
    token: Option<String>,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

/// Reads `http://HOST:PORT`.
///
/// # Errors
/// If it is anything else.
pub(super) fn parse_server(text: &str) -> Result<Uri, String> {
    let uri: Option<Uri> = text.parse().ok();
    uri.filter(|it| it.scheme_str() == Some("http") && it.authority().is_some() && it.path() == "/")
        .ok_or_else(|| format!("must be http://HOST:PORT, got {text:?}"))
}

impl Client {
    /// A client of the control plane at `server`.
    ///
    /// # Errors
    /// If `server` is not an `http://` URL without a path.
    pub fn new(server: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let uri = parse_server(server).map_err(anyhow::Error::msg)?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            server: uri,
            token: token.map(str::to_owned),
            http,
        })
    }

    /// `GET path` as JSON.
    ///
    /// # Errors
    /// If the control plane cannot be reached or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let bytes = self.get_bytes(path).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("the control plane's answer to GET {path}"))
    }

    /// `GET path` as it comes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// `POST path` with a JSON body, and the answer as it comes.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post_bytes(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Bytes> {
        let response = self
            .send(Method::POST, path, serde_json::to_vec(body)?.into())
            .await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// `POST path` with a JSON body, and each [`ApplyEvent`] of the answer as it arrives.
    ///
    /// # Errors
    /// As [`Self::get`], or if `each` fails.
    pub async fn post_events(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(ApplyEvent) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut body = self
            .send(Method::POST, path, serde_json::to_vec(body)?.into())
            .await?
            .into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.context("the answer was cut short")?.into_data() {
                rest.extend_from_slice(&data);
            }
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(
                    serde_json::from_slice(&line)
                        .with_context(|| format!("the control plane's answer to POST {path}"))?,
                )?;
            }
        }
        Ok(())
    }

    /// Applies one text, waits until all proxies concerned have acknowledged it, and gives the revision.
    ///
    /// # Errors
    /// If it is refused, by the control plane or by a proxy, or not acknowledged in time.
    pub async fn apply_and_wait(
        &self,
        text: &str,
        author: &str,
        message: &str,
    ) -> anyhow::Result<u64> {
        let request = ApplyRequest {
            files: vec![SourceFile {
                name: "<stdin>".to_owned(),
                text: text.to_owned(),
            }],
            author: author.to_owned(),
            message: message.to_owned(),
            wait_seconds: Some(30),
            ..ApplyRequest::default()
        };
        let mut last = None;
        self.post_events("/v1/apply", &request, |event| {
            last = Some(event);
            Ok(())
        })
        .await?;
        match last {
            Some(ApplyEvent::Done {
                revision,
                refused,
                waiting,
                ..
            }) if refused.is_empty() && waiting.is_empty() => Ok(revision),
            Some(ApplyEvent::Done {
                refused, waiting, ..
            }) => {
                bail!("refused by {refused:?}, not acknowledged by {waiting:?}")
            }
            other => bail!("the control plane ended its answer early, after {other:?}"),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri = format!("{}{path}", self.server.to_string().trim_end_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(&uri)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::from(body))
            .with_context(|| format!("making a request for {uri}"))?;
        let response = tokio::time::timeout(ANSWER_TIMEOUT, self.http.request(request))
            .await
            .with_context(|| format!("{} did not answer within {ANSWER_TIMEOUT:?}", self.server))?
            .with_context(|| {
                format!(
                    "no control plane answers at {} (is `weft serve` running there?)",
                    self.server
                )
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(error) => Err(error.into()),
            Err(_) => bail!(
                "what answers at {} is not the HTTP API of a control plane, it says {status}: give its address by --server",
                self.server
            ),
        }
    }
}
