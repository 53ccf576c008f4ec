//! Calls, written as HTTP/1, chunked, and made over both protocols on each side.

use std::cell::Cell;

use weft_config::cluster::OutlierDetection;
use weft_config::grpc::GrpcStatus;

use super::wires::in_each_pairing;
use super::*;

pub(super) const CALL: &str = "POST /s/m HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\
    Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
pub(super) const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";

/// What ends an answer whose body is chunked.
pub(super) fn trailers(status: u32) -> String {
    format!("0\r\nGrpc-Status: {status}\r\n\r\n")
}

/// An answer of one message.
pub(super) fn answer(status: u32) -> String {
    format!("{HEAD}2\r\nok\r\n{}", trailers(status))
}

/// An answer that is its head alone.
pub(super) fn trailers_only(status: u32) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: {status}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// An answer that breaks off behind a message.
pub(super) fn cut() -> String {
    format!("{HEAD}2\r\nok\r\n")
}

/// An origin that gives each request the next answer, the last one to all others.
pub(super) async fn answers(answers: Vec<String>) -> SocketAddr {
    let (answers, next) = (Rc::new(answers), Rc::new(Cell::new(0)));
    origin(move |_, mut peer| {
        let (answers, next) = (answers.clone(), next.clone());
        async move {
            while peer.asks().await {
                peer.until("0\r\n\r\n").await;
                let answer = answers.get(next.get()).or(answers.last());
                next.set(next.get() + 1);
                let answer = answer.expect("at least one");
                peer.send(answer).await;
                if answer.ends_with(&cut()[HEAD.len()..]) {
                    return;
                }
            }
        }
    })
    .await
}

/// Makes a call; what the caller reads of the answer and its trailers.
pub(super) async fn call(rig: &Rig) -> String {
    let mut client = rig.connect().await;
    client.send(CALL).await;
    client.answer().await
}

impl Peer {
    /// Whether more comes before the other side closes.
    async fn asks(&mut self) -> bool {
        self.0.peek(&mut [0]).await.is_ok_and(|more| more > 0)
    }

    /// Reads an answer with its trailers, or as much as there is of it.
    pub(super) async fn answer(&mut self) -> String {
        let head = self.head().await;
        if field(&head, "content-length") == "0" {
            return head;
        }
        let mut rest = String::new();
        while !rest.ends_with("\r\n\r\n") {
            let mut bytes = [0; 1024];
            match timeout(Duration::from_secs(10), self.0.read(&mut bytes)).await {
                Ok(Ok(n @ 1..)) => rest += std::str::from_utf8(&bytes[..n]).unwrap(),
                Ok(Ok(0) | Err(_)) => break,
                other => panic!("{other:?} behind {head}{rest}"),
            }
        }
        head + &rest
    }
}

/// Calls by status that were counted, and requests that failed.
pub(super) async fn counted(rig: &Rig) -> (Vec<(String, u64)>, u64) {
    rig.settles().await;
    let cluster = rig.metrics.cluster(&"c".into());
    let totals = cluster.http_totals(Direction::Inbound).unwrap();
    let names = GrpcStatus::all().filter_map(GrpcStatus::name);
    let counts = names.chain(["other"]).zip(totals.grpc);
    let counts = counts.filter(|(_, count)| *count > 0);
    (
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect(),
        totals.failures,
    )
}

#[test]
fn a_call_is_counted_by_the_status_that_its_caller_heard() {
    for (said, status, failures) in [
        (answer(0), "OK", 0),
        (answer(13), "INTERNAL", 1),
        (answer(99), "other", 1),
        (trailers_only(5), "NOT_FOUND", 0),
        (trailers_only(14), "UNAVAILABLE", 1),
        (
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "UNIMPLEMENTED",
            1,
        ),
        (cut(), "UNAVAILABLE", 1),
    ] {
        let said = said.as_str();
        in_each_pairing(async || {
            let rig = Setup::to([answers(vec![said.to_owned()]).await])
                .start()
                .await;
            call(&rig).await;
            assert_eq!(
                counted(&rig).await,
                (vec![(status.to_owned(), 1)], failures),
                "{said}"
            );
        });
    }
}

