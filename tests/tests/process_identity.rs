//! Certificates of workloads: asked for, renewed, refused, and shown to others, with the real program on one side.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use rcgen::{BasicConstraints, SanType};
use rcgen::{CertificateParams, CertificateSigningRequest, DistinguishedName, IsCa, KeyPair};
use rustls::NamedGroup;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tonic::{Code, Status};
use weft_tests::eventually;
use weft_tests::http2::{Http2, bit_by_bit};
use weft_tests::weft::Weft;
use weft_tests::workload::{Workload, config, connect, create, plain, request, secure};

const REVIEWS: &str = "spiffe://cluster.local/ns/default/sa/reviews";
const RATINGS: &str = "spiffe://cluster.local/ns/default/sa/ratings";

/// A token of `weft token create`.
async fn token(weft: &Weft, account: &str, further: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["token", "create", "--service-account", account], further].concat();
    let made = weft.run(&arguments, "").await?;
    ensure!(made.code == Some(0), "{made:?}");
    Ok(made.out.trim().to_owned())
}

/// A page of the API.
async fn page(weft: &Weft, path: &str) -> anyhow::Result<String> {
    let address = weft.api().strip_prefix("http://").context("a URL")?;
    let answer = weft_tests::client::get(address.parse()?, "localhost", path).await?;
    Ok(String::from_utf8(answer.into_body().to_vec())?)
}

