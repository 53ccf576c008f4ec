//! What is refused while load is shed, and what is not.

use weft_config::bootstrap::overload::{ALL, Action, Resource};

use super::*;

fn shed(rig: &Rig, share: u32) {
    let action = Action::StopRequests;
    rig.overload.set(action, share, Resource::Memory);
}

#[test]
fn new_requests_are_refused_and_those_that_run_go_on() {
    local(async {
        let to = origin(|_, mut peer| async move {
            peer.until("67890").await;
            peer.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
                .await;
            peer.rest().await;
        })
        .await;
        let rig = Setup::to([to]).start().await;
        let mut running = rig.connect().await;
        running
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345")
            .await;
        while rig.worker.population().1 == 0 {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(1)).await;
        }
        shed(&rig, ALL);
        let mut refused = rig.connect().await;
        refused.send(GET).await;
        let answer = refused.message().await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && flag(&answer) == "OM",
            "{answer}"
        );
        assert!(answer.ends_with("short of memory and takes no new requests\n"));
        assert_eq!(rig.metrics.limits.get(Limit::ShedRequests), 1);
        running.send("67890").await;
        let answer = running.message().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The connection that was refused a request lives on, and so its client.
        shed(&rig, 0);
        refused
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n67890")
            .await;
        let answer = refused.message().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}

#[test]
fn a_grpc_caller_is_refused_in_its_own_terms() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        shed(&rig, ALL);
        let answer = rig
            .ask("POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("grpc-status: 14\r\n"), "{answer}");
        assert_eq!(flag(&answer), "OM");
    });
}

#[test]
fn a_head_without_its_end_is_refused_instead_of_collected() {
    local(async {
        let rig = Setup::to([nobody().await]).start().await;
        let mut client = rig.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
        while rig.worker.population().0 == 0 {
            tokio::time::sleep_until(Instant::now() + Duration::from_millis(1)).await;
        }
        shed(&rig, ALL);
        client.send("x: y").await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && flag(&answer) == "OM",
            "{answer}"
        );
        assert_eq!(rig.metrics.limits.get(Limit::ShedRequests), 1);
    });
}
