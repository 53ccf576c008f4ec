//! Who may use the API.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

use super::Refused;

/// The token that requests must carry. Compared in constant time, shown nowhere.
#[derive(Clone)]
pub(super) struct Token(Box<[u8]>);

impl Token {
    pub(super) fn new(token: &str) -> Self {
        Self(token.as_bytes().into())
    }

    /// Whether `given` is the token, in a time that says nothing about where they differ.
    fn is(&self, given: &[u8]) -> bool {
        let mut difference = u8::from(self.0.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            let own = self
                .0
                .get(index % self.0.len().max(1))
                .copied()
                .unwrap_or(0);
            difference |= byte ^ own;
        }
        std::hint::black_box(difference) == 0
    }
}

/// Lets a request through that carries the token, where one is set; without one, that comes over loopback and names
/// loopback as its host, so that no web page can reach the API through somebody's browser.
pub(super) async fn check(
    State((token, address)): State<(Option<Token>, SocketAddr)>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    match token {
        Some(token)
            if !request
                .headers()
                .get(AUTHORIZATION)
                .is_some_and(|given| carries(given.as_bytes(), &token)) =>
        {
            Err(Refused::new(
                StatusCode::UNAUTHORIZED,
                match request.headers().contains_key(AUTHORIZATION) {
                    true => "this is not the token of this API: --token or WEFT_TOKEN",
                    false => "this API needs its token: --token or WEFT_TOKEN",
                },
            ))
        }
        None if !names_loopback(&request, address) => Err(Refused::new(
            StatusCode::FORBIDDEN,
            "without a token this API answers to loopback addresses alone",
        )),
        _ => Ok(next.run(request).await),
    }
}

fn carries(header: &[u8], token: &Token) -> bool {
    match header.split_at_checked(7) {
        Some((scheme, given)) => scheme.eq_ignore_ascii_case(b"bearer ") && token.is(given),
        None => false,
    }
}

fn names_loopback(request: &Request, address: SocketAddr) -> bool {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host.and_then(|host| host.parse::<Uri>().ok()?.host().map(str::to_owned))
    else {
        return false;
    };
    let literal = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || literal.is_ok_and(|ip| ip.is_loopback() || ip == address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_taken() {
        let token = Token::new("secret");
        for wrong in ["", "s", "secre", "secret1", "Secret", "secretsecret"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(token.is(b"secret"));
        assert!(carries(b"Bearer secret", &token));
        assert!(!carries(b"Basic secret", &token));
        assert!(!carries(b"Bearer", &token));
        assert!(!Token::new("").is(b"x"));
    }

    #[test]
    fn a_foreign_host_is_not_loopback() {
        let address = SocketAddr::from(([127, 0, 0, 1], 15014));
        let ask = |host: &str| {
            let request = Request::builder()
                .header(HOST, host)
                .body(axum::body::Body::empty())
                .unwrap();
            names_loopback(&request, address)
        };
        for right in [
            "127.0.0.1:15014",
            "localhost:15014",
            "localhost",
            "[::1]:15014",
        ] {
            assert!(ask(right), "{right}");
        }
        for wrong in [
            "evil.example:15014",
            "10.0.0.1",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!ask(wrong), "{wrong}");
        }
    }
}
