//! A TLS session without I/O: bytes in, plain bytes and bytes to be sent out.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{ClientConfig, CommonState, HandshakeKind, ServerConfig};
use rustls_pki_types::ServerName;

use super::peer::{PeerCertificate, TlsFacts, version};

/// Either side of a session.
pub(super) enum Session {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// What became of the bytes that came.
#[derive(Debug)]
pub(super) struct Opened {
    /// So many of them were used; the others are the beginning of a record.
    pub(super) used: usize,
    /// Whether the peer said that it sends no more.
    pub(super) ended: bool,
}

/// What one step brought.
enum Step {
    /// There is more to do.
    Again,
    /// Nothing more can be done with what there is.
    Done,
    /// The peer sends no more.
    Ended,
}

/// More than a record adds to what it carries: header, content type, tag and the nonce of TLS 1.2.
const RECORD_OVERHEAD: usize = 64;

/// Most that a record carries (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Messages of its own that a session sends before what it is asked to.
const BEFORE_WRITING_MAX: usize = 16;

/// What is to be sent.
#[derive(Clone, Copy)]
enum Write<'d> {
    Data(&'d [u8]),
    End,
}

impl Session {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let connection = UnbufferedServerConnection::new(config)?;
        Ok(Self::Server(Box::new(connection)))
    }

    pub(super) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        let connection = UnbufferedClientConnection::new(config, name)?;
        Ok(Self::Client(Box::new(connection)))
    }

    fn common(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
    }

    /// Whether application data cannot be sent yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Opens whatever is whole in `input`: plain bytes go to `plain`, what is to be sent in answer goes behind `out`.
    ///
    /// # Errors
    /// The peer broke the protocol or is refused. The alert that says so is behind `out`.
    pub(super) fn open(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> Result<Opened, rustls::Error> {
        let mut opened = Opened {
            used: 0,
            ended: false,
        };
        loop {
            let rest = input.get_mut(opened.used..).unwrap_or_default();
            let (used, step) = self.step(rest, out, plain);
            opened.used += used;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Ended) => opened.ended = true,
                Ok(Step::Done) => return Ok(opened),
                Err(error) => {
                    let rest = input.get_mut(opened.used..).unwrap_or_default();
                    // The alert waits behind the error, and maybe others before it.
                    while self.common().wants_write() {
                        let _ = self.step(rest, out, plain);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn step(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        plain: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Self::Server(connection) => take(connection.process_tls_records(input), out, plain),
            Self::Client(connection) => take(connection.process_tls_records(input), out, plain),
        }
    }

    /// Seals `plain` behind `out`, in as few records as it takes. `unread` is what [`Self::open`] left: rustls may have looked
    /// into it already, and remembers where.
    ///
    /// # Errors
    /// The handshake is not over, or so much was sent that the keys are used up.
    pub(super) fn seal(
        &mut self,
        plain: &[u8],
        unread: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        self.write(Write::Data(plain), unread, out)
    }

    /// Says behind `out` that nothing more is sent; `unread` as for [`Self::seal`].
    pub(super) fn end(
        &mut self,
        unread: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        self.write(Write::End, unread, out)
    }

    fn write(
        &mut self,
        what: Write<'_>,
        unread: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<(), rustls::Error> {
        // A key update or tickets may stand before it; there are never many.
        for _ in 0..BEFORE_WRITING_MAX {
            let step = match self {
                Self::Server(connection) => put(connection.process_tls_records(unread), what, out),
                Self::Client(connection) => put(connection.process_tls_records(unread), what, out),
            };
            match step? {
                Step::Again => {}
                Step::Done | Step::Ended => return Ok(()),
            }
        }
        Err(rustls::Error::HandshakeNotComplete)
    }

    /// What the handshake has shown.
    pub(super) fn facts(&self, server_name: Option<Arc<str>>) -> TlsFacts {
        let common = self.common();
        let text = |bytes: &[u8]| Arc::from(String::from_utf8_lossy(bytes));
        let shown = common.peer_certificates().and_then(<[_]>::first);
        let suite = common.negotiated_cipher_suite();
        TlsFacts {
            version: version(common.protocol_version()),
            cipher_suite: suite.map_or("-".into(), |it| format!("{:?}", it.suite()).into()),
            alpn: common.alpn_protocol().map(text),
            server_name,
            own_uri: None,
            peer: shown.and_then(PeerCertificate::read).map(Arc::new),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// Does what a session asks for after it has looked at what came.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Step, rustls::Error>) {
    let mut used = status.discard;
    let step = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    used += record.discard;
                    plain(record.payload);
                }
                Some(Err(error)) => break Err(error),
                None => break Ok(Step::Again),
            }
        },
        Ok(ConnectionState::EncodeTlsData(message)) => encode(message, out).map(|()| Step::Again),
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            // It lies behind `out`, which its owner sends before anything else.
            sent.done();
            Ok(Step::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Ended),
        // No early data is ever offered or accepted; a state that is not known is none to go on from.
        Ok(_) => Ok(Step::Done),
    };
    (used, step)
}

/// Does what a session asks for before it can send, then sends.
fn put<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    what: Write<'_>,
    out: &mut Vec<u8>,
) -> Result<Step, rustls::Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            let start = out.len();
            let most = match what {
                Write::Data(plain) => {
                    plain.len() + plain.len().div_ceil(RECORD_BYTES_MAX) * RECORD_OVERHEAD
                }
                Write::End => RECORD_OVERHEAD,
            };
            out.resize(start + most, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            let written = match what {
                Write::Data(plain) => traffic.encrypt(plain, room),
                Write::End => traffic.queue_close_notify(room),
            };
            out.truncate(start + *written.as_ref().unwrap_or(&0));
            match written {
                Ok(_) => Ok(Step::Done),
                Err(EncryptError::EncryptExhausted) => Err(rustls::Error::EncryptError),
                Err(EncryptError::InsufficientSize(_)) => Err(rustls::Error::EncryptError),
            }
        }
        ConnectionState::EncodeTlsData(message) => encode(message, out).map(|()| Step::Again),
        ConnectionState::TransmitTlsData(sent) => {
            sent.done();
            Ok(Step::Again)
        }
        ConnectionState::PeerClosed => Ok(Step::Again),
        _ => Err(rustls::Error::HandshakeNotComplete),
    }
}

fn encode<Data>(
    mut message: EncodeTlsData<'_, Data>,
    out: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let needed = match message.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(EncodeError::AlreadyEncoded) => return Err(rustls::Error::EncryptError),
    };
    let start = out.len();
    out.resize(start + needed, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    match message.encode(room) {
        Ok(_) => Ok(()),
        Err(_) => Err(rustls::Error::EncryptError),
    }
}
