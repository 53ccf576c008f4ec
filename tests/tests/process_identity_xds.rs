//! xDS with TLS: who may ask, and what he may say of himself, with the real program on one side.

use anyhow::{Context, bail, ensure};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use weft_tests::eventually;
use weft_tests::weave::workload_service;
use weft_tests::weft::Weft;
use weft_tests::workload::{Workload, plain, secure};
use weft_xds_proto::pb::envoy::config::core::v3::{DataSource, Node, data_source::Specifier};
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::{Secret, secret::Type};
use weft_xds_proto::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use weft_xds_proto::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use weft_xds_proto::pb::envoy::service::status::v3::ClientStatusRequest;
use weft_xds_proto::pb::envoy::service::status::v3::client_status_discovery_service_client::ClientStatusDiscoveryServiceClient;
use weft_xds_proto::pb::google::protobuf::{ListValue, Struct, Value, value::Kind};
use weft_xds_proto::type_url::{LISTENER, SECRET};

/// A workload of this service account in `default`.
async fn join(weft: &Weft, account: &str, seconds: i64) -> anyhow::Result<Workload> {
    let account = format!("default/{account}");
    let arguments = ["token", "create", "--service-account", &account];
    let made = weft.run(&arguments, "").await?;
    Workload::join(plain(weft.xds()).await?, made.out.trim(), seconds).await
}

/// A stream on which one resource was asked for.
struct Client {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    async fn ask(channel: Channel, node: Node, kind: &str, name: &str) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(8);
        let first = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: kind.to_owned(),
            resource_names_subscribe: vec![name.to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        let sent = requests.try_send(first);
        sent.map_err(|error| Status::internal(error.to_string()))?;
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(ReceiverStream::new(receiver))
            .await?;
        Ok(Self {
            requests,
            responses: responses.into_inner(),
        })
    }

    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = self.responses.message().await?;
        let next = next.ok_or_else(|| Status::internal("the stream ended without a status"))?;
        let acknowledged = DeltaDiscoveryRequest {
            type_url: next.type_url.clone(),
            response_nonce: next.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        let _ended = self.requests.send(acknowledged).await;
        Ok(next)
    }
}

