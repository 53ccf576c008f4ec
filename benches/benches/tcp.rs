//! How much a CPU second carries through a tunnel, beside a plain relay by copy; what a ping costs; what an idle
//! connection holds.
//!
//! `cargo bench -p weft-benches --bench tcp`. CPU time is the relaying thread's alone: the peers run on their own.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

use std::future::pending;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{LocalSet, spawn_local};
use weft_proxy::drain::{Drain, DrainTimes};
use weft_proxy::tunnel::{Pools, Preread, TunnelLimits, TunnelOptions, run};

const BULK_BYTES: u64 = 1 << 30;
const PINGS: u32 = 30_000;
const IDLE: usize = 1000;

/// What stands between client and server.
#[derive(Clone, Copy)]
enum Relay {
    Tunnel(TunnelLimits),
    /// tokio's own, with buffers of 64 KiB.
    Plain,
}

fn main() {
    let spliced = TunnelLimits::default();
    let relays = [
        ("tunnel", Relay::Tunnel(spliced)),
        (
            "tunnel, pipes of 64 KiB",
            Relay::Tunnel(TunnelLimits {
                pipe_bytes: 64 << 10,
                ..spliced
            }),
        ),
        (
            "tunnel, pipes of 1 MiB",
            Relay::Tunnel(TunnelLimits {
                pipe_bytes: 1 << 20,
                ..spliced
            }),
        ),
        (
            "tunnel, copy only",
            Relay::Tunnel(TunnelLimits {
                pipes_max: 0,
                ..spliced
            }),
        ),
        ("plain relay", Relay::Plain),
    ];
    for (name, relay) in relays {
        let cpu = measure(relay, send_bulk, take_bulk);
        println!(
            "bulk   {name:<26} {:6.2} GB per CPU second",
            BULK_BYTES as f64 / 1e9 / cpu.as_secs_f64()
        );
    }
    let always = TunnelLimits {
        scratch_bytes: 1,
        ..spliced
    };
    for (name, relay) in [
        relays[0],
        ("tunnel, splice always", Relay::Tunnel(always)),
        relays[4],
    ] {
        for size in [64, 4096, 16_384, 65_536] {
            let cpu = measure(relay, |s| ping(s, size), |s| pong(s, size));
            println!(
                "ping   {name:<26} {size:>6} B {:6.2} µs per round trip",
                cpu.as_secs_f64() * 1e6 / f64::from(PINGS)
            );
        }
    }
    println!("idle   {:.2} KiB per connection (user space)", idle());
}

/// CPU time that relaying takes while `client` and `server` talk through it.
fn measure(
    relay: Relay,
    client: impl FnOnce(TcpStream) + Send,
    server: impl FnOnce(TcpStream) + Send,
) -> Duration {
    let (near, down) = pair();
    let (far, up) = pair();
    std::thread::scope(|scope| {
        scope.spawn(move || client(near));
        scope.spawn(move || server(far));
        scope.spawn(move || carry(relay, down, up)).join().unwrap()
    })
}

fn carry(relay: Relay, down: TcpStream, up: TcpStream) -> Duration {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut down = tokio(down);
        let mut up = tokio(up);
        let before = thread_cpu();
        match relay {
            Relay::Tunnel(limits) => {
                let drain = Drain::new(DrainTimes::default());
                run(&Pools::new(limits), down, up, options(&drain), pending()).await;
            }
            Relay::Plain => {
                tokio::io::copy_bidirectional_with_sizes(&mut down, &mut up, 64 << 10, 64 << 10)
                    .await
                    .unwrap();
            }
        }
        thread_cpu() - before
    })
}

fn options(drain: &Drain) -> TunnelOptions {
    TunnelOptions {
        preread: Preread::default(),
        idle_timeout: Duration::from_secs(3600),
        drain: drain.watch(),
    }
}

/// KiB that a tunnel at rest holds in user space, its two sockets' registrations included.
fn idle() -> f64 {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let drain = Drain::new(DrainTimes::default());
    let sockets: Vec<_> = (0..IDLE).map(|_| (pair(), pair())).collect();
    LocalSet::new().block_on(&runtime, async {
        let pools = Pools::new(TunnelLimits::default());
        let before = resident_bytes();
        let mut peers = Vec::with_capacity(2 * IDLE);
        for ((near, down), (far, up)) in sockets {
            let (pools, options) = (pools.clone(), options(&drain));
            spawn_local(
                async move { run(&pools, tokio(down), tokio(up), options, pending()).await },
            );
            peers.extend([near, far]);
        }
        // Everyone has been used once, and rests.
        for pair in peers.chunks_exact_mut(2) {
            let [near, far] = pair else {
                unreachable!("chunks of two")
            };
            near.write_all(b"x").unwrap();
            far.set_nonblocking(true).unwrap();
            let mut far = tokio::net::TcpStream::from_std(far.try_clone().unwrap()).unwrap();
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut [0])
                .await
                .unwrap();
        }
        (resident_bytes() - before) as f64 / 1024.0 / IDLE as f64
    })
}

fn send_bulk(mut socket: TcpStream) {
    let chunk = vec![7; 1 << 20];
    for _ in 0..BULK_BYTES >> 20 {
        socket.write_all(&chunk).unwrap();
    }
}

fn take_bulk(mut socket: TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    while socket.read(&mut buffer).unwrap() > 0 {}
}

fn ping(mut socket: TcpStream, size: usize) {
    let mut buffer = vec![7; size];
    for _ in 0..PINGS {
        socket.write_all(&buffer).unwrap();
        socket.read_exact(&mut buffer).unwrap();
    }
}

fn pong(mut socket: TcpStream, size: usize) {
    let mut buffer = vec![0; size];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.write_all(&buffer).unwrap();
    }
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

fn tokio(socket: TcpStream) -> tokio::net::TcpStream {
    socket.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(socket).unwrap()
}

fn thread_cpu() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(
        schedstat
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap(),
    )
}

fn resident_bytes() -> i64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<i64>()
        .unwrap()
        * 4096
}
