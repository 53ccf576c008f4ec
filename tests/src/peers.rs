//! The real peers, as `tests/peers/setup.sh` installs them.
//!
//! A test asks for its peer with [`find`]. Where it is not installed the test says so and passes, unless
//! `WEFT_REQUIRE_PEERS` is set, as it is in CI: then it fails.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// A peer that tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The real Envoy.
    Envoy,
    /// Python with gRPC C-core and its xDS client.
    GrpcPython,
    /// The scanner of TLS servers, on its own OpenSSL.
    Sslyze,
    /// The ADS server made with go-control-plane.
    GoControlPlane,
    /// The server of secrets that SPIRE's agent has.
    SpireSds,
    /// Node, for its own HTTP/2.
    Node,
    /// What Node's gRPC is loaded from.
    GrpcNode,
    /// curl, with HTTP/2.
    Curl,
    /// nghttp2's client.
    Nghttp,
    /// nghttp2's server.
    Nghttpd,
    /// nghttp2's load.
    H2load,
    /// The rules of HTTP/2, case by case.
    H2spec,
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
    /// nftables.
    Nft,
    /// iptables on nftables.
    IptablesNft,
    /// iptables of old.
    IptablesLegacy,
    /// Redis, its server.
    RedisServer,
    /// Redis, its client.
    RedisCli,
    /// PostgreSQL's client.
    Psql,
    /// PostgreSQL, its server.
    Postgres,
}

/// Where a peer is installed.
enum Place {
    /// In the folder of peers.
    Folder(&'static str),
    /// Among the system's programs.
    System(&'static str),
}

impl Peer {
    fn place(self) -> Place {
        match self {
            Self::Envoy => Place::Folder("envoy"),
            Self::GrpcPython => Place::Folder("venv/bin/python"),
            Self::Sslyze => Place::Folder("venv/bin/sslyze"),
            Self::GoControlPlane => Place::Folder("go-control-plane"),
            Self::SpireSds => Place::Folder("spire-sds"),
            Self::Node => Place::System("node"),
            Self::GrpcNode => Place::Folder("node/node_modules/@grpc/grpc-js"),
            Self::Curl => Place::System("curl"),
            Self::Nghttp => Place::System("nghttp"),
            Self::Nghttpd => Place::System("nghttpd"),
            Self::H2load => Place::System("h2load"),
            Self::H2spec => Place::Folder("h2spec"),
            Self::Haproxy => Place::System("haproxy"),
            Self::Nginx => Place::System("nginx"),
            Self::Nft => Place::System("nft"),
            Self::IptablesNft => Place::System("iptables-nft"),
            Self::IptablesLegacy => Place::System("iptables-legacy"),
            Self::RedisServer => Place::System("redis-server"),
            Self::RedisCli => Place::System("redis-cli"),
            Self::Psql => Place::System("psql"),
            // Not on the path: its package has a folder for each version.
            Self::Postgres => Place::System("pg_ctlcluster"),
        }
    }
}

/// The program of `peer`; `None`, after saying so, where it is not installed.
///
/// # Panics
/// If it is not installed and `WEFT_REQUIRE_PEERS` is set.
pub fn find(peer: Peer) -> Option<PathBuf> {
    let (program, sought) = match peer.place() {
        Place::Folder(file) => {
            let program = folder().join(file);
            let sought = program.display().to_string();
            (program.exists().then_some(program), sought)
        }
        Place::System(name) => (installed(name), format!("{name}, among the programs")),
    };
    if program.is_some() {
        return program;
    }
    missing(&format!(
        "{peer:?} is not there ({sought}): run tests/peers/setup.sh"
    ));
    None
}

/// Says that a test is skipped, and why.
fn missing(what: &str) {
    assert!(std::env::var_os("WEFT_REQUIRE_PEERS").is_none(), "{what}");
    eprintln!("skipped: {what}");
}

/// The Python script `name` in a network namespace of its own; `None`, after saying so, where we may not have one.
///
/// # Panics
/// If we may not and `WEFT_REQUIRE_PEERS` is set.
pub async fn python_in_namespace(name: &str) -> Option<Command> {
    let python = python(name)?;
    if !namespaces().await {
        return None;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--"])
        .arg(python.as_std().get_program())
        .args(python.as_std().get_args());
    Some(command)
}

/// Whether network namespaces can be made here; where they cannot, says so.
///
/// # Panics
/// If they cannot and `WEFT_REQUIRE_PEERS` is set.
pub async fn namespaces() -> bool {
    let own = ["--net", "--", "ip", "link", "set", "lo", "up"];
    let tried = Command::new("unshare").args(own).output().await;
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        missing("network namespaces: they need root, `unshare` and `ip`");
    }
    can
}

/// A program on the path, or among the daemons, which are not on everybody's.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A command that runs one of the Python scripts of `tests/peers`.
pub fn python(script: &str) -> Option<Command> {
    let mut command = Command::new(find(Peer::GrpcPython)?);
    command.arg(scripts().join(script));
    Some(command)
}

/// A command that runs one of the Node scripts of `tests/peers`, which may use gRPC.
pub fn node(script: &str) -> Option<Command> {
    let mut command = Command::new(find(Peer::Node)?);
    find(Peer::GrpcNode)?;
    command
        .env("NODE_PATH", folder().join("node/node_modules"))
        .arg(scripts().join(script));
    Some(command)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("WEFT_PEERS") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    cache
        .unwrap_or_else(|| home.join(".cache"))
        .join("weft")
        .join("peers")
}
