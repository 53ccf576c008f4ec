//! Tokens: judged among the filters, before whatever asks what they say. What must wait for keys is resumed there.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use weft_config::flag::ResponseFlag;
use weft_config::jwt::Refused;
use weft_config::policy::authn::{JwtOverride, Place, Requirement, is_parameter};

use super::exchange::{Exchange, ExchangeId, Phase};
use super::filters::Verdict;
use super::local_reply::{Body, LocalReply};
use super::request::Refusal;
use super::{Action, Engine};
use crate::http::head::{Head, Known, Scheme};
use crate::policy::jwt::{Accepted, Judging, JwtGate, KEYS_WAIT_MAX, Needs, Opinion, TokenCache};
use crate::route::Routed;
use crate::telemetry::Limit;

/// Requests of a worker that wait for keys at once.
const WAITING_MAX: usize = 1024;
/// Bytes of a request's address that its caller is told.
const REALM_BYTES_MAX: usize = 256;

impl Engine {
    /// Has a gate judge the tokens of a request.
    pub(super) fn authenticate(
        &mut self,
        id: ExchangeId,
        gate: &Arc<JwtGate>,
    ) -> Result<Verdict, Refusal> {
        let Some(exchange) = self.exchanges.get_mut(id) else {
            return Ok(Verdict::Wait);
        };
        let until = exchange.started_at + KEYS_WAIT_MAX;
        let patient = self.now < until;
        let awaited = exchange.authenticate(gate, &mut self.tokens, patient)?;
        let Some((keys, seen)) = awaited else {
            return Ok(Verdict::Next);
        };
        if self.keying >= WAITING_MAX {
            self.scope.limits.hit(Limit::Keys);
            return Err(exchange.denied(gate, Refused::Fetch));
        }
        self.keying += 1;
        gate.stats().waited.inc();
        self.actions.push(Action::Keys {
            exchange: id,
            keys,
            seen,
            until,
        });
        Ok(Verdict::Wait)
    }

    /// Keys that a request waited for may be there.
    pub(crate) fn keyed(&mut self, id: ExchangeId, now: Instant) {
        self.now = now;
        self.keying = self.keying.saturating_sub(1);
        let phase = self.exchanges.get(id).map(|exchange| exchange.phase);
        if matches!(phase, Some(Phase::Filtering(_))) {
            self.proceed(id);
        }
        self.settle();
    }
}

/// Keys to wait for, and how many attempts to get them had ended.
type Awaited = Option<(Arc<crate::policy::Keys>, u64)>;

impl Exchange {
    /// Judges the tokens of the request by a gate, and does with them what it says.
    fn authenticate(
        &mut self,
        gate: &Arc<JwtGate>,
        cache: &mut TokenCache,
        patient: bool,
    ) -> Result<Awaited, Refusal> {
        let route = self.routed.as_ref().and_then(of_route);
        let opinion = match gate.needs(&self.head, route) {
            Needs::Nothing => Opinion::Pass(Accepted::new()),
            Needs::Tokens(requirement) => self.judge_tokens(gate, requirement, cache, patient),
            Needs::Unknown => return Err(misrouted(gate)),
        };
        match opinion {
            Opinion::Pass(accepted) => {
                self.take_tokens(gate, &accepted);
                Ok(None)
            }
            Opinion::Wait(keys, seen) => Ok(Some((keys, seen))),
            Opinion::Refused(why) => Err(self.denied(gate, why)),
        }
    }

    /// The same for a request without a route, which waits for nothing.
    pub(super) fn authenticate_astray(
        &mut self,
        gate: &Arc<JwtGate>,
        cache: &mut TokenCache,
    ) -> Result<(), Refusal> {
        match self.authenticate(gate, cache, false)? {
            None => Ok(()),
            Some(_) => Err(self.denied(gate, Refused::Fetch)),
        }
    }

