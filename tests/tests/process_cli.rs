//! The commands of `weft` against a running control plane with a proxy: what they say, and with which code they end.

use anyhow::{Context, ensure};
use weft_tests::client::{get, served_by};
use weft_tests::eventually;
use weft_tests::upstream::Upstream;
use weft_tests::weave::{Sidecar, sidecar_config, static_service, weighted_route};
use weft_tests::weft::{Ended, Weft, run};

/// A control plane with `reviews`, split over two versions, and a sidecar that has used it.
struct Scene {
    weft: Weft,
    caller: Sidecar,
    _upstream: Upstream,
}

impl Scene {
    async fn new() -> anyhow::Result<Self> {
        let weft = Weft::serve(&[]).await?;
        let upstream = Upstream::http("v1").await;
        let backends = [("reviews-v1", 90), ("reviews-v2", 10)];
        let manifest = ["reviews", "reviews-v1", "reviews-v2"]
            .map(|name| static_service(name, 9080, "http", &[upstream.address()]))
            .concat()
            + &weighted_route("reviews", 9080, &backends)
            + POLICY;
        succeed(
            weft.run(&["apply", "-f", "-", "-m", "first"], &manifest)
                .await?,
        )?;
        let mut config = sidecar_config(weft.xds(), "caller", "v1", None);
        config.admin = Some(([127, 0, 0, 1], 0).into());
        let caller = Sidecar::start(config).await?;
        eventually("the service answers", || async {
            let answer = get(caller.outbound(), "reviews:9080", "/").await?;
            served_by(&answer).map(drop)
        })
        .await;
        Ok(Self {
            weft,
            caller,
            _upstream: upstream,
        })
    }

    async fn weft(&self, arguments: &[&str]) -> anyhow::Result<String> {
        succeed(self.weft.run(arguments, "").await?)
    }

    /// The command ends with code 1 and says this.
    async fn refused(&self, arguments: &[&str], why: &str) -> anyhow::Result<()> {
        let ended = self.weft.run(arguments, "").await?;
        ensure!(ended.code == Some(1), "{arguments:?}: {ended:?}");
        ensure!(ended.err.contains(why), "{arguments:?}: {ended:?}");
        Ok(())
    }
}

const POLICY: &str = "---
apiVersion: mesh.weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: patience}
spec:
  targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews}]
  timeouts: {request: 5s}
";

