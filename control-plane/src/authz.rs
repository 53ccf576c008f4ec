//! Who may call whom, asked beforehand: by the listener that the translation makes and the code that proxies judge by.

mod question;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;

use weft_config::diag::{Diagnostics, FieldPath, near_name};
use weft_config::gateway_api::{AppProtocol, Object, ServiceName, ServiceRef};
use weft_config::listener::{ChainAction, FilterChain, HttpFilter, Listener};
use weft_config::policy::access::{AccessFilter, Asked, Peer};
use weft_config::policy::authn::{JwtAuthn, Requirement};
use weft_config::route::normalize_path;
use weft_config::spiffe::TrustDomain;
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;

pub use self::question::{Caller, Question};
use self::question::{Head, claims};
use self::verdict::Book;
pub use self::verdict::{DecidedBy, Verdict};
use crate::translate::{self, Index, Registration};

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthzError {
    /// Nobody is called so.
    #[error("there is no service {service}{hint}")]
    NoService {
        /// The service.
        service: ServiceName,
        /// What may have been meant; may be empty.
        hint: String,
    },
    /// The service has no such port.
    #[error("{service} has no port {port}; it has {known}")]
    NoPort {
        /// The service.
        service: ServiceName,
        /// The port.
        port: u16,
        /// Those it has.
        known: String,
    },
    /// The service has several ports and none was said.
    #[error("say which port of {service}: {known}")]
    WhichPort {
        /// The service.
        service: ServiceName,
        /// Those it has.
        known: String,
    },
    /// Proxies would not take what the policies make.
    #[error("proxies would refuse the listener of {service}: {faults}")]
    Refused {
        /// The service.
        service: ServiceName,
        /// Why.
        faults: String,
    },
    /// No proxy would judge such a path.
    #[error("the path {path:?} would be answered 400: {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
}

impl AuthzError {
    fn no_service(service: &ServiceName, index: &Index) -> Self {
        let known = index.services().keys();
        let elsewhere = || known.clone().find(|it| it.name == service.name);
        let here = known.clone().filter(|it| it.namespace == service.namespace);
        let near = near_name(&service.name, here.map(|it| it.name.as_str()));
        Self::NoService {
            service: service.clone(),
            hint: match (near, elsewhere()) {
                (Some(near), _) => format!(", did you mean `{near}`?"),
                (None, Some(other)) => format!(", but there is {}.{}", other.name, other.namespace),
                (None, None) => String::new(),
            },
        }
    }
}

/// Judges a call as the sidecar of the service would. `workloads` are those that registered; `trust_domain` is the one that TLS of the
/// mesh takes identities of, `None`: any; `place` says where a rule is written.
///
/// # Errors
/// If nobody could judge it.
pub fn check(
    question: &Question,
    index: &Index,
    workloads: &[Arc<Registration>],
    trust_domain: Option<&TrustDomain>,
    place: &dyn Fn(&Object, usize) -> Option<String>,
) -> Result<Verdict, AuthzError> {
    let service = index.services().get(&question.to);
    let service = service.ok_or_else(|| AuthzError::no_service(&question.to, index))?;
    let (port, protocol) = port(question, index, service)?;
    let connection = format!("connection to {}:{port}", question.to);
    if !translate::has_sidecars(index, service) {
        return Ok(Verdict::nobody_judges(connection));
    }
    let app = translate::application_port(index, service, port);
    let listener = listener(index, service, workloads, app)?;
    let (name, members) = translate::called_by(index, service, workloads, app);
    let book = Book {
        policies: &translate::policies_on(index, &name, &members, app),
        place,
    };
    let names = question.from.names();
    let chain = match chain(&listener, app, protocol, names.is_some()) {
        Way::Chain(chain) => chain,
        Way::Nowhere => return Ok(Verdict::everybody(connection)),
        Way::Closed => return Ok(Verdict::strangers_stay_out(connection)),
    };
    if chain.tls.is_some()
        && let Some(own) = trust_domain.filter(|own| question.from.is_foreign(own))
    {
        return Ok(Verdict::foreigners_stay_out(connection, own));
    }
    let mut verdict = judge(question, chain, (port, app), &book)?;
    if names.is_some() && chain.tls.is_none() {
        let note = "an AuthenticationPolicy says DISABLE there: nobody can show who he is, and the identity counts for nothing";
        verdict.notes.push(note.to_owned());
    }
    Ok(verdict)
}

/// Judges a call that comes to a chain, on a port of the service and that of the application behind it.
fn judge(
    question: &Question,
    chain: &FilterChain,
    (port, app): (u16, u16),
    book: &Book<'_>,
) -> Result<Verdict, AuthzError> {
    let claims = claims(question);
    // Where sidecars speak in plain, nobody proves anything.
    let names = question.from.names().filter(|_| chain.tls.is_some());
    let (filters, head) = filters(question, chain, port)?;
    let source = question.from.source();
    let asked = Asked {
        peer: names.as_deref().map(|names| Peer { names, subject: "" }),
        source,
        remote: source,
        destination: SocketAddr::from(([127, 0, 0, 1], app)),
        server_name: "",
        head: head.as_ref().map(|head| head as _),
        // Where nobody looks at tokens, nobody knows what they say.
        claims: Some(&claims).filter(|_| looked_at(chain).is_some()),
    };
    let judged = match &head {
        Some(head) => head.to_string(),
        None => format!("connection to {}:{port}", question.to),
    };
    if question.claims.is_empty() && looked_at(chain).is_some_and(demands) {
        return Ok(Verdict::nobody_stays_out(judged));
    }
    let mut verdict = Verdict::everybody(judged);
    for filter in filters {
        if !verdict.pass(filter, &asked, book) {
            break;
        }
    }
    Ok(verdict)
}

