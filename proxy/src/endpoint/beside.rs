//! The way to an application beside the proxy, which is told as an address of loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use super::Beside;

/// Ports that a kept client is given. Linux chooses those of its own connections from 32768 on, so that none of these is taken for
/// the connection that the client itself has to the same address.
const PORT_FIRST: u16 = 20_000;
const PORT_LAST: u16 = 32_767;

/// How many of them are tried.
const PORTS_TRIED: usize = 16;

/// Connects to `address`, in the name of its client where that is kept.
pub(super) async fn connect(beside: Beside, address: SocketAddr) -> io::Result<TcpStream> {
    match beside.client {
        Some(client) => connect_as(client, application(beside, address)).await,
        None if address.ip() == Ipv4Addr::LOCALHOST && beside.reached.is_ipv6() => {
            // Who is called over IPv6 listens there, and need not on IPv4.
            let over_ipv6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port());
            match TcpStream::connect(over_ipv6).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    TcpStream::connect(address).await
                }
                other => other,
            }
        }
        None => TcpStream::connect(address).await,
    }
}

/// The address at which an application can answer a client: from loopback no packet may leave for elsewhere, so it is the one that
/// the client called.
fn application(beside: Beside, address: SocketAddr) -> SocketAddr {
    if address.ip().is_loopback() {
        SocketAddr::new(beside.reached, address.port())
    } else {
        address
    }
}

/// Connects with the address of `client`, which is not this machine's.
async fn connect_as(client: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    if client.is_ipv4() != address.is_ipv4() {
        let text = format!("the client's address {client} cannot be kept towards {address}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS_TRIED {
        let from = SocketAddr::new(client, fastrand::u16(PORT_FIRST..=PORT_LAST));
        match bound(from)?.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if is_taken(&error) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Whether another connection has the same addresses and ports.
fn is_taken(error: &io::Error) -> bool {
    let taken = [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable];
    taken.contains(&error.kind())
}

fn bound(from: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Several connections may have one port, to different applications.
    socket.set_reuse_address(true)?;
    match from {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    socket.bind(&from.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