    fn judge_tokens<'g>(
        &self,
        gate: &'g JwtGate,
        requirement: &'g Requirement,
        cache: &mut TokenCache,
        patient: bool,
    ) -> Opinion<'g> {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let judging = Judging {
            head: &self.head,
            // A clock before 1970 lets no token with a beginning pass.
            wall: wall.map_or(0, |since| since.as_secs()),
            since: self.started_at,
            patient,
            cache,
        };
        gate.judge(requirement, judging)
    }

    /// What only good tokens may say is removed, always; then these say it.
    fn take_tokens(&mut self, gate: &JwtGate, accepted: &Accepted<'_>) {
        gate.stats().allowed.inc();
        for place in accepted.iter().filter_map(|(_, place)| *place) {
            empty(&mut self.head, place);
        }
        for name in gate.config().reserved() {
            self.head.remove_name(name.as_bytes());
        }
        // Of several tokens the last one that is looked at has the last word, as in Envoy.
        for (good, _) in accepted {
            for (name, value) in good.fields() {
                self.head.add(name, value);
            }
            good.tell(&mut self.claims);
        }
    }

    fn denied(&self, gate: &JwtGate, why: Refused) -> Refusal {
        gate.stats().refuse(why);
        let text = why.to_string();
        let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
        let mut reply = LocalReply::new(why.status(), ResponseFlag::UAEX, details);
        if gate.config().strip_failure_response {
            reply.body = Body::Empty;
            return Box::new(reply);
        }
        reply.body = Body::Text(text.into());
        let invalid = match why {
            Refused::Missing => "",
            _ => ", error=\"invalid_token\"",
        };
        let challenge = format!("Bearer realm=\"{}\"{invalid}", realm(&self.head));
        Box::new(reply.with("www-authenticate", challenge))
    }
}

/// What a request hears whose route names a requirement that the filter does not have.
fn misrouted(gate: &JwtGate) -> Refusal {
    gate.stats().refuse(Refused::NoKeys);
    let details = "jwt_authn_access_denied{the_requirement_that_the_route_names_is_not_there}";
    let mut reply = LocalReply::new(403, ResponseFlag::UAEX, details);
    reply.body = match gate.config().strip_failure_response {
        true => Body::Empty,
        false => Body::Text("Failed JWT authentication".into()),
    };
    Box::new(reply)
}

/// What the cluster drawn says instead of the filter's rules, else the route.
fn of_route(routed: &Routed) -> Option<&JwtOverride> {
    let drawn = routed.weighted().and_then(|it| it.overrides.jwt.as_ref());
    drawn.or_else(|| routed.route()?.overrides.jwt.as_ref())
}

/// Takes a token out of a request.
fn empty(head: &mut Head, place: &Place) {
    match place {
        Place::Header { name, .. } => drop(head.remove_name(name.as_bytes())),
        Place::Bearer => drop(head.remove_name(b"authorization")),
        Place::Parameter(name) => {
            let path = without_parameter(head.path(), name.as_bytes());
            head.set_path(&path);
        }
        Place::Cookie(_) => {}
    }
}

/// The path without the parameters of a name; what else there is stays as it was sent.
fn without_parameter(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut parts = path.splitn(2, |byte| *byte == b'?');
    let mut out = parts.next().unwrap_or_default().to_vec();
    let Some(query) = parts.next() else {
        return out;
    };
    let kept = query
        .split(|byte| *byte == b'&')
        .filter(|pair| !is_parameter(pair, name));
    let mut between = b'?';
    for pair in kept {
        out.push(between);
        out.extend_from_slice(pair);
        between = b'&';
    }
    out
}

/// What was asked for, for the challenge: without its query, in which a token may stand.
fn realm(head: &Head) -> String {
    let scheme = match head.get(Known::XForwardedProto) {
        Some(b"https") => "https",
        _ if head.scheme() == Scheme::Https => "https",
        _ => "http",
    };
    let path = head.path().split(|byte| *byte == b'?').next();
    let path = path.unwrap_or_default().iter().take(REALM_BYTES_MAX);
    let plain = |byte: &&u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let place = head.authority().iter().take(REALM_BYTES_MAX).chain(path);
    let place = place.filter(plain).map(|byte| char::from(*byte));
    format!("{scheme}://{}", place.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_taken_out_and_the_others_stay_as_they_were_sent() {
        for (path, wanted) in [
            ("/a?access_token=x", "/a"),
            ("/a?access_token", "/a"),
            ("/a?b=%20&access_token=x&c", "/a?b=%20&c"),
            ("/a?access%5ftoken=x&access_token=y&d=1", "/a?d=1"),
            ("/a?b=access_token", "/a?b=access_token"),
            ("/a", "/a"),
        ] {
            let found = without_parameter(path.as_bytes(), b"access_token");
            assert_eq!(found, wanted.as_bytes(), "{path}");
        }
    }

    #[test]
    fn the_realm_tells_neither_query_nor_quotes() {
        let head = Head::request(b"GET", b"a.test:80", b"/x\"y\\z?access_token=secret");
        assert_eq!(realm(&head), "http://a.test:80/xyz");
    }
}
