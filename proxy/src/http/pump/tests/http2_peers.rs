//! Peers on HTTP/2 that do not do their part: they acknowledge nothing, take small heads only, stop in half a frame.

use http::Response;
use weft_config::flag::ResponseFlag as Flag;

use super::http2::{endpoint, over_http2};
use super::*;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;

/// RFC 9113 §7.
const SETTINGS_TIMEOUT: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// An answer without content.
pub(super) fn answer(stream: u8) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &[0x88])
}

impl Peer {
    pub(super) async fn read_preface(&mut self) {
        let mut preface = [0; PREFACE.len()];
        self.0.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
    }

    /// The next frame of a kind: its stream and payload; `None`: the connection has ended.
    pub(super) async fn frame_of(&mut self, wanted: u8) -> Option<(u8, Vec<u8>)> {
        loop {
            let (kind, stream, payload) = self.frame().await?;
            if kind == wanted {
                return Some((stream, payload));
            }
        }
    }

    /// The next frame: its kind, stream and payload.
    pub(super) async fn frame(&mut self) -> Option<(u8, u8, Vec<u8>)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.ok()?;
        let [a, b, c, kind, _, _, _, _, stream] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, stream, payload))
    }
}

fn settings_within(timeout: Duration) -> Bounds {
    Bounds {
        settings_timeout: timeout,
        ..Bounds::default()
    }
}

#[test]
fn an_endpoint_that_never_acknowledges_settings_is_left_and_told_why() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.read_preface().await;
            peer.send(frame(SETTINGS, 0, 0, &[])).await;
            let (_, why) = peer.frame_of(GOAWAY).await.unwrap();
            assert_eq!(why[7], SETTINGS_TIMEOUT);
        })
        .await;
        let mut setup = over_http2(to);
        setup.bounds = settings_within(Duration::from_millis(100));
        let rig = setup.start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(flag(&answer), Flag::UPE.letters());
        assert_eq!(rig.metrics.limits.get(Limit::Http2Settings), 1);
        rig.settles().await;
    });
}

#[test]
fn a_client_that_never_acknowledges_settings_is_closed_and_others_stay() {
    local(async {
        let mut setup = Setup::to([says("hello").await]);
        setup.bounds = settings_within(Duration::from_millis(100));
        let rig = setup.start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let mut good = rig.connect().await;
        good.send([&hello[..], &frame(SETTINGS, 1, 0, &[])].concat())
            .await;
        let mut silent = rig.connect().await;
        silent.send(&hello).await;
        let (_, why) = silent.frame_of(GOAWAY).await.unwrap();
        assert_eq!(why[7], SETTINGS_TIMEOUT);
        good.send(frame(PING, 0, 0, b"are you?")).await;
        assert_eq!(good.frame_of(PING).await.unwrap().1, b"are you?");
        assert_eq!(rig.metrics.limits.get(Limit::Http2Settings), 1);
    });
}

#[test]
fn a_request_with_a_larger_head_than_the_endpoint_takes_is_answered_by_the_proxy() {
    local(async {
        let to = endpoint(
            |builder| {
                builder.max_header_list_size(2000);
            },
            |_, mut respond| async move {
                drop(respond.send_response(Response::new(()), true));
            },
        )
        .await;
        let rig = over_http2(to).start().await;
        // What the endpoint takes is known with its first answer.
        assert!(rig.ask(GET).await.starts_with("HTTP/1.1 200 "));
        let large = "v".repeat(2000);
        let large = GET.replace("\r\n\r\n", &format!("\r\nx-large: {large}\r\n\r\n"));
        let answer = rig.ask(&large).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert_eq!(flag(&answer), Flag::DPE.letters());
        assert!(answer.contains("the peer takes 2000"), "{answer}");
        assert!(rig.ask(GET).await.starts_with("HTTP/1.1 200 "));
        rig.settles().await;
    });
}

