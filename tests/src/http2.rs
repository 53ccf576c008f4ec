//! One HTTP/2 connection that is kept, and exchanges on it that last.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use crate::content::{Content, whole};

/// Bound of one request, and of one step of an exchange that lasts.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Pieces of a request's content that may wait to be sent.
const PIECES: usize = 4;

/// One HTTP/2 connection without TLS that is kept.
pub struct Http2 {
    sender: SendRequest<Content>,
    connection: JoinHandle<()>,
}

/// An exchange of which neither side has ended.
pub struct Exchange {
    to: Option<mpsc::Sender<Bytes>>,
    answer: Response<()>,
    from: Incoming,
    /// What has come and was not asked for yet.
    heard: BytesMut,
    trailers: HeaderMap,
}

impl Http2 {
    /// Connects to `address`.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::connect_as(address, &options()).await
    }

    /// Connects to `address` with these settings.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn connect_as(
        address: SocketAddr,
        options: &Builder<TokioExecutor>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let handshake = options.handshake(TokioIo::new(stream));
        let (sender, connection) = timeout(TIMEOUT, handshake).await??;
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, connection })
    }

    /// Sends `request` and gives what comes back, whose content is still to be read.
    ///
    /// # Errors
    /// If the connection or the stream ends, or no head comes back within 60 s.
    pub async fn begin(&self, request: Request<Content>) -> anyhow::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        Ok(timeout(TIMEOUT, exchange)
            .await
            .with_context(|| format!("no answer within {TIMEOUT:?}"))??)
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// If the connection or the stream ends, or nothing whole comes back within 60 s.
    pub async fn send(&self, request: Request<Content>) -> anyhow::Result<Response<Bytes>> {
        let (head, body) = self.begin(request).await?.into_parts();
        let body = timeout(TIMEOUT, body.collect())
            .await
            .with_context(|| format!("no whole answer within {TIMEOUT:?}"))??;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// `GET path` of this authority.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, authority: &str, path: &str) -> anyhow::Result<Response<Bytes>> {
        let request = Request::get(format!("http://{authority}{path}"));
        self.send(request.body(whole(""))?).await
    }

    /// Begins an exchange whose content comes bit by bit: a `POST` to `path`, of this type if any.
    ///
    /// # Errors
    /// If the connection or the stream ends, or no answer with status 200 begins within 60 s.
    pub async fn open(
        &self,
        authority: &str,
        path: &str,
        content_type: Option<&str>,
    ) -> anyhow::Result<Exchange> {
        let (to, content) = bit_by_bit();
        let mut request = Request::post(format!("http://{authority}{path}"));
        if let Some(kind) = content_type {
            request = request
                .header("content-type", kind)
                .header("te", "trailers");
        }
        let answer = self.begin(request.body(content)?).await?;
        Exchange::begun(to, answer)
    }

    /// Whether the other side has closed it, or said that it will.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Exchange {
    /// What goes on behind a request whose content is that of [`bit_by_bit`], once its answer has begun.
    ///
    /// # Errors
    /// If the answer has not status 200.
    pub fn begun(to: mpsc::Sender<Bytes>, answer: Response<Incoming>) -> anyhow::Result<Self> {
        let (head, from) = answer.into_parts();
        ensure!(head.status == 200, "{head:?}");
        Ok(Self {
            to: Some(to),
            answer: Response::from_parts(head, ()),
            from,
            heard: BytesMut::new(),
            trailers: HeaderMap::new(),
        })
    }

    /// The head of the answer.
    pub fn answer(&self) -> &Response<()> {
        &self.answer
    }

    /// Sends a piece of content.
    ///
    /// # Errors
    /// If the stream is over, or takes nothing for 60 s.
    pub async fn say(&mut self, piece: impl Into<Bytes>) -> anyhow::Result<()> {
        let to = self.to.as_ref().context("our side has ended")?;
        let sent = timeout(TIMEOUT, to.send(piece.into())).await;
        sent.with_context(|| format!("nothing was taken for {TIMEOUT:?}"))?
            .context("the stream is over")
    }

    /// Reads so many bytes of the answer.
    ///
    /// # Errors
    /// If the stream ends before, or is silent for 60 s.
    pub async fn hear(&mut self, bytes: usize) -> anyhow::Result<Bytes> {
        while self.heard.len() < bytes {
            ensure!(self.more().await?, "the answer ended");
        }
        Ok(self.heard.split_to(bytes).freeze())
    }

    /// Says a text and hears the same.
    ///
    /// # Errors
    /// If another comes back, or none does.
    pub async fn echo(&mut self, text: &str) -> anyhow::Result<()> {
        self.say(text.to_owned()).await?;
        let echo = self.hear(text.len()).await?;
        ensure!(echo == text.as_bytes(), "{text:?} came back as {echo:?}");
        Ok(())
    }

    /// Ends our side and reads the rest of the answer, which is to be nothing; gives its trailers.
    ///
    /// # Errors
    /// If something else comes, or nothing does for 60 s.
    pub async fn end(mut self) -> anyhow::Result<HeaderMap> {
        self.to = None;
        while self.more().await? {}
        ensure!(self.heard.is_empty(), "more came: {:?}", self.heard);
        Ok(self.trailers)
    }

    /// Whether something more came.
    async fn more(&mut self) -> anyhow::Result<bool> {
        let frame = timeout(TIMEOUT, self.from.frame()).await;
        let Some(frame) = frame.with_context(|| format!("silent for {TIMEOUT:?}"))? else {
            return Ok(false);
        };
        match frame?.into_data() {
            Ok(data) => self.heard.extend_from_slice(&data),
            Err(frame) => self
                .trailers
                .extend(frame.into_trailers().unwrap_or_default()),
        }
        Ok(true)
    }
}

/// Content that is what is sent, until the sender is dropped.
pub fn bit_by_bit() -> (mpsc::Sender<Bytes>, Content) {
    let (to, pieces) = mpsc::channel(PIECES);
    let pieces = ReceiverStream::new(pieces).map(|piece| Ok(Frame::data(piece)));
    (to, StreamBody::new(pieces).boxed_unsync())
}

/// What a connection is opened with: the defaults of hyper.
pub fn options() -> Builder<TokioExecutor> {
    Builder::new(TokioExecutor::new())
}

/// A message as gRPC frames it, not compressed.
pub fn grpc_message(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.freeze()
}
