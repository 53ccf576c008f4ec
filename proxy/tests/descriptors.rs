//! `weft-proxy` where the soft limit of descriptors is low.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends the process with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

const BOOTSTRAP: &str = "
node: {id: n, cluster: c}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config:
            name: web
            virtual_hosts:
            - {name: all, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
          http_filters:
          - name: router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
";

#[test]
fn the_soft_limit_of_descriptors_keeps_no_connection_out() {
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = folder.path().join("bootstrap.yaml");
    std::fs::write(&bootstrap, BOOTSTRAP).unwrap();
    let script = "ulimit -Sn 300 && ulimit -Hn 1024 && exec \"$0\" --bootstrap \"$1\" --concurrency 1 --log-format json \
                  --admin-listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_weft-proxy")]);
    let mut proxy = Killed(
        command
            .arg(&bootstrap)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let log = BufReader::new(proxy.0.stderr.take().unwrap()).lines();
    let mut log = log.map_while(Result::ok);
    let address = log.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        let is_web = line["listener"] == "web";
        is_web.then(|| line["address"].as_str().unwrap().parse().unwrap())
    });
    let address: SocketAddr = address.expect("it says where it listens");

    // Of the soft limit there would be 22.
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..200 {
        held.push(TcpStream::connect(address).unwrap());
    }
    let mut one_more = TcpStream::connect(address).unwrap();
    one_more
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    one_more
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .unwrap();
    let mut answer = [0; 12];
    one_more.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
