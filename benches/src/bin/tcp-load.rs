//! Both ends of a plain TCP transfer, for `benches/peers/compare.py`.
//!
//! `tcp-load source` prints its port and sends to whoever connects, until it is killed. `tcp-load sink PORT SECONDS`
//! reads over eight connections for that long and prints how many bytes came.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};

/// Connections that a sink reads from.
const CONNECTIONS: usize = 8;

/// Bytes moved by one system call.
const CHUNK_BYTES: usize = 256 * 1024;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["source"] => source(),
        ["sink", port, seconds] => sink(port.parse()?, Duration::from_secs(seconds.parse()?)),
        _ => bail!("usage: tcp-load source | tcp-load sink PORT SECONDS"),
    }
}

fn source() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let chunk = vec![b'x'; CHUNK_BYTES];
            while stream.write_all(&chunk).is_ok() {}
        });
    }
    Ok(())
}

fn sink(port: u16, time: Duration) -> anyhow::Result<()> {
    let moved = Arc::new(AtomicU64::new(0));
    let readers = (0..CONNECTIONS).map(|_| {
        let mut stream =
            TcpStream::connect(("127.0.0.1", port)).context("connecting to the proxy")?;
        let moved = moved.clone();
        // Closed from this end when the time is over, so that the reader ends.
        let closer = stream.try_clone()?;
        let reader = std::thread::spawn(move || {
            let mut chunk = vec![0; CHUNK_BYTES];
            while let Ok(count @ 1..) = stream.read(&mut chunk) {
                moved.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        Ok((closer, reader))
    });
    let readers = readers.collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::park_timeout(time);
    println!("{}", moved.load(Ordering::Relaxed));
    for (closer, _) in &readers {
        closer.shutdown(std::net::Shutdown::Both)?;
    }
    for (_, reader) in readers {
        let _ = reader.join();
    }
    Ok(())
}
