use super::*;

const BIG: usize = 3 * 1024 * 1024;

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() {
    local(async {
        let to = origin(|_, mut peer| async move {
            let request = peer.head().await + &peer.until("X-T: 1\r\n\r\n").await;
            assert!(request.contains("5\r\nhello\r\n"), "{request}");
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-U: 2\r\n\r\n").await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n").await;
        let answer = client.head().await + &client.until("X-U: 2\r\n\r\n").await;
        assert!(answer.contains("3\r\nabc\r\n0\r\n"), "{answer}");
        rig.settles().await;
    });
}

#[test]
fn big_bodies_pass_both_ways_in_bounded_memory_when_the_reader_is_slow() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            let mut body = vec![0; BIG];
            for piece in body.chunks_mut(100_000) {
                tokio::task::yield_now().await;
                peer.0.read_exact(piece).await.unwrap();
            }
            assert!(
                body.iter()
                    .enumerate()
                    .all(|(at, byte)| *byte == (at % 251) as u8)
            );
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n"))
                .await;
            peer.send(&body).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let client = rig.connect().await;
        let (mut read, mut write) = client.0.into_split();
        let body: Vec<u8> = (0..BIG).map(|at| (at % 251) as u8).collect();
        let sent = body.clone();
        spawn_local(async move {
            let head = format!("PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n");
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&sent).await.unwrap();
            std::future::pending::<()>().await;
            drop(write);
        });
        let mut got = Vec::new();
        let mut piece = vec![0; 50_000];
        let head_end = loop {
            let n = read.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "closed after {} bytes", got.len());
            got.extend_from_slice(&piece[..n]);
            if let Some(at) = memchr::memmem::find(&got, b"\r\n\r\n")
                && got.len() >= at + 4 + BIG
            {
                break at + 4;
            }
        };
        assert!(got[head_end..] == body[..], "another body");
        assert!(rig.metrics.limits.get(Limit::Buffer) > 0);
        rig.settles().await;
    });
}

#[test]
fn a_client_that_waits_for_100_is_told_by_the_origin() {
    local(async {
        let to = origin(|_, mut peer| async move {
            assert!(
                peer.head()
                    .await
                    .to_lowercase()
                    .contains("expect: 100-continue")
            );
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(peer.until("hello").await, "hello");
            peer.send(OK).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 100"));
        client.send("hello").await;
        assert!(client.message().await.ends_with("ok"));
    });
}

#[test]
fn an_answer_that_comes_before_the_request_is_complete_is_passed_on() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.head().await;
            peer.send("HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\n\r\nbig")
                .await;
            std::future::pending::<()>().await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome")
            .await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.ends_with("big"),
            "{answer}"
        );
        rig.settles().await;
    });
}

#[test]
fn the_answer_to_head_has_no_body_and_the_connection_goes_on() {
    local(async {
        let to = origin(|_, mut peer| async move {
            assert!(peer.head().await.starts_with("HEAD"));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
                .await;
            peer.head().await;
            peer.send(OK).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(
            client
                .head()
                .await
                .to_lowercase()
                .contains("content-length: 1234")
        );
        client.send(GET).await;
        assert!(client.message().await.ends_with("ok"));
    });
}

#[test]
fn an_upgrade_becomes_a_tunnel_and_bytes_sent_early_are_not_lost() {
    local(async {
        let to = origin(|_, mut peer| async move {
            assert!(peer.head().await.to_lowercase().contains("upgrade: websocket"));
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi").await;
            let said = peer.until("!").await;
            peer.send(said).await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.upgrades = vec!["websocket".into()];
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 101"));
        assert_eq!(client.until("hi").await, "hi");
        client.send("echo!").await;
        assert_eq!(client.rest().await, "echo!");
    });
}

#[test]
fn an_upgrade_that_is_not_listed_is_refused() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let answer = rig
            .ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    });
}

#[test]
fn a_connect_that_ends_here_becomes_a_tunnel() {
    local(async {
        let to = origin(|_, mut peer| async move {
            let said = peer.until("!").await;
            peer.send(said).await;
        })
        .await;
        let mut setup = Setup::to([to]);
        setup.forward.terminate_connect = true;
        setup.path = PathMatch::Connect;
        let rig = setup.start().await;
        let mut client = rig.connect().await;
        client
            .send("CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        client.send("raw!").await;
        assert_eq!(client.rest().await, "raw!");
    });
}

#[test]
fn bytes_of_bodies_are_counted_both_ways_whatever_is_spoken() {
    wires::in_each_pairing(async || {
        let to = origin(|_, mut peer| async move {
            peer.message().await;
            peer.send(ok("an answer")).await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let answer = rig
            .ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert!(answer.ends_with("an answer"), "{answer}");
        rig.settles().await;
        let scraped = rig.metrics.scrape();
        for (what, bytes) in [("received", 5), ("sent", 9)] {
            let of = r#"{cluster="c",direction="inbound"}"#;
            let counted = format!("weft_http_{what}_bytes_total{of} {bytes}\n");
            assert!(scraped.contains(&counted), "{what}: {scraped}");
        }
    });
}

#[test]
fn who_a_caller_is_cannot_be_claimed_in_trailers_or_under_another_spelling() {
    local(async {
        let to = origin(|_, mut peer| async move {
            let request = peer.head().await + &peer.until("x-check: 1\r\n\r\n").await;
            assert!(
                !request.to_ascii_lowercase().contains("client"),
                "{request}"
            );
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut client = rig.connect().await;
        client
            .send(
                "POST / HTTP/1.1\r\nHost: a\r\nX_Forwarded_Client_Cert: URI=a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\
                 X-Forwarded-Client-Cert: URI=b\r\nx-check: 1\r\n\r\n",
            )
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200"));
        rig.settles().await;
    });
}
