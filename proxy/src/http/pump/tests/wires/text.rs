//! HTTP/1 as the ends of tests write it: every field on its line, content chunked or of a length that is said.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

/// The head of a message.
pub(super) struct Message {
    start: String,
    fields: HeaderMap,
    pub(super) framing: Framing,
}

/// What is left of a message's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    Length(usize),
}

/// A part of a message's content.
pub(super) enum Piece {
    Data(Bytes),
    End(HeaderMap),
}

/// Reads messages.
pub(super) struct Reader(BufReader<OwnedReadHalf>);

impl Message {
    /// A word of its first line.
    pub(super) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    pub(super) fn field(&self, name: &str) -> &str {
        let value = self.fields.get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default()
    }

    /// Its fields, without those that HTTP/2 does not have.
    pub(super) fn fields(&self) -> HeaderMap {
        let mut fields = self.fields.clone();
        for name in ["host", "connection", "transfer-encoding"] {
            fields.remove(name);
        }
        fields
    }
}

impl Reader {
    pub(super) fn new(read: OwnedReadHalf) -> Self {
        Self(BufReader::new(read))
    }

    /// The next head; `None` where none comes whole.
    pub(super) async fn message(&mut self) -> Option<Message> {
        let start = self.line().await?;
        let fields = self.fields().await?;
        let length = fields.get("content-length").map(HeaderValue::to_str);
        let framing = match (fields.contains_key("transfer-encoding"), length) {
            (true, _) => Framing::Chunked,
            (false, None) => Framing::Length(0),
            (false, Some(length)) => Framing::Length(length.ok()?.parse().ok()?),
        };
        Some(Message {
            start,
            fields,
            framing,
        })
    }

    /// The next part, which is taken off `left`; `None` where the content breaks off.
    pub(super) async fn piece(&mut self, left: &mut Framing) -> Option<Piece> {
        let size = match *left {
            Framing::Length(length) => length,
            Framing::Chunked => usize::from_str_radix(&self.line().await?, 16).ok()?,
        };
        if size == 0 {
            return Some(Piece::End(self.fields().await?));
        }
        let mut data = vec![0; size];
        self.0.read_exact(&mut data).await.ok()?;
        match left {
            Framing::Length(length) => *length = 0,
            Framing::Chunked => assert_eq!(self.line().await?, ""),
        }
        Some(Piece::Data(data.into()))
    }

    /// Comes to its end once the other side has closed.
    pub(super) async fn gone(&mut self) {
        let rest = self.0.fill_buf().await;
        if rest.is_ok_and(|rest| !rest.is_empty()) {
            std::future::pending().await
        }
    }

    async fn fields(&mut self) -> Option<HeaderMap> {
        let mut fields = HeaderMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(": ")?;
            let name = HeaderName::try_from(name).ok()?;
            fields.append(name, HeaderValue::try_from(value).ok()?);
        }
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.ok()?;
        Some(line.strip_suffix("\r\n")?.to_owned())
    }
}

pub(super) fn write_fields(message: &mut String, fields: &HeaderMap) {
    for (name, value) in fields {
        *message += &format!("{name}: {}\r\n", value.to_str().expect("text"));
    }
}

pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

pub(super) fn end(trailers: &HeaderMap) -> String {
    let mut end = "0\r\n".to_owned();
    write_fields(&mut end, trailers);
    end + "\r\n"
}
