//! Addresses become listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use weft_config::listener::Listener;

/// An address that cannot be listened on. The listener's resource is refused with it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("address {address} of listener {listener} is taken by another process")]
    Taken {
        /// Who wanted it.
        listener: Arc<str>,
        /// What was wanted.
        address: SocketAddr,
    },
    /// Another of our listeners has it.
    #[error("address {address} of listener {listener} is taken by listener {by}")]
    TakenByListener {
        /// Who wanted it.
        listener: Arc<str>,
        /// What was wanted.
        address: SocketAddr,
        /// Who has it.
        by: Arc<str>,
    },
    /// Ports below `net.ipv4.ip_unprivileged_port_start` need `CAP_NET_BIND_SERVICE`.
    #[error("listener {listener} may not bind {address}: permission denied")]
    Denied {
        /// Who wanted it.
        listener: Arc<str>,
        /// What was wanted.
        address: SocketAddr,
    },
    /// Taking connections to addresses of others needs a privilege.
    #[error(
        "listener {listener} may not be transparent at {address}: that needs CAP_NET_ADMIN or CAP_NET_RAW"
    )]
    NotTransparent {
        /// Who wanted it.
        listener: Arc<str>,
        /// What was wanted.
        address: SocketAddr,
    },
    /// The kernel refused for another reason, as for an address that this host does not have.
    #[error("listener {listener} cannot bind {address}")]
    Other {
        /// Who wanted it.
        listener: Arc<str>,
        /// What was wanted.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl BindError {
    pub(super) fn new(listener: &Listener, address: SocketAddr, source: io::Error) -> Self {
        let transparent = listener.transparent;
        let listener = listener.name.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { listener, address },
            io::ErrorKind::PermissionDenied if transparent => {
                Self::NotTransparent { listener, address }
            }
            io::ErrorKind::PermissionDenied => Self::Denied { listener, address },
            _ => Self::Other {
                listener,
                address,
                source,
            },
        }
    }

    /// The name of the listener that cannot be bound.
    pub fn listener(&self) -> &Arc<str> {
        match self {
            Self::Taken { listener, .. }
            | Self::TakenByListener { listener, .. }
            | Self::Denied { listener, .. }
            | Self::NotTransparent { listener, .. }
            | Self::Other { listener, .. } => listener,
        }
    }
}

/// Whether another process of the same user may listen on the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Sharing {
    /// It may not: a port that is taken is an error. `SO_REUSEPORT` alone would share it in silence.
    #[default]
    Exclusive,
    /// It may: an old and a new proxy share the ports while one takes over from the other.
    Shared,
}

/// Connections that wait to be accepted, per socket; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Whether sockets take connections to addresses that are not this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// They do not.
    Own,
    /// They do: what TPROXY brings.
    Any,
}

/// Binds `address` `count` times, not listening yet; with port 0 all get the port that the first was given.
pub(super) fn bind(
    address: SocketAddr,
    count: usize,
    sharing: Sharing,
    takes: Takes,
) -> io::Result<Vec<Socket>> {
    let first = open(address, takes)?;
    // Bound without the option, the first one meets whoever has the port; with it set afterwards, ours can join.
    match sharing {
        Sharing::Exclusive => {
            first.bind(&address.into())?;
            first.set_reuse_port(true)?;
        }
        Sharing::Shared => {
            first.set_reuse_port(true)?;
            first.bind(&address.into())?;
        }
    }
    let actual = local(&first)?;
    let mut sockets = vec![first];
    for _ in 1..count {
        let socket = open(address, takes)?;
        socket.set_reuse_port(true)?;
        socket.bind(&actual.into())?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Begins to listen.
pub(super) fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(super) fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("bound socket has no IP address"))
}

fn open(address: SocketAddr, takes: Takes) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: a system call less per connection.
    socket.set_tcp_nodelay(true)?;
    if takes == Takes::Any {
        // One bit of the socket, whichever family it is set by.
        match address {
            SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
            SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
        }
    }
    if let SocketAddr::V6(v6) = address {
        // `[::]` takes IPv4 too, as mapped addresses.
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    Ok(socket)
}