fn succeed(ended: Ended) -> anyhow::Result<String> {
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(ended.out)
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_listed_can_be_described() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    holds(
        &scene.weft(&["get", "services"]).await?,
        &["reviews-v2", "9080/http"],
    );
    holds(
        &scene.weft(&["get", "endpoints"]).await?,
        &["reviews.default:9080", "healthy"],
    );
    holds(&scene.weft(&["get", "routes"]).await?, &["HTTPRoute"]);
    holds(&scene.weft(&["get", "policies"]).await?, &["patience"]);
    holds(
        &scene.weft(&["get", "proxies"]).await?,
        &["caller", "in force"],
    );
    holds(
        &scene.weft(&["get", "revisions"]).await?,
        &["first", "+HTTPRoute/reviews"],
    );

    let service = scene.weft(&["describe", "service", "reviews"]).await?;
    holds(
        &service,
        &["Endpoints (1)", "weight: 90", "TrafficPolicy patience"],
    );
    holds(
        &scene.weft(&["describe", "endpoints", "reviews"]).await?,
        &["healthy"],
    );
    let route = scene.weft(&["describe", "route", "reviews"]).await?;
    holds(
        &route,
        &[
            "HTTPRoute reviews in default",
            "Accepted True",
            "ResolvedRefs True",
            "default/reviews",
        ],
    );
    holds(
        &scene.weft(&["describe", "policy", "patience"]).await?,
        &["request: \"5s\""],
    );
    holds(
        &scene.weft(&["describe", "proxy", "caller"]).await?,
        &["acknowledged  revision 1", "LDS"],
    );
    holds(
        &scene.weft(&["describe", "revision", "1"]).await?,
        &["first", "+ kind: HTTPRoute"],
    );
    holds(
        &scene.weft(&["describe", "object", "reviews"]).await?,
        &["MeshService reviews", "HTTPRoute reviews"],
    );

    scene
        .refused(
            &["describe", "route", "nobody"],
            "there is no route nobody in namespace default",
        )
        .await?;
    scene
        .refused(
            &["describe", "revision", "99"],
            "revision 99 is not in the history",
        )
        .await?;
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_are_understood_as_users_of_kubectl_type_them() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    for kind in ["httproute", "httproutes", "HTTPRoute", "HTTPRoutes"] {
        let list = scene.weft(&["get", kind]).await?;
        holds(&list, &["HTTPRoute"]);
        assert!(!list.contains("MeshService"), "{list}");
        holds(&scene.weft(&["get", kind, "reviews"]).await?, &["reviews"]);
        let page = scene.weft(&["describe", kind, "reviews"]).await?;
        holds(&page, &["HTTPRoute reviews in default", "Accepted True"]);
        let delete = ["delete", kind, "reviews", "--dry-run"];
        holds(&scene.weft(&delete).await?, &["HTTPRoute/reviews"]);
    }
    let (get, describe) = (["get", "TrafficPolicies"], ["describe", "trafficpolicy"]);
    holds(&scene.weft(&get).await?, &["patience"]);
    let page = scene.weft(&[&describe[..], &["patience"]].concat()).await?;
    holds(&page, &["TrafficPolicy patience in default"]);
    let list = scene.weft(&["get", "meshservices"]).await?;
    holds(&list, &["reviews-v1", "reviews-v2"]);
    let ended = scene.weft.run(&["get", "grpcroutes"], "").await?;
    holds(&ended.err, &["no grpcroutes"]);
    for group in ["SERVICES", "Service"] {
        holds(&scene.weft(&["get", group]).await?, &["9080/http"]);
        let delete = ["delete", group, "reviews-v2", "--dry-run"];
        holds(&scene.weft(&delete).await?, &["MeshService/reviews-v2"]);
    }

    for (arguments, why) in [
        (["get", "tcproute", "reviews"], "no tcproutes named reviews"),
        (
            ["describe", "httproutes", "review"],
            "there is no HTTPRoute review in namespace default, did you mean `reviews`?",
        ),
    ] {
        scene.refused(&arguments, why).await?;
    }
    for arguments in [
        ["get", "htproutes", "reviews"],
        ["describe", "HTPRoute", "reviews"],
    ] {
        let ended = scene.weft.run(&arguments, "").await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let near = ended.err.to_lowercase();
        holds(&near, &["a similar value exists", "httproute"]);
    }
    let script = scene.weft(&["completion", "bash"]).await?;
    holds(&script, &["httproutes", "HTTPRoute", "trafficpolicies"]);
    for (command, word) in [
        ("get", "httproutes"),
        ("describe", "HTTPRoute"),
        ("delete", "HTTPRoute"),
    ] {
        holds(
            &scene.weft(&[command, "--help"]).await?,
            &[word, "in any case"],
        );
    }
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_state_of_a_proxy_is_one_kind_at_a_time() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    for (what, wanted, other) in [
        ("endpoints", "ClusterLoadAssignment", "RouteConfiguration"),
        ("routes", "RouteConfiguration", "ClusterLoadAssignment"),
        ("listeners", "listener_statuses", "RouteConfiguration"),
        ("clusters", "cluster_statuses", "RouteConfiguration"),
    ] {
        let page = scene.weft(&["proxy", what, "caller"]).await?;
        holds(&page, &[wanted]);
        assert!(!page.contains(other), "{what}: {page}");
    }
    let config = scene.weft(&["proxy", "config", "caller"]).await?;
    holds(
        &config,
        &["ListenersConfigDump", "RoutesConfigDump", "reviews:9080"],
    );
    holds(
        &scene.weft(&["proxy", "stats", "caller"]).await?,
        &["weft_xds_connected 1"],
    );
    for what in ["config", "stats", "endpoints"] {
        let page = scene.weft(&["proxy", what, "caller", "-o", "json"]).await?;
        let _: serde_json::Value = serde_json::from_str(&page).with_context(|| page.clone())?;
        assert!(page.ends_with('\n'), "{what}: {page}");
        let page = scene.weft(&["proxy", what, "caller", "-o", "yaml"]).await?;
        assert!(!page.starts_with(['{', '#']), "{what}: {page}");
    }
    scene
        .refused(
            &["proxy", "config", "nobody"],
            "no connected proxy is called nobody",
        )
        .await?;
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_names_whom_it_would_change_and_changes_nothing() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let change = weighted_route("reviews", 9080, &[("reviews-v1", 50), ("reviews-v2", 50)]);
    for arguments in [&["apply", "--dry-run", "-f", "-"][..], &["diff", "-f", "-"]] {
        let out = succeed(scene.weft.run(arguments, &change).await?)?;
        holds(
            &out,
            &[
                "would change",
                "-           weight: 90",
                "would concern 1 connected proxy",
                "caller",
            ],
        );
    }
    let same = succeed(scene.weft.run(&["diff", "-f", "-"], POLICY).await?)?;
    holds(&same, &["unchanged", "would concern 0 connected proxies"]);
    assert!(!scene.weft(&["history"]).await?.contains("\n2 "));
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_split_and_rolled_back_as_revisions() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let split = scene.weft(&["split", "reviews", "v1=50", "v2=50"]).await?;
    holds(&split, &["revision 2 stored", "acknowledged by 1 proxy"]);
    let back = scene.weft(&["rollback", "1"]).await?;
    holds(&back, &["revision 3 stored", "acknowledged by 1 proxy"]);
    holds(
        &scene
            .weft(&["get", "routes", "reviews", "-o", "yaml"])
            .await?,
        &["weight: 90"],
    );
    let history = scene.weft(&["history"]).await?;
    holds(
        &history,
        &["split reviews v1=50 v2=50", "rollback to revision 1"],
    );
    holds(
        &scene.weft(&["delete", "httproute", "reviews"]).await?,
        &["HTTPRoute/reviews in default deleted"],
    );
    scene
        .refused(
            &["delete", "httproute", "reviews"],
            "there is no HTTPRoute reviews in namespace default",
        )
        .await?;
    for arguments in [
        &["delete", "nothing", "reviews"][..],
        &["delete", "HTPRoute", "reviews"],
    ] {
        let ended = scene.weft.run(arguments, "").await?;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        holds(&ended.err, &["not a kind", "HTTPRoute"]);
    }
    scene
        .refused(&["rollback", "99"], "revision 99 is not known")
        .await?;
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_leaves_something_dangling_warns() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let lost = weighted_route("lost", 80, &[("review-v1", 0)]);
    let ended = scene.weft.run(&["apply", "-f", "-"], &lost).await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    holds(
        &ended.err,
        &[
            "warning: <stdin>:",
            "there is no MeshService default/lost; the route has no effect",
            "there is no MeshService default/review-v1, did you mean `reviews-v1`; its requests are answered 500",
            "all weights are 0",
        ],
    );
    // The fault lies in the route, but it is the deletion that brings it about; what was wrong before is no news.
    for dry in [&["--dry-run"][..], &[]] {
        let arguments = [&["delete", "service", "reviews-v2"], dry].concat();
        let ended = scene.weft.run(&arguments, "").await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        holds(
            &ended.err,
            &[
                "warning: HTTPRoute default/reviews: spec.rules[0].backendRefs[1].name: there is no MeshService default/reviews-v2",
            ],
        );
        assert!(!ended.err.contains("lost"), "{ended:?}");
    }
    let same = succeed(scene.weft.run(&["apply", "-f", "-"], POLICY).await?)?;
    holds(&same, &["nothing changes: it is as in revision 3"]);
    assert!(!same.contains("stored"), "{same}");
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_in_every_form_and_near_ones_are_suggested() -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc.cluster.local",
    ] {
        for arguments in [
            &["describe", "service", name][..],
            &["get", "services", name],
            &["get", "endpoints", name],
            &["split", name, "v1=1", "v2=1", "--dry-run"],
        ] {
            holds(&scene.weft(arguments).await?, &["reviews"]);
        }
    }
    for (arguments, why) in [
        (
            &["describe", "service", "reveiws"][..],
            "no service reveiws in namespace default, did you mean `reviews`?",
        ),
        (
            &["get", "routes", "review"],
            "no routes named review, did you mean `reviews`?",
        ),
        (
            &["get", "routes", "reviews", "-n", "shop"],
            "no routes named reviews in namespace shop",
        ),
        (
            &["delete", "MeshService", "reviews-v3", "x"],
            "no MeshService reviews-v3 in namespace default, did you mean `reviews-v1`?\nthere is no MeshService x",
        ),
        (
            &["split", "review", "v1=1"],
            "there is no service review in namespace default, did you mean `reviews`?",
        ),
        (&["split", "reviews-v1", "v1=1"], "has no route to split"),
        (&["split", "reviews", "v1=0", "v2=0"], "all weights are 0"),
        (&["get", "revisions", "abc"], "a revision is a number"),
        (
            &["get", "revisions", "99"],
            "not in the history; it reaches from 1 to 1",
        ),
    ] {
        scene.refused(arguments, why).await?;
    }
    holds(
        &scene.weft(&["get", "routes", "-o", "wide"]).await?,
        &["reviews:9080", "reviews-v1=90 reviews-v2=10"],
    );
    scene.caller.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_shows_the_policies_of_its_routes() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let web = static_service("web", 80, "http", &[([127, 0, 0, 1], 9).into()]);
    let route = weighted_route("web", 80, &[("web", 1)]);
    let limit = |name: &str, kind: &str| {
        format!(
            "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: {name}}}\nspec: {{targetRefs: \
             [{{group: gateway.networking.k8s.io, kind: {kind}, name: web}}], local: {{requests: 1}}}}\n"
        )
    };
    let manifest = web + &route + &limit("ours", "HTTPRoute") + &limit("other", "GRPCRoute");
    succeed(weft.run(&["apply", "-f", "-"], &manifest).await?)?;
    let page = succeed(weft.run(&["describe", "service", "web"], "").await?)?;
    holds(&page, &["Policies (1)", "RateLimitPolicy ours"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_places_and_is_structured_where_that_was_asked_for() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let twice = static_service("web", 80, "http", &[]) + &static_service("web", 81, "http", &[]);
    let ended = weft.run(&["apply", "-f", "-"], &twice).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    holds(&ended.err, &["web stands already at <stdin>:"]);
    let ended = weft
        .run(&["apply", "-o", "json", "-f", "-"], "kind: Foo")
        .await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let refused: serde_json::Value = serde_json::from_str(&ended.out)?;
    let faults = refused["faults"].as_array().context("a list of faults")?;
    assert!(
        faults
            .iter()
            .any(|it| it.as_str().is_some_and(|it| it.contains("unknown kind"))),
        "{refused}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_proxies_would_refuse_is_refused_at_the_door() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let cart = static_service("cart", 80, "grpc", &[([127, 0, 0, 1], 9).into()]);
    succeed(weft.run(&["apply", "-f", "-"], &cart).await?)?;
    let odd = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: odd}\nspec:\n  parentRefs: [{group: \
               mesh.weft.dev, kind: MeshService, name: cart}]\n  rules:\n  - matches: [{method: {type: RegularExpression, service: \
               '(?x)a # b', method: c}}]\n";
    for arguments in [&["apply", "-f", "-"][..], &["diff", "-f", "-"]] {
        let ended = weft.run(arguments, odd).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        holds(
            &ended.err,
            &[
                "nothing was changed",
                "GRPCRoute default/odd",
                "RDS cart.default",
            ],
        );
    }
    assert!(!succeed(weft.run(&["get", "routes"], "").await?)?.contains("odd"));
    let linted = run(&["lint", "-f", "-"], &format!("{cart}---\n{odd}")).await?;
    assert_eq!(linted.code, Some(1), "{linted:?}");
    holds(&linted.out, &["fault: <stdin>:", "RDS cart.default"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_the_watched_directory_are_changed_there_alone() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let web = |port| static_service("web", port, "http", &[([127, 0, 0, 1], 9).into()]);
    std::fs::write(folder.path().join("web.yaml"), web(80))?;
    let path = folder.path().to_str().context("a path in UTF-8")?;
    let weft = Weft::serve(&["--config", path]).await?;
    let shows = async |what: &str| {
        let listed = weft.run(&["get", "services"], "").await?.out;
        ensure!(listed.contains(what), "{listed}");
        Ok::<_, anyhow::Error>(())
    };
    eventually("the directory is read", || shows("80/http")).await;
    std::fs::write(folder.path().join("web.yaml"), web(81))?;
    eventually("the change is followed", || shows("81/http")).await;
    for arguments in [
        &["apply", "-f", "-"][..],
        &["delete", "MeshService", "web"],
        &["rollback", "1"],
    ] {
        let ended = weft.run(arguments, &web(82)).await?;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        holds(
            &ended.err,
            &["MeshService default/web comes from the watched directory"],
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_for_machines_need_no_token_and_say_no_secret() -> anyhow::Result<()> {
    let weft = Weft::serve(&["--token", "secret"]).await?;
    let api = weft.api().trim_start_matches("http://").parse()?;
    for (path, wanted) in [
        ("/healthz", "ok"),
        ("/readyz", "ok, revision 0"),
        ("/metrics", "weft_control_plane_proxies{state=\"synced\"} 0"),
    ] {
        eventually(path, || async {
            let answer = get(api, "monitor.example", path).await?;
            let body = String::from_utf8_lossy(answer.body()).into_owned();
            ensure!(answer.status() == 200 && body.contains(wanted), "{body}");
            Ok::<_, anyhow::Error>(())
        })
        .await;
    }
    let ended = weft.run(&["get", "services"], "").await?;
    assert_eq!(ended.code, Some(1));
    holds(&ended.err, &["needs a token"]);
    succeed(
        weft.run(&["--token", "secret", "get", "services"], "")
            .await?,
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn some_commands_need_no_control_plane() -> anyhow::Result<()> {
    let good = run(&["lint", "-f", "-"], POLICY).await?;
    assert_eq!(good.code, Some(0), "{good:?}");
    holds(&good.out, &["1 file, no faults, 1 warning", "<stdin>:"]);
    let bad = run(&["lint", "-f", "-"], "kind: Foo").await?;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    holds(&bad.out, &["<stdin>:1:7: kind: unknown kind `Foo`"]);
    holds(
        &succeed(run(&["explain", "uh"], "").await?)?,
        &["NoHealthyUpstream"],
    );
    holds(
        &succeed(run(&["explain", "UPE"], "").await?)?,
        &["details of the access log", "weft-proxy --access-log"],
    );
    let unknown = run(&["explain", "reviews"], "").await?;
    assert_eq!(unknown.code, Some(1));
    holds(&unknown.err, &["\"reviews\" is not a response flag"]);
    for shell in ["bash", "zsh", "fish"] {
        holds(&succeed(run(&["completion", shell], "").await?)?, &["weft"]);
    }
    assert_eq!(run(&["get", "nonsense"], "").await?.code, Some(2));
    let nobody = run(&["--server", "http://127.0.0.1:1", "proxies"], "").await?;
    assert_eq!(nobody.code, Some(1));
    holds(&nobody.err, &["no control plane answers"]);
    Ok(())
}

const WHO: &str = "---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: books}
spec: {ports: [{port: 80, appProtocol: http}], discovery: {workloads: {selector: {app: books}}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: readers}
spec:
  rules:
  - from: [{namespaces: [shop]}]
    to: [{methods: [GET]}]
";

#[tokio::test(flavor = "multi_thread")]
async fn who_may_call_is_said_by_files_and_by_the_control_plane_alike() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("who.yaml");
    std::fs::write(&file, WHO)?;
    let file = file.display().to_string();
    let applied = weft.run(&["apply", "-f", &file], "").await?;
    ensure!(applied.code == Some(0), "{applied:?}");
    for (from, method, code) in [
        ("shop/web", "GET", 0),
        ("spiffe://cluster.local/ns/shop/sa/web", "GET", 0),
        ("shop/web", "POST", 1),
        ("10.0.0.1", "GET", 1),
        ("-", "GET", 1),
    ] {
        let question = [
            "authz", "check", "--from", from, "--to", "books", "--method", method, "-o", "json",
        ];
        let asked = weft.run(&question, "").await?;
        let read = run(&[&question[..], &["-f", &file]].concat(), "").await?;
        ensure!(
            (asked.code, read.code) == (Some(code), Some(code)),
            "{from} {method}: {asked:?} {read:?}"
        );
        let verdict: serde_json::Value = serde_json::from_str(&read.out)?;
        ensure!(
            verdict.get("allowed") == Some(&(code == 0).into()),
            "{verdict}"
        );
        let decided = match code {
            0 => verdict.pointer("/rule/file"),
            _ => verdict.pointer("/others/0/file"),
        };
        let place = format!("{file}:12:5");
        ensure!(
            decided == Some(&place.clone().into()),
            "{verdict}, wanted {place}"
        );
    }
    let foreign = [
        "authz",
        "check",
        "--from",
        "spiffe://td/ns/shop/sa/web",
        "--to",
        "books",
    ];
    for ended in [
        weft.run(&foreign, "").await?,
        run(&[&foreign[..], &["-f", &file]].concat(), "").await?,
    ] {
        let refused = "takes identities of the trust domain cluster.local alone";
        ensure!(
            ended.code == Some(1) && ended.out.contains(refused),
            "{ended:?}"
        );
    }
    let near = weft
        .run(&["authz", "check", "--from", "-", "--to", "boks"], "")
        .await?;
    ensure!(near.err.contains("did you mean `books`?"), "{near:?}");
    let page = weft.run(&["describe", "service", "books"], "").await?.out;
    for line in [
        "mTLS PERMISSIVE (no policy says)",
        "only from namespaces=shop to methods=GET (default/",
    ] {
        ensure!(page.contains(line), "{line}: {page}");
    }
    let wrong = run(
        &[
            "authz", "check", "--from", "me", "--to", "books", "-f", &file,
        ],
        "",
    )
    .await?;
    ensure!(wrong.code == Some(2), "{wrong:?}");
    Ok(())
}