/// What the first answer to a client that asks for this is.
async fn answer(
    channel: Channel,
    node: Node,
    kind: &str,
    name: &str,
) -> Result<DeltaDiscoveryResponse, Status> {
    Client::ask(channel, node, kind, name).await?.next().await
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// A node called `id` of a workload of `service`, at `address`.
fn node(id: &str, namespace: &str, service: &str, address: &str) -> Node {
    let text = |text: &str| value(Kind::StringValue(text.to_owned()));
    let ports = vec![value(Kind::NumberValue(8080.0))];
    let fields = [
        ("service", text(service)),
        ("namespace", text(namespace)),
        ("address", text(address)),
        ("inbound_port", value(Kind::NumberValue(15006.0))),
        ("ports", value(Kind::ListValue(ListValue { values: ports }))),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    let weft = Struct {
        fields: fields.into(),
    };
    let fields = [("weft".to_owned(), value(Kind::StructValue(weft)))].into();
    Node {
        id: id.to_owned(),
        metadata: Some(Struct { fields }),
        ..Node::default()
    }
}

fn named(id: &str) -> Node {
    Node {
        id: id.to_owned(),
        ..Node::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tls_nobody_is_served_without_a_certificate_of_the_mesh() -> anyhow::Result<()> {
    let (weft, other) = tokio::try_join!(Weft::serve(&[]), Weft::serve(&[]))?;
    let roots = weft.roots()?;
    let nobody = secure(weft.secure(), &roots, None).await?;
    let said = answer(nobody.clone(), named("n"), LISTENER, "web").await;
    let status = said.expect_err("nobody");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");

    let foreign = join(&other, "web", 0).await?;
    let said = match secure(weft.secure(), &roots, Some(&foreign)).await {
        Ok(channel) => answer(channel, named("n"), LISTENER, "web").await.err(),
        Err(_) => None,
    };
    let code = said.map_or(Code::Unknown, |status| status.code());
    // The client is through with its part of the handshake before it hears: its request may have been under way.
    let unheard = [Code::Unknown, Code::Unavailable, Code::Cancelled];
    assert!(unheard.contains(&code), "no handshake: {code}");

    let web = join(&weft, "web", 0).await?;
    let channel = secure(weft.secure(), &roots, Some(&web)).await?;
    let said = answer(channel.clone(), named("n"), LISTENER, "web").await?;
    assert_eq!(said.removed_resources, ["web"], "there is none yet");
    for channel in [nobody, channel] {
        let mut csds = ClientStatusDiscoveryServiceClient::new(channel);
        let said = csds
            .fetch_client_status(ClientStatusRequest::default())
            .await;
        let status = said.expect_err("CSDS");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_that_a_service_lists_may_register_as_it_and_no_others() -> anyhow::Result<()>
{
    let weft = Weft::serve(&["--log-level", "info"]).await?;
    let listed = "selector: {app: web}, serviceAccounts: [shopping]";
    let service = workload_service("web", 80, "app: web").replace("selector: {app: web}", listed);
    ensure!(service.contains(listed), "{service}");
    let applied = weft.run(&["apply", "-f", "-"], &service).await?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let roots = weft.roots()?;
    let own = "inbound/default/web";
    let claims = || node("a", "default", "web", "10.0.0.1");
    let web = join(&weft, "web", 0).await?;
    let web = secure(weft.secure(), &roots, Some(&web)).await?;
    let said = answer(web, claims(), LISTENER, own).await;
    let status = said.expect_err("it is not listed");
    assert!(
        status.message().contains("service account shopping"),
        "{status}"
    );
    let shopping = join(&weft, "shopping", 0).await?;
    let shopping = secure(weft.secure(), &roots, Some(&shopping)).await?;
    let mut stream = Client::ask(shopping, claims(), LISTENER, own).await?;
    assert_eq!(stream.next().await?.resources.len(), 1, "its own");
    let endpoints = weft.run(&["get", "endpoints", "-o", "wide"], "").await?.out;
    assert!(
        endpoints.contains("spiffe://cluster.local/ns/default/sa/shopping"),
        "{endpoints}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_without_an_identity_is_audited_and_is_no_endpoint_where_mtls_is_strict()
-> anyhow::Result<()> {
    let weft = Weft::serve(&["--log-level", "info"]).await?;
    let strict = "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthenticationPolicy\nmetadata: {name: strict}\n\
                  spec: {mtls: {mode: STRICT}}\n";
    let service = workload_service("web", 80, "app: web") + strict;
    let applied = weft.run(&["apply", "-f", "-"], &service).await?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let plain = plain(weft.xds()).await?;
    let claims = node("mallory", "default", "web", "10.0.0.66");
    let own = "inbound/default/web";
    let mut stream = Client::ask(plain, claims, LISTENER, own).await?;
    assert_eq!(stream.next().await?.resources.len(), 1, "its own");
    let listed = weft.run(&["get", "endpoints", "-o", "json"], "").await?.out;
    assert!(!listed.contains("10.0.0.66"), "{listed}");
    for told in [
        weft.run(&["get", "endpoints"], "").await?.out,
        weft.run(&["describe", "service", "web"], "").await?.out,
    ] {
        assert!(
            told.contains("(mallory) is no endpoint of web.default:80"),
            "{told}"
        );
    }
    eventually("the audit log tells", || async {
        let log = weft.log();
        let told = "workload registered without an identity node=\"mallory\"";
        ensure!(log.contains(told), "{log}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_registers_as_what_it_has_proved_to_be() -> anyhow::Result<()> {
    let weft = Weft::serve(&["--log-level", "info"]).await?;
    let service = workload_service("web", 80, "app: web");
    let applied = weft.run(&["apply", "-f", "-"], &service).await?;
    ensure!(applied.code == Some(0), "{applied:?}");
    let roots = weft.roots()?;
    let (web, pay) = (join(&weft, "web", 0).await?, join(&weft, "pay", 0).await?);
    let web = secure(weft.secure(), &roots, Some(&web)).await?;
    let pay = secure(weft.secure(), &roots, Some(&pay)).await?;

    for (namespace, service) in [("default", "web"), ("shop", "pay"), ("shop", "web")] {
        let claims = node("a", namespace, service, "10.0.0.1");
        let said = answer(pay.clone(), claims, LISTENER, "web").await;
        let status = said.expect_err(service);
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains("ns/default/sa/pay"), "{status}");
    }
    let id = named("sidecar~10.0.0.1~a.shop~shop");
    let said = answer(pay.clone(), id, LISTENER, "web").await;
    assert_eq!(said.expect_err("shop").code(), Code::PermissionDenied);

    let (own, foreign) = ("inbound/default/web", "inbound/default/web/8080");
    let real = node("a", "default", "web", "10.0.0.1");
    let mut stream = Client::ask(web, real, LISTENER, own).await?;
    assert_eq!(stream.next().await?.resources.len(), 1, "its own");
    // Another one that calls its node the same takes nobody's place, and sees nothing of it.
    let squatter = node("a", "default", "pay", "10.0.0.2");
    let mut squatter = Client::ask(pay.clone(), squatter, LISTENER, own).await?;
    assert_eq!(
        squatter.next().await?.removed_resources,
        [own],
        "as if absent"
    );
    let said = answer(pay, named("b"), LISTENER, foreign).await?;
    assert_eq!(said.removed_resources, [foreign]);
    let proxies = weft.run(&["proxies", "-o", "json"], "").await?.out;
    let proxies: serde_json::Value = serde_json::from_str(&proxies)?;
    let identities = [0, 1].map(|at| proxies[at]["identity"].as_str());
    let expected = ["pay", "web"].map(|it| format!("spiffe://cluster.local/ns/default/sa/{it}"));
    assert_eq!(
        identities.map(Option::unwrap_or_default),
        expected,
        "{proxies}"
    );
    let endpoints = weft.run(&["get", "endpoints", "-o", "json"], "").await?.out;
    assert!(
        endpoints.contains("10.0.0.1") && !endpoints.contains("10.0.0.2"),
        "{endpoints}"
    );

    eventually("the audit log tells", || async {
        let log = weft.log();
        ensure!(log.matches("registration refused").count() == 4, "{log}");
        ensure!(
            log.matches("subscription to what is of others").count() == 2,
            "{log}"
        );
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_certificate() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let roots = weft.roots()?;
    let web = join(&weft, "web", 5).await?;
    let channel = secure(weft.secure(), &roots, Some(&web)).await?;
    let mut stream = Client::ask(channel.clone(), named("n"), LISTENER, "web").await?;
    stream.next().await?;
    let status = stream.next().await.expect_err("it ends");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("has expired"), "{status}");
    let said = answer(channel, named("n"), LISTENER, "web").await;
    let status = said.expect_err("nor is there a new one on this connection");
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    Ok(())
}

/// The PEM of a trust bundle.
fn bundle(response: &DeltaDiscoveryResponse) -> anyhow::Result<String> {
    let [resource] = response.resources.as_slice() else {
        bail!("one secret: {response:?}");
    };
    let any = resource.resource.as_ref().context("a resource")?;
    let secret = Secret::decode(any.value.as_slice())?;
    let Some(Type::ValidationContext(context)) = secret.r#type else {
        bail!("no validation context: {secret:?}");
    };
    match context.trusted_ca {
        Some(DataSource {
            specifier: Some(Specifier::InlineBytes(pem)),
            ..
        }) => Ok(String::from_utf8(pem)?),
        other => bail!("not inline: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trust_bundle_is_a_secret_that_is_pushed_when_it_changes() -> anyhow::Result<()> {
    let (weft, other) = tokio::try_join!(Weft::serve(&[]), Weft::serve(&[]))?;
    let (old, new) = (weft.roots()?, other.roots()?);
    let web = join(&weft, "web", 0).await?;
    let channel = secure(weft.secure(), &old, Some(&web)).await?;
    let mut secured = Client::ask(channel.clone(), named("n"), SECRET, "ROOTCA").await?;
    let mut open = Client::ask(plain(weft.xds()).await?, named("m"), SECRET, "ROOTCA").await?;
    for client in [&mut secured, &mut open] {
        assert_eq!(bundle(&client.next().await?)?, old);
    }
    let both = format!("{old}{new}");
    std::fs::write(weft.folder().join("ca/root-cert.pem"), &both)?;
    for client in [&mut secured, &mut open] {
        assert_eq!(bundle(&client.next().await?)?, both);
    }
    let said = answer(channel, named("n"), SECRET, "default").await?;
    assert_eq!(
        said.removed_resources,
        ["default"],
        "no other secret is served"
    );

    // Whoever's root is taken away is cut off.
    let ca = weft.folder().join("ca");
    for name in [
        "ca-key.pem",
        "ca-cert.pem",
        "cert-chain.pem",
        "root-cert.pem",
    ] {
        std::fs::copy(other.folder().join("ca").join(name), ca.join(name))?;
    }
    assert_eq!(bundle(&open.next().await?)?, new);
    let status = loop {
        match secured.next().await {
            Ok(last) => assert_eq!(bundle(&last)?, new),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert!(status.message().contains("no root"), "{status}");
    Ok(())
}
