//! `weft apply` against many connected proxies, with the real program on both sides.

use tokio::time::Instant;

use weft_tests::subscriber::Subscriber;
use weft_tests::weave::{static_service, weighted_route};
use weft_tests::weft::Weft;
use weft_xds_proto::type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE};

/// Proxies that are connected.
const PROXIES: usize = 200;

/// Services of the mesh; most of them no change concerns.
const SERVICES: usize = 300;

const WEB: &str = "web.default.svc.cluster.local:80";

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_names_all_that_acknowledged_and_the_one_that_refused() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let mut mesh: String = (0..SERVICES).map(|n| service(&format!("s{n}"))).collect();
    mesh += &service("web");
    mesh += &service("other");
    succeed(&weft, &mesh).await?;

    let mut proxies = Vec::new();
    for number in 0..PROXIES {
        let own = format!("s{number}.default.svc.cluster.local:80");
        let names = [
            (LISTENER, "web"),
            (ROUTE, WEB),
            (CLUSTER, WEB),
            (ENDPOINT, WEB),
            (CLUSTER, &own),
        ];
        proxies.push(Subscriber::start(weft.xds(), &format!("proxy-{number}"), &names).await?);
    }

    let mut times = Vec::new();
    for weight in 1..=5 {
        let started = Instant::now();
        let out = succeed(
            &weft,
            &weighted_route("web", 80, &[("web", weight), ("other", 1)]),
        )
        .await?;
        times.push(started.elapsed());
        assert!(
            out.contains(&format!("acknowledged by {PROXIES} proxies")),
            "{out}"
        );
    }
    times.sort();
    eprintln!("weft apply to {PROXIES} proxies in {SERVICES} services: {times:?}");

    proxies[17].refuse(Some("this proxy cannot"));
    let ended = weft
        .run(
            &["apply", "-f", "-"],
            &weighted_route("web", 80, &[("web", 9), ("other", 1)]),
        )
        .await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.out.contains("refused by proxy-17: this proxy cannot"),
        "{ended:?}"
    );
    assert!(
        ended
            .out
            .contains(&format!("acknowledged by {} proxies", PROXIES - 1)),
        "{ended:?}"
    );
    Ok(())
}

fn service(name: &str) -> String {
    static_service(name, 80, "http", &[([127, 0, 0, 1], 9).into()])
}

async fn succeed(weft: &Weft, yaml: &str) -> anyhow::Result<String> {
    let ended = weft.run(&["apply", "-f", "-"], yaml).await?;
    anyhow::ensure!(ended.code == Some(0), "{ended:?}");
    Ok(ended.out)
}
