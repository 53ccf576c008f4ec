//! Who may use the API, and for what.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::{Denied, Refused};
use crate::app::Mesh;
use crate::identity::{AUDIT, Limiter, Role};

/// What decides who may use the API.
pub(super) struct Guard {
    mesh: Arc<Mesh>,
    admin: Option<Token>,
    /// Whether loopback needs a token too.
    required: bool,
    address: SocketAddr,
    limiter: Limiter,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// The name of his token, or `loopback`.
    pub(super) name: String,
    /// What he may do.
    pub(super) role: Role,
}

/// The address at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddr(pub(super) Option<SocketAddr>);

/// What of the API is behind a guard, and for whom it is at least.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) guard: Arc<Guard>,
    pub(super) role: Role,
}

/// Whoever comes over loopback without a token.
const LOOPBACK: &str = "loopback";

/// Whoever has the token that the control plane was started with.
const ADMIN: &str = "--token";

/// The token that the control plane was started with. Compared in constant time, shown nowhere.
struct Token(Box<[u8]>);

impl Token {
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

impl Guard {
    pub(super) fn new(
        mesh: Arc<Mesh>,
        admin: Option<&str>,
        required: bool,
        address: SocketAddr,
    ) -> Self {
        let admin = admin.map(|token| Token(token.as_bytes().into()));
        Self {
            required: required || admin.is_some(),
            mesh,
            admin,
            address,
            limiter: Limiter::default(),
        }
    }

    /// Who asks: by his token where he shows one; without one, whoever comes over loopback and names loopback as his host,
    /// where that is enough, so that no web page can reach the API through somebody's browser.
    fn judge(&self, request: &Request) -> Result<Principal, Refused> {
        if let Some(given) = request.headers().get(AUTHORIZATION) {
            let given = bearer(given.as_bytes());
            let given = given.ok_or_else(|| unauthorized("authorization must be: Bearer TOKEN"))?;
            return self.by_token(given);
        }
        if self.required {
            return Err(unauthorized(
                "this API needs a token: --token or WEFT_TOKEN",
            ));
        }
        match names_loopback(request, self.address) {
            true => Ok(Principal {
                name: LOOPBACK.to_owned(),
                role: Role::Admin,
            }),
            false => Err(Refused::new(
                StatusCode::FORBIDDEN,
                "without a token this API answers to loopback addresses alone",
            )),
        }
    }

    /// Says in the audit log that somebody may not do what he asked for.
    fn audit(&self, Asked { peer, method, path }: &Asked, reason: &str) {
        if self.limiter.may_say() {
            tracing::warn!(target: AUDIT, peer, %method, path, reason, "API request refused");
        }
    }

    fn by_token(&self, given: &str) -> Result<Principal, Refused> {
        if self
            .admin
            .as_ref()
            .is_some_and(|it| it.is(given.as_bytes()))
        {
            return Ok(Principal {
                name: ADMIN.to_owned(),
                role: Role::Admin,
            });
        }
        let found = self.mesh.api_tokens().find(given, Timestamp::now());
        let found = found.map_err(|why| unauthorized(&format!("{why}: --token or WEFT_TOKEN")))?;
        Ok(Principal {
            name: found.name,
            role: found.role,
        })
    }
}

impl Principal {
    /// Whether he may do what is for `role`.
    ///
    /// # Errors
    /// If not.
    pub(super) fn needs(&self, role: Role) -> Result<(), Refused> {
        match self.role >= role {
            true => Ok(()),
            false => Err(Refused::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the token {:?} has the role {}, and this is for the role {role}",
                    self.name, self.role
                ),
            )),
        }
    }
}

/// Lets a request through whose sender may do what is behind the door.
pub(super) async fn check(
    State(Door { guard, role }): State<Door>,
    mut request: Request,
    next: Next,
) -> Response {
    let judged = guard.judge(&request);
    let judged = judged.and_then(|principal| principal.needs(role).map(|()| principal));
    let asked = Asked::of(&request);
    match judged {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            let answer = next.run(request).await;
            if let Some(Denied(reason)) = answer.extensions().get() {
                guard.audit(&asked, reason);
            }
            answer
        }
        Err(refused) => {
            guard.audit(&asked, &refused.body.error);
            let mut answer = refused.into_response();
            if answer.status() == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer");
                answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            answer
        }
    }
}

/// What was asked for, and from where, as the audit log tells it.
struct Asked {
    peer: Option<String>,
    method: Method,
    path: String,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<PeerAddr>();
        Self {
            peer: peer.and_then(|it| it.0).map(|it| it.to_string()),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        }
    }
}

fn unauthorized(why: &str) -> Refused {
    Refused::new(StatusCode::UNAUTHORIZED, why)
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(header: &[u8]) -> Option<&str> {
    let (scheme, given) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(given)
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
        let token = Token(b"secret".as_slice().into());
        for wrong in ["", "s", "secre", "secret1", "Secret", "secretsecret"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(token.is(b"secret"));
        assert_eq!(bearer(b"Bearer secret"), Some("secret"));
        assert_eq!(bearer(b"Basic secret"), None);
        assert_eq!(bearer(b"Bearer"), None);
        assert!(!Token(Box::default()).is(b"x"));
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