#[test]
fn an_answer_with_a_larger_head_than_the_client_takes_becomes_a_502() {
    local(async {
        let to = origin(|_, mut peer| async move {
            loop {
                let large = match peer.head().await.contains("/large") {
                    true => "v".repeat(1000),
                    false => "v".to_owned(),
                };
                let answer = OK.replace("\r\n\r\n", &format!("\r\nx-large: {large}\r\n\r\n"));
                peer.send(answer).await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        rig.protocol.set(Some(Protocol::Http2));
        let stream = TcpStream::connect(rig.address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        builder.max_header_list_size(1000);
        let (mut client, connection) = builder.handshake::<_, bytes::Bytes>(stream).await.unwrap();
        spawn_local(async move { drop(connection.await) });
        for (path, status, flag) in [("large", 502, Some("UPE")), ("small", 200, None)] {
            let request = http::Request::get(format!("http://a.example/{path}"));
            let (answer, _) = client
                .send_request(request.body(()).unwrap(), true)
                .unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), status);
            let said = answer.headers().get("x-weft-response-flag");
            assert_eq!(said.map(|it| it.to_str().unwrap()), flag);
        }
        rig.settles().await;
    });
}

#[test]
fn an_endpoint_stuck_in_half_a_frame_gets_no_further_requests_on_that_connection() {
    local(async {
        let to = origin(|count, mut peer| async move {
            peer.read_preface().await;
            peer.send(frame(SETTINGS, 0, 0, &[])).await;
            if count == 0 {
                let half = &frame(HEADERS, 0x5, 1, &[0x88; 100])[..50];
                peer.send(half).await;
                peer.rest().await;
            }
            while let Some((stream, _)) = peer.frame_of(HEADERS).await {
                peer.send(answer(stream)).await;
            }
        })
        .await;
        let mut setup = over_http2(to);
        setup.forward.timeout = Some(Duration::from_millis(400));
        let rig = setup.start().await;
        let mut tries = 0;
        loop {
            let answer = rig.ask(GET).await;
            if answer.starts_with("HTTP/1.1 200 ") {
                break;
            }
            assert_eq!(flag(&answer), Flag::UT.letters(), "{answer}");
            tries += 1;
            assert!(tries < 20, "it is given requests all the same");
        }
        rig.settles().await;
    });
}

/// A client of HTTP/2 that is connected to the worker.
async fn client_of(rig: &Rig) -> h2::client::SendRequest<bytes::Bytes> {
    rig.protocol.set(Some(Protocol::Http2));
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    client
}

fn request(path: &str) -> http::request::Builder {
    http::Request::post(format!("http://a.example{path}")).header("te", "trailers")
}

#[test]
fn a_call_with_too_large_a_head_hears_so_as_a_status_and_others_on_its_connection_go_on() {
    local(async {
        let rig = Setup::to([says("hello").await]).start().await;
        let mut client = client_of(&rig).await;
        let large = request("/s/m")
            .header("content-type", "application/grpc")
            .header("x-large", "v".repeat(200_000));
        let ask = |client: &mut h2::client::SendRequest<_>, request: http::request::Builder| {
            let request = request.body(()).unwrap();
            client.send_request(request, true).unwrap().0
        };
        let answer = ask(&mut client, large).await.unwrap();
        assert_eq!(answer.status(), 200);
        let field = |name: &str| answer.headers()[name].to_str().unwrap();
        assert_eq!(field("grpc-status"), "8");
        assert!(field("grpc-message").contains("the head holds more bytes"));
        client = client.ready().await.unwrap();
        let answer = ask(&mut client, request("/")).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(rig.metrics.limits.get(Limit::HeaderBytes), 1);
        rig.settles().await;
    });
}

#[test]
fn an_answer_with_too_large_a_head_ends_no_other_on_its_connection() {
    local(async {
        let asked = Rc::new(tokio::sync::Notify::new());
        let waits = asked.clone();
        let to = endpoint(
            |_| {},
            move |request, mut respond| {
                let asked = waits.clone();
                async move {
                    let mut answer = Response::new(());
                    if request.uri().path() == "/large" {
                        let large = "v".repeat(200_000).parse().unwrap();
                        answer.headers_mut().insert("x-large", large);
                        asked.notify_one();
                    } else {
                        asked.notified().await;
                        tokio::task::yield_now().await;
                    }
                    drop(respond.send_response(answer, true));
                }
            },
        )
        .await;
        let rig = over_http2(to).start().await;
        let mut client = client_of(&rig).await;
        let ask = |path: &str| request(path).body(()).unwrap();
        let (other, _) = client.send_request(ask("/other"), true).unwrap();
        client = client.ready().await.unwrap();
        let (large, _) = client.send_request(ask("/large"), true).unwrap();
        let large = large.await.unwrap();
        assert_eq!(large.status(), 502);
        assert_eq!(large.headers()["x-weft-response-flag"], "UPE");
        assert_eq!(other.await.unwrap().status(), 200);
        rig.settles().await;
    });
}

#[test]
fn a_server_of_http1_that_is_taken_for_one_of_http2_is_called_that() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.read_preface().await;
            peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        })
        .await;
        let rig = over_http2(to).start().await;
        let answer = rig.ask(GET).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(
            answer.contains("answered in HTTP/1, and its cluster says HTTP/2"),
            "{answer}"
        );
    });
}