fn port(
    question: &Question,
    index: &Index,
    service: &ServiceRef,
) -> Result<(u16, AppProtocol), AuthzError> {
    let ports = index.resources().service_ports(service);
    let known = || {
        let ports: Vec<String> = ports.iter().map(|it| it.port.to_string()).collect();
        ports.join(", ")
    };
    let found = match (question.port, ports.as_slice()) {
        (Some(port), all) => all.iter().find(|it| it.port == port),
        (None, [only]) => Some(only),
        (None, _) => {
            return Err(AuthzError::WhichPort {
                service: service.name.clone(),
                known: known(),
            });
        }
    };
    let found = found.map(|it| (it.port, it.app_protocol));
    found.ok_or_else(|| AuthzError::NoPort {
        service: service.name.clone(),
        port: question.port.unwrap_or_default(),
        known: known(),
    })
}

fn listener(
    index: &Index,
    service: &ServiceRef,
    workloads: &[Arc<Registration>],
    app: u16,
) -> Result<Listener, AuthzError> {
    let resource = translate::inbound_listener(index, service, workloads, app);
    let mut diag = Diagnostics::new();
    let proto: Option<pb::Listener> = prost::Message::decode(resource.value()).ok();
    let listener = proto.and_then(|it| Listener::parse(&it, &FieldPath::root(), &mut diag));
    listener.ok_or_else(|| {
        let faults = diag.findings().iter().map(ToString::to_string);
        AuthzError::Refused {
            service: service.name.clone(),
            faults: faults.collect::<Vec<_>>().join("; "),
        }
    })
}

/// What becomes of a call before any rule is asked.
enum Way<'a> {
    /// It takes this chain.
    Chain(&'a FilterChain),
    /// There is none for the port: no policy says anything.
    Nowhere,
    /// Those there are take workloads alone that show who they are.
    Closed,
}

/// The chain that such a call takes: that of sidecars where its caller is one, that of requests unless the port is one of bytes.
fn chain(listener: &Listener, app: u16, protocol: AppProtocol, proves: bool) -> Way<'_> {
    let named = |what: &str| {
        let name = format!("{what}|{app}");
        listener.filter_chains.iter().find(|it| *it.name == *name)
    };
    let of = |http: &str, tcp: &str| match protocol {
        AppProtocol::Tcp => named(tcp),
        _ => named(http).or_else(|| named(tcp)),
    };
    let (mesh, plain) = (of("mesh-http", "mesh-tcp"), of("http", "tcp"));
    match (mesh.filter(|_| proves).or(plain), mesh) {
        (Some(chain), _) => Way::Chain(chain),
        (None, Some(_)) => Way::Closed,
        (None, None) => Way::Nowhere,
    }
}

/// What looks at the tokens of requests on a chain.
fn looked_at(chain: &FilterChain) -> Option<&JwtAuthn> {
    let ChainAction::Http(hcm) = &chain.action else {
        return None;
    };
    hcm.filters.iter().find_map(|filter| match filter {
        HttpFilter::Jwt(filter) => Some(&**filter),
        _ => None,
    })
}

/// Whether a request must bring a token, as the control plane has it: one rule for all.
fn demands(filter: &JwtAuthn) -> bool {
    filter.rules.iter().any(|rule| match rule.requires {
        Some(Requirement::Provider { .. } | Requirement::Any(_) | Requirement::All(_)) => true,
        Some(Requirement::AllowMissing(_) | Requirement::AllowMissingOrFailed(_)) | None => false,
    })
}

/// What judges on a chain, in order, and the head that it judges; `None` for a connection.
fn filters<'a>(
    question: &'a Question,
    chain: &'a FilterChain,
    port: u16,
) -> Result<(Vec<&'a AccessFilter>, Option<Head<'a>>), AuthzError> {
    let connection = chain.access.iter().map(|it| &**it);
    let ChainAction::Http(hcm) = &chain.action else {
        return Ok((connection.collect(), None));
    };
    let path = match hcm.normalize_path || hcm.merge_slashes {
        true => normal(&question.path, hcm.merge_slashes)?,
        false => question.path.clone().into_bytes(),
    };
    let gates = hcm.filters.iter().filter_map(|filter| match filter {
        HttpFilter::Access(filter) => Some(&**filter),
        _ => None,
    });
    let filters = connection.chain(gates).collect();
    Ok((filters, Some(Head::of(question, port, path))))
}

fn normal(path: &str, merge_slashes: bool) -> Result<Vec<u8>, AuthzError> {
    let mut normal = Vec::new();
    match normalize_path(path.as_bytes(), merge_slashes, &mut normal) {
        Ok(()) => Ok(normal),
        Err(error) => Err(AuthzError::Path {
            path: path.to_owned(),
            reason: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests;