#[test]
fn what_is_no_call_has_no_status() {
    in_each_pairing(async || {
        let rig = Setup::to([answers(vec![answer(13)]).await]).start().await;
        let mut client = rig.connect().await;
        client
            .send(CALL.replace("application/grpc", "application/grpc-web"))
            .await;
        client.answer().await;
        assert_eq!(counted(&rig).await, (vec![], 0));
    });
}

#[test]
fn an_answer_of_the_proxy_is_counted_by_its_status_too() {
    in_each_pairing(async || {
        let rig = Setup::to([nobody().await]).start().await;
        let answer = call(&rig).await;
        assert_eq!(field(&answer, "grpc-status"), "14", "{answer}");
        assert_eq!(
            counted(&rig).await,
            (vec![("UNAVAILABLE".to_owned(), 1)], 1)
        );
    });
}

#[test]
fn an_answer_that_is_not_grpc_passes_as_it_is() {
    in_each_pairing(async || {
        let page = "HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\noops";
        let rig = Setup::to([answers(vec![page.to_owned()]).await])
            .start()
            .await;
        let mut client = rig.connect().await;
        client.send(CALL).await;
        let heard = client.message().await;
        assert!(heard.starts_with("HTTP/1.1 502 "), "{heard}");
        assert_eq!(field(&heard, "content-type"), "text/html", "{heard}");
        assert!(heard.ends_with("\r\n\r\noops"), "{heard}");
        assert_eq!(
            counted(&rig).await,
            (vec![("UNAVAILABLE".to_owned(), 1)], 1)
        );
    });
}

#[test]
fn a_caller_that_leaves_has_cancelled_its_call_and_nobody_failed() {
    in_each_pairing(async || {
        let to = origin(|_, mut peer| async move {
            peer.until("0\r\n\r\n").await;
            peer.send(HEAD).await;
            while peer.0.write_all(b"2\r\nok\r\n").await.is_ok() {
                tokio::time::sleep_until(Instant::now() + Duration::from_millis(5)).await;
            }
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send(CALL).await;
        client.until("ok\r\n").await;
        drop(client);
        assert_eq!(counted(&rig).await, (vec![("CANCELLED".to_owned(), 1)], 0));
    });
}

/// How often an endpoint that gives these answers is ejected, where three failures in a row are too many.
async fn ejections(said: Vec<String>) -> u64 {
    let calls = said.len();
    let mut setup = Setup::to([answers(said).await]);
    setup.cluster = Box::new(|cluster| {
        cluster.outlier_detection = Some(OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 0,
            consecutive_local_origin_failure: 0,
            ..OutlierDetection::default()
        });
    });
    let rig = setup.start().await;
    for _ in 0..calls {
        call(&rig).await;
    }
    rig.settles().await;
    rig.metrics.cluster(&"c".into()).ejections.get()
}

#[test]
fn a_status_ejects_like_the_http_status_that_says_the_same_wherever_it_comes() {
    for (status, ejected) in [
        (14, 1),
        (13, 1),
        (12, 1),
        (4, 1),
        (2, 1),
        (0, 0),
        (1, 0),
        (5, 0),
        (8, 0),
    ] {
        in_each_pairing(async || {
            assert_eq!(
                ejections(vec![answer(status); 3]).await,
                ejected,
                "{status}"
            );
            assert_eq!(
                ejections(vec![trailers_only(status); 3]).await,
                ejected,
                "{status}"
            );
        });
    }
}

#[test]
fn an_attempt_counts_once_and_by_how_it_ended() {
    in_each_pairing(async || {
        assert_eq!(ejections(vec![answer(14); 2]).await, 0, "each counts once");
        assert_eq!(
            ejections(vec![cut(); 3]).await,
            1,
            "a head is no success yet"
        );
        let mixed = [14, 14, 0, 14, 14].map(answer);
        assert_eq!(
            ejections(mixed.to_vec()).await,
            0,
            "one that goes well ends the row"
        );
    });
}