fn expect_refused(said: Result<Vec<String>, Status>, code: Code, why: &str) {
    let status = said.expect_err(why);
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(why), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_joins_by_its_token_and_renews_by_its_certificate() -> anyhow::Result<()> {
    let weft = Weft::serve(&["--log-level", "info"]).await?;
    let roots = weft.roots()?;
    let token = token(&weft, "default/reviews", &[]).await?;
    let first = Workload::join(plain(weft.xds()).await?, &token, 3600).await?;
    assert_eq!(first.chain.last(), Some(&roots), "the root comes last");

    let channel = secure(weft.secure(), &roots, Some(&first)).await?;
    let key = KeyPair::generate()?;
    let chain = create(channel.clone(), &request(&key, &[REVIEWS])?, None, 0).await?;
    assert_ne!(chain.first(), first.chain.first());
    let said = create(channel, &request(&key, &[RATINGS])?, None, 0).await;
    expect_refused(said, Code::PermissionDenied, RATINGS);

    let listed = weft.run(&["certs", "-o", "json"], "").await?;
    let listed: serde_json::Value = serde_json::from_str(&listed.out)?;
    let proofs: Vec<_> = listed.as_array().context("a list")?.iter().collect();
    let [renewed, joined] = proofs.as_slice() else {
        bail!("two were issued: {listed}");
    };
    assert_eq!(
        (&joined["identity"], &renewed["identity"]),
        (&REVIEWS.into(), &REVIEWS.into())
    );
    let serial = joined["serial"].as_str().context("a serial")?;
    assert_eq!(renewed["proof"], format!("certificate {serial}"));
    assert!(
        joined["proof"]
            .as_str()
            .is_some_and(|it| it.starts_with("join token "))
    );
    let table = weft.run(&["certs"], "").await?.out;
    assert!(
        table.contains(serial) && table.starts_with("SERIAL"),
        "{table}"
    );

    eventually("the audit log tells of all three", || async {
        let log = weft.log();
        ensure!(log.matches("certificate issued").count() == 2, "{log}");
        ensure!(log.contains("certificate refused"), "{log}");
        ensure!(log.contains(serial) && log.contains(RATINGS), "{log}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_expired_revoked_or_tampered_with_gets_nothing() -> anyhow::Result<()> {
    let weft = Weft::serve(&[]).await?;
    let roots = weft.roots()?;
    let channel = secure(weft.secure(), &roots, None).await?;
    let key = KeyPair::generate()?;
    let good = request(&key, &[])?;

    let said = create(channel.clone(), &good, None, 0).await;
    expect_refused(said, Code::Unauthenticated, "nothing proves who asks");
    let used = token(&weft, "default/reviews", &[]).await?;
    create(channel.clone(), &good, Some(&used), 0).await?;
    let said = create(channel.clone(), &good, Some(&used), 0).await;
    expect_refused(said, Code::Unauthenticated, "used up");
    let short = token(&weft, "default/reviews", &["--ttl", "1s", "--uses", "9999"]).await?;
    eventually("the token expires", || async {
        match create(channel.clone(), &good, Some(&short), 0).await {
            Err(status) if status.message().contains("expired") => Ok(()),
            said => Err(format!("{said:?}")),
        }
    })
    .await;
    let revoked = token(&weft, "default/reviews", &["-o", "json"]).await?;
    let revoked: serde_json::Value = serde_json::from_str(&revoked)?;
    let id = revoked["id"].as_str().context("an id")?;
    assert_eq!(weft.run(&["token", "revoke", id], "").await?.code, Some(0));
    let said = create(channel.clone(), &good, revoked["token"].as_str(), 0).await;
    expect_refused(said, Code::Unauthenticated, "revoked");

    let stays = token(&weft, "default/reviews", &[]).await?;
    let (denied, invalid) = (Code::PermissionDenied, Code::InvalidArgument);
    let mut further = CertificateParams::default();
    further.subject_alt_names = vec![
        SanType::URI(REVIEWS.try_into()?),
        SanType::DnsName("reviews".try_into()?),
    ];
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let damaged = good.replacen('A', "B", 3);
    for (request, code, why) in [
        (request(&key, &[RATINGS])?, denied, RATINGS),
        (request(&key, &[REVIEWS, RATINGS])?, denied, "asks"),
        (serialize(further, &key)?, denied, "names"),
        (serialize(authority, &key)?, denied, "certificate authority"),
        (damaged, invalid, "request"),
        (
            String::new(),
            invalid,
            "not one certificate signing request",
        ),
        ("A".repeat(20_000), invalid, "bytes"),
    ] {
        let said = create(channel.clone(), &request, Some(&stays), 0).await;
        expect_refused(said, code, why);
    }
    let said = create(channel.clone(), &good, Some(&stays), -1).await;
    expect_refused(said, invalid, "validity_duration");
    create(channel, &good, Some(&stays), 0)
        .await
        .context("still not used")?;
    let metrics = page(&weft, "/metrics").await?;
    let refused = "weft_control_plane_certificates_refused_total{reason=\"denied\"} 4";
    assert!(metrics.contains(refused), "{metrics}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_neither_hide_a_stolen_token_nor_leave_half_requests_behind() -> anyhow::Result<()>
{
    let weft = Weft::serve(&["--log-level", "warn"]).await?;
    let channel = secure(weft.secure(), &weft.roots()?, None).await?;
    let key = KeyPair::generate()?;
    let request = request(&key, &[])?;
    let stolen = token(&weft, "default/reviews", &["-o", "json"]).await?;
    let stolen: serde_json::Value = serde_json::from_str(&stolen)?;
    let id = stolen["id"].as_str().context("an id")?;
    assert_eq!(weft.run(&["token", "revoke", id], "").await?.code, Some(0));

    for guess in 0..130 {
        let said = create(channel.clone(), &request, Some(&guess.to_string()), 0).await;
        expect_refused(said, Code::Unauthenticated, "not known");
    }
    let said = create(channel, &request, stolen["token"].as_str(), 0).await;
    expect_refused(said, Code::Unauthenticated, "revoked");
    eventually("the audit log tells whose token it was", || async {
        let log = weft.log();
        let told = |line: &&str| line.contains("certificate refused") && line.contains(id);
        let line = log.lines().rfind(told);
        let line = line.with_context(|| format!("no line: {log}"))?;
        ensure!(line.contains(REVIEWS) && line.contains("revoked"), "{line}");
        Ok(())
    })
    .await;

    let client = Http2::connect(weft.xds()).await?;
    let (half, body) = bit_by_bit();
    let asked =
        http::Request::post("http://weft/istio.v1.auth.IstioCertificateService/CreateCertificate");
    let asked = asked
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    half.send(vec![0, 0, 0, 4, 0, 10].into()).await?; // a message of 1,024 bytes, of which one comes
    let answer = client.begin(asked.body(body)?).await?;
    let status = answer.headers().get("grpc-status").context("a status")?;
    assert!(status == "4" || status == "1", "{answer:?}"); // DEADLINE_EXCEEDED or CANCELLED
    drop(half);
    Ok(())
}

fn serialize(mut params: CertificateParams, key: &KeyPair) -> anyhow::Result<String> {
    params.distinguished_name = DistinguishedName::new();
    let request: CertificateSigningRequest = params.serialize_request(key)?;
    Ok(request.pem()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_believes_what_is_issued_and_shown() -> anyhow::Result<()> {
    if Command::new("openssl")
        .arg("version")
        .output()
        .await
        .is_err()
    {
        ensure!(
            std::env::var_os("WEFT_REQUIRE_PEERS").is_none(),
            "there is no openssl"
        );
        eprintln!("skipped: there is no openssl");
        return Ok(());
    }
    let weft = Weft::serve(&["--secure-name", "weft.example,10.1.2.3"]).await?;
    let token = token(&weft, "default/reviews", &[]).await?;
    let joined = Workload::join(plain(weft.xds()).await?, &token, 0).await?;
    let config = Arc::new(config(&weft.roots()?, Some(&joined))?);
    let stream = connect(weft.secure(), config).await?;
    let group = stream.get_ref().1.negotiated_key_exchange_group();
    let group = group.map(|it| it.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    let [leaf, between, root] = joined.chain.as_slice() else {
        bail!("leaf, intermediate and root: {:?}", joined.chain);
    };
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let (leaf, between) = (write("leaf.pem", leaf)?, write("between.pem", between)?);
    let root = write("root.pem", root)?;
    let said = openssl(
        &["verify", "-x509_strict", "-CAfile"],
        &[&root, Path::new("-untrusted"), &between, &leaf],
    )
    .await?;
    assert!(said.contains("leaf.pem: OK"), "{said}");

    let address = weft.secure().to_string();
    let connect = [
        "s_client",
        "-connect",
        &address,
        "-alpn",
        "h2",
        "-verify_return_error",
        "-CAfile",
    ];
    let names = ["localhost", "weft.example"].map(|name| ["-verify_hostname", name]);
    for name in names.iter().chain(&[["-verify_ip", "10.1.2.3"]]) {
        let said = openssl(&connect, &[&root, Path::new(name[0]), Path::new(name[1])]).await?;
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(
            said.contains("TLSv1.3") && said.contains("ALPN protocol: h2"),
            "{said}"
        );
        assert!(
            said.contains("Acceptable client certificate CA names"),
            "it asks: {said}"
        );
    }
    let said = openssl(&connect, &[&root, Path::new("-tls1_2")]).await?;
    assert!(said.contains("alert protocol version"), "{said}");
    let key = write("key.pem", &joined.key.serialize_pem())?;
    let shows = [
        &root,
        Path::new("-cert"),
        &leaf,
        Path::new("-cert_chain"),
        &between,
        Path::new("-key"),
        &key,
    ];
    let said = openssl(&connect, &shows).await?;
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    Ok(())
}

/// Runs openssl with nothing to read; gives all that it writes.
async fn openssl(words: &[&str], further: &[&Path]) -> anyhow::Result<String> {
    let mut child = Command::new("openssl")
        .args(words)
        .args(further)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    // Says goodbye where it is connected; who verifies files reads nothing.
    let _ = input.write_all(b"Q\n").await;
    drop(input);
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_a_page_or_the_store() -> anyhow::Result<()> {
    let weft = Weft::serve(&["--log-level", "trace"]).await?;
    let roots = weft.roots()?;
    let token = token(&weft, "default/reviews", &["--uses", "2"]).await?;
    let joined = Workload::join(plain(weft.xds()).await?, &token, 0).await?;
    let channel = secure(weft.secure(), &roots, Some(&joined)).await?;
    create(channel, &request(&joined.key, &[])?, None, 0).await?;
    eventually("both are in the log", || async {
        let issued = weft.log().matches("certificate issued").count();
        ensure!(issued == 2, "{issued}");
        Ok(())
    })
    .await;
    let mut places = vec![("the log".to_owned(), weft.log().into_bytes())];
    for name in [
        "/v1/certificates",
        "/v1/tokens",
        "/metrics",
        "/openapi.json",
    ] {
        let text = page(&weft, name).await?;
        places.push((name.to_owned(), text.into_bytes()));
    }
    eventually("what was issued is in the store", || async {
        let store = std::fs::read(weft.folder().join("store.redb"))?;
        ensure!(find(&store, REVIEWS.as_bytes()), "not yet");
        Ok(())
    })
    .await;
    places.push((
        "the store".to_owned(),
        std::fs::read(weft.folder().join("store.redb"))?,
    ));
    let mut secrets = vec![("token".to_owned(), token.into_bytes())];
    for name in ["ca-key.pem", "root-key.pem"] {
        let pem = std::fs::read_to_string(weft.folder().join("ca").join(name))?;
        let der = rcgen::KeyPair::from_pem(&pem)?.serialize_der();
        let line = pem.lines().nth(2).context("a line of the key")?.as_bytes();
        secrets.push((name.to_owned(), line.to_vec()));
        secrets.push((format!("{name} as bytes"), private_part(&der)?));
    }
    for (place, bytes) in &places {
        for (secret, needle) in &secrets {
            assert!(!find(bytes, needle), "{secret} is in {place}");
        }
    }
    Ok(())
}

/// The 32 bytes of a P-256 key in PKCS #8 as ring and aws-lc write it: behind `04 20` (RFC 5915).
fn private_part(der: &[u8]) -> anyhow::Result<Vec<u8>> {
    let at = der.windows(2).position(|it| it == [0x04, 0x20]);
    let at = at.context("an octet string of 32 bytes")? + 2;
    Ok(der.get(at..at + 32).context("32 bytes")?.to_vec())
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|it| it == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_root_is_shown_to_new_connections_and_closes_no_old_one() -> anyhow::Result<()> {
    let (weft, other) = tokio::try_join!(Weft::serve(&[]), Weft::serve(&[]))?;
    let (old, new) = (weft.roots()?, other.roots()?);
    let channel = secure(weft.secure(), &old, None).await?;
    let key = KeyPair::generate()?;
    let good = request(&key, &[])?;
    let token = token(&weft, "default/reviews", &["--uses", "3"]).await?;
    let before = create(channel.clone(), &good, Some(&token), 0).await?;
    let before = Workload { key, chain: before };

    let (ca, next) = (weft.folder().join("ca"), other.folder().join("ca"));
    for name in ["ca-key.pem", "ca-cert.pem", "cert-chain.pem"] {
        std::fs::copy(next.join(name), ca.join(name))?;
    }
    std::fs::write(ca.join("root-cert.pem"), format!("{new}{old}"))?;
    let again = eventually("the new root is shown", || {
        secure(weft.secure(), &new, None)
    })
    .await;
    assert!(
        secure(weft.secure(), &old, None).await.is_err(),
        "the old one is not"
    );
    for channel in [channel, again] {
        let chain = create(channel, &good, Some(&token), 0).await?;
        assert_eq!(chain.last(), Some(&new));
    }
    let renewing = secure(weft.secure(), &new, Some(&before)).await?;
    create(renewing.clone(), &good, None, 0)
        .await
        .context("the old root is trusted still")?;

    std::fs::write(ca.join("root-cert.pem"), &new)?;
    eventually("the old root is trusted no longer", || async {
        match create(renewing.clone(), &good, None, 0).await {
            Err(status) if status.message().contains("no root") => Ok(()),
            said => Err(format!("{said:?}")),
        }
    })
    .await;
    let foreign = secure(weft.secure(), &new, Some(&before)).await;
    let said = match foreign {
        Ok(channel) => create(channel, &good, None, 0)
            .await
            .map(drop)
            .map_err(Into::into),
        Err(error) => Err(error),
    };
    assert!(said.is_err(), "nor in a handshake");
    Ok(())
}
