//! Servers of secrets that tell what they should not.

use std::path::Path;

use anyhow::{Context, ensure};
use weft_tests::ads::AdsServer;
use weft_tests::eventually;
use weft_tests::proxy::ProxyProcess;
use weft_tests::secrets::{certificate, roots, shown_at};
use weft_tests::upstream::Upstream;
use weft_xds_proto::pb::envoy::config::core::v3::data_source::Specifier;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use weft_xds_proto::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use weft_xds_proto::pb::google::protobuf::Any;
use weft_xds_proto::type_url;

use crate::scene::{at, bootstrap_of, cluster, from_agent, listener, pki, shows, start};

/// Resources that a server should not send, under the name of a secret that is in use.
fn hostile(folder: &Path) -> anyhow::Result<Vec<(&'static str, Any)>> {
    let fits_not = {
        let mut chain = certificate("own", folder, "a")?;
        let other = certificate("own", folder, "b")?;
        let (Some(Type::TlsCertificate(into)), Some(Type::TlsCertificate(from))) =
            (&mut chain.r#type, other.r#type)
        else {
            anyhow::bail!("no certificates");
        };
        into.private_key = from.private_key;
        chain
    };
    let any = |secret| weft_xds_proto::any::pack(&secret);
    let garbage = Any {
        type_url: type_url::SECRET.to_owned(),
        value: vec![0xff; 100_000],
    };
    Ok(vec![
        (
            "the private key is not that of the certificate",
            any(fits_not),
        ),
        ("must hold a tls_certificate", any(roots("own", folder)?)),
        (
            "own: name: must be \"own\"",
            any(certificate("other", folder, "a")?),
        ),
        ("", garbage),
    ])
}

#[tokio::test]
async fn whatever_a_server_tells_the_last_good_secret_and_all_others_stay() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, pki) = pki()?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    server.put("other", &certificate("other", folder.path(), "b")?);
    let source = from_agent("DELTA_GRPC");
    let listeners = [
        listener("web", "own", &source),
        listener("more", "other", &source),
    ];
    let proxy = start(&listeners, &at(server.address()), app.address()).await?;
    proxy.ready().await;
    for (why, told) in hostile(folder.path())? {
        let nacks = || {
            server
                .asked()
                .iter()
                .filter(|it| it.error.is_some())
                .count()
        };
        let before = nacks();
        server.put_any("own", told);
        eventually("it is refused", || async {
            ensure!(nacks() > before, "no refusal");
            Ok(())
        })
        .await;
        let nack = server.last_nack(type_url::SECRET).context("a refusal")?;
        assert!(nack.contains(why) && !nack.contains("PRIVATE"), "{nack}");
        shows(&proxy, "web", folder.path(), "a").await?;
        shows(&proxy, "more", folder.path(), "b").await?;
    }
    // More than is read at all.
    let streams = || server.asked().iter().map(|it| it.stream).max();
    let before = streams();
    let huge = Any {
        type_url: type_url::SECRET.to_owned(),
        value: vec![0; 8 << 20],
    };
    server.put_any("own", huge);
    eventually("the stream is left and opened again", || async {
        ensure!(streams() > before, "the same stream");
        Ok(())
    })
    .await;
    shows(&proxy, "web", folder.path(), "a").await?;
    pki.issue_for_host("a", "a.test")?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    shows(&proxy, "web", folder.path(), "a").await?;
    proxy.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_flood_of_rotations_ends_with_the_last_and_holds_up_nobody() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, pki) = pki()?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    server.put("other", &certificate("other", folder.path(), "b")?);
    let source = from_agent("DELTA_GRPC");
    let listeners = [
        listener("web", "own", &source),
        listener("more", "other", &source),
    ];
    let proxy = start(&listeners, &at(server.address()), app.address()).await?;
    proxy.ready().await;
    pki.issue_for_host("c", "c.test")?;
    let forms = [
        certificate("own", folder.path(), "a")?,
        certificate("own", folder.path(), "c")?,
    ];
    for turn in 0..3_000 {
        server.put("own", &forms[turn % 2]);
        if turn % 100 == 0 {
            shows(&proxy, "more", folder.path(), "b").await?;
        }
    }
    shows(&proxy, "web", folder.path(), "c").await?;
    assert_eq!(server.last_nack(type_url::SECRET), None);
    proxy.shutdown().await;
    Ok(())
}

/// The certificate `a` with this much text around it, which PEM takes for nothing.
fn padded(folder: &Path, bytes: usize, filler: char) -> anyhow::Result<Secret> {
    let mut secret = certificate("own", folder, "a")?;
    let Some(Type::TlsCertificate(tls)) = &mut secret.r#type else {
        anyhow::bail!("no certificate");
    };
    let chain = tls.certificate_chain.as_mut().context("a chain")?;
    let Some(Specifier::InlineBytes(pem)) = &mut chain.specifier else {
        anyhow::bail!("no bytes");
    };
    let line = filler.to_string().repeat(99) + "\n";
    pem.extend(line.repeat(bytes / 100).bytes());
    Ok(secret)
}

#[tokio::test]
async fn secrets_as_large_as_may_be_take_memory_that_has_a_bound() -> anyhow::Result<()> {
    let app = Upstream::tcp("app").await;
    let (folder, _pki) = pki()?;
    let server = AdsServer::start().await?;
    server.put("own", &certificate("own", folder.path(), "a")?);
    let listener = listener("web", "own", &from_agent("DELTA_GRPC"));
    let text = bootstrap_of(
        &[listener],
        &cluster("agent", &at(server.address())),
        app.address(),
    );
    let proxy = ProxyProcess::start(&text.to_string(), &[]).await?;
    let address = proxy.address_of("web").await;
    eventually("it serves", || shown_at(address)).await;
    let before = proxy.resident_kib()?;
    let forms = [
        padded(folder.path(), 3_900_000, 'x')?,
        padded(folder.path(), 3_900_000, 'y')?,
    ];
    let mut most = before;
    for turn in 0..200 {
        server.put("own", &forms[turn % 2]);
        let acks = server.acks(type_url::SECRET);
        if turn % 10 == 0 {
            eventually("it is taken", || async {
                ensure!(server.acks(type_url::SECRET) > acks, "no answer");
                Ok(())
            })
            .await;
        }
        most = most.max(proxy.resident_kib()?);
    }
    assert_eq!(server.last_nack(type_url::SECRET), None);
    assert!(
        most - before < 96 * 1024,
        "{before} KiB before, at most {most} KiB"
    );
    shown_at(address).await?;
    Ok(())
}
