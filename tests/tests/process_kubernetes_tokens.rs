//! Service-account tokens of Kubernetes instead of join tokens, with the real program on one side.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::json;
use tonic::Code;
use weft_tests::weft::Weft;
use weft_tests::workload::{Workload, create, plain, request};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A token of the service account `reviews` in `default`, for this audience.
fn token(key: &EncodingKey, audience: &str, lifetime: Duration) -> anyhow::Result<String> {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH)? + lifetime;
    let claims = json!({
        "iss": ISSUER, "aud": [audience], "sub": "system:serviceaccount:default:reviews",
        "exp": expires.as_secs(), "jti": "c0ffee",
    });
    Ok(encode(&Header::new(Algorithm::ES256), &claims, key)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_of_the_cluster_needs_no_join_token() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let jwks = folder.path().join("jwks.json");
    let key = |pair: KeyPair| EncodingKey::from_ec_der(&pair.serialize_der());
    let (cluster, stranger) = (key(KeyPair::generate()?), key(KeyPair::generate()?));
    let keys = vec![Jwk::from_encoding_key(&cluster, Algorithm::ES256)?];
    std::fs::write(&jwks, serde_json::to_string(&JwkSet { keys })?)?;
    let weft = Weft::serve(&["--kubernetes-jwks", jwks.to_str().context("text")?]).await?;

    let hour = Duration::from_secs(3600);
    let channel = plain(weft.xds()).await?;
    let good = token(&cluster, "weft", hour)?;
    for _ in 0..2 {
        Workload::join(channel.clone(), &good, 0).await?;
    }
    let listed = weft.run(&["certs", "-o", "json"], "").await?.out;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    assert_eq!(
        listed[0]["identity"],
        "spiffe://cluster.local/ns/default/sa/reviews"
    );
    assert_eq!(listed[0]["proof"], "kubernetes token c0ffee");

    let csr = request(&KeyPair::generate()?, &[])?;
    for (token, why) in [
        (token(&stranger, "weft", hour)?, "Jwt verification fails"),
        (token(&cluster, "api", hour)?, "audience"),
        (token(&cluster, "weft", Duration::ZERO)?, "expired"),
        (
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            "[alg] is not supported",
        ),
        ("weft-join-unknown".to_owned(), "not known"),
    ] {
        let said = create(channel.clone(), &csr, Some(&token), 0).await;
        let status = said.expect_err(why);
        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
        assert!(status.message().contains(why), "{why}: {status}");
    }
    let made = weft
        .run(&["token", "create", "--service-account", "default/a"], "")
        .await?;
    Workload::join(channel, made.out.trim(), 0)
        .await
        .context("a join token beside them")?;
    Ok(())
}
