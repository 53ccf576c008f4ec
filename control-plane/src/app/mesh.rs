//! What the mesh looks like from the control plane: the questions of the API, answered.

mod access;
mod services;
mod vitals;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_config::diag::Finding;
use weft_config::gateway_api::{Kind, Object, ObjectKey, Resources, ServiceName, Spec};

pub(crate) use self::vitals::Vitals;
use super::identity::Identity;
use super::publish::View;
use crate::accept::Bound;
use crate::api::model::{ProxyBody, Refusal};
use crate::authz::{self, AuthzError, Question, Verdict};
use crate::identity::{ApiTokens, Issuance, LiveAuthority, Tokens};
use crate::snapshot::{AskedName, Host, INBOUND_PREFIX, NodeView};
use crate::source::files;
use crate::status::{ProxyState, ProxyStatus, StatusBoard, Waiting};
use crate::store::{ObjectChange, Store};
use crate::translate::{self, route_status};
use crate::xds::XdsServer;

/// How long a revision may take from the store into a snapshot; above every gathering of changes.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// The mesh as it is.
pub struct Mesh {
    store: Arc<Store>,
    view: watch::Receiver<View>,
    board: Arc<StatusBoard>,
    directory: Option<Directory>,
    xds: XdsServer,
    api_bound: Arc<Bound>,
    identity: Identity,
    domain: Arc<str>,
    /// Files of the watched directory that could not be put in force at the start, and of which nothing was before.
    unread: Vec<String>,
}

/// What is known of the watched directory, where there is one.
pub(super) type Directory = watch::Receiver<Vec<Finding>>;

/// Where the proxies stand with a revision, by node id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Those that acknowledged it.
    pub acknowledged: Vec<String>,
    /// Those that refused it, and why.
    pub refused: Vec<Refusal>,
    /// Those that have not answered.
    pub waiting: Vec<String>,
    /// Those that were waited for and are gone.
    pub left: Vec<String>,
}

impl Mesh {
    #[expect(
        clippy::too_many_arguments,
        reason = "all that the API answers from, handed over once"
    )]
    pub(super) fn new(
        store: Arc<Store>,
        view: watch::Receiver<View>,
        board: Arc<StatusBoard>,
        directory: Option<Directory>,
        xds: XdsServer,
        api_bound: Arc<Bound>,
        identity: Identity,
        domain: &str,
    ) -> Self {
        let unread = vitals::unread(directory.as_ref(), &store.current().resources);
        Self {
            unread,
            store,
            view,
            board,
            directory,
            xds,
            api_bound,
            identity,
            domain: domain.into(),
        }
    }

    /// The desired state, with its history.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The join tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.identity.tokens
    }

    /// The tokens of the API.
    pub(crate) fn api_tokens(&self) -> &ApiTokens {
        &self.identity.api_tokens
    }

    /// The certificate authority in force.
    pub fn authority(&self) -> &LiveAuthority {
        self.issuance().authority()
    }

    /// Where certificates are issued.
    pub(crate) fn issuance(&self) -> &Issuance {
        &self.identity.issuance
    }

    /// The objects in force.
    pub fn resources(&self) -> Arc<Resources> {
        self.store.current().resources
    }

    /// Whether an object comes from the watched directory, and so is changed there alone.
    pub fn is_owned_by_file(&self, key: &ObjectKey) -> bool {
        self.resources()
            .get(key)
            .is_some_and(|object| self.is_of_directory(object))
    }

    /// Whether this object is one of the watched directory; where none is watched, those that once came from one are like
    /// all others.
    pub(crate) fn is_of_directory(&self, object: &Object) -> bool {
        self.directory.is_some() && files::is_owned(object)
    }

    /// What would become of a call, by the policies that are served.
    ///
    /// # Errors
    /// If nobody could judge it.
    pub(crate) fn may_call(&self, question: &Question) -> Result<Verdict, AuthzError> {
        let (index, workloads) = {
            let view = self.view.borrow();
            (Arc::clone(&view.index), view.discovered.workloads.clone())
        };
        let authority = self.authority().current();
        let domain = Some(authority.trust_domain());
        authz::check(question, &index, &workloads, domain, &|_, _| None)
    }

    /// Waits until `revision` is what proxies are served, and gives how to ask where they stand with it.
    pub(crate) async fn follow(&self, revision: u64) -> Option<Waiting> {
        let mut view = self.view.clone();
        let published = view.wait_for(|view| view.state.revision >= revision);
        let serial = tokio::time::timeout(PUBLISH_TIMEOUT, published)
            .await
            .ok()?
            .ok()?
            .serial;
        Some(Waiting::new(self.board.clone(), serial))
    }

    /// Whether the control plane is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.xds.is_stopping()
    }

    /// Ticks whenever a proxy has answered, come or gone.
    pub(crate) fn status_ticks(&self) -> watch::Receiver<u64> {
        self.board.ticks()
    }

    /// Names of the connected proxies that have subscribed to something of the services that `changes` concern.
    pub(crate) async fn proxies_concerned(&self, changes: &[ObjectChange]) -> Vec<String> {
        let resources = self.resources();
        let changes = changes
            .iter()
            .filter(|change| change.before != change.after);
        let (mut hosts, mut inbound) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            let services = services_of(change, &resources).into_iter();
            hosts.extend(services.map(|service| service.host(&self.domain)));
            // Of all that is said of a service, its ports alone matter to the sidecars beside it.
            let key = &change.key;
            if matches!(key.kind, Kind::Service | Kind::MeshService) {
                inbound.insert(service_name(&key.namespace, &key.name).host(&self.domain));
            }
        }
        let mut concerned = BTreeSet::new();
        for stream in self.board.streams() {
            let names = stream.subscribed().await;
            let is_concerned = |name: &str| {
                let concerned = match name.starts_with(INBOUND_PREFIX) {
                    true => &inbound,
                    false => &hosts,
                };
                let host = self.host_of(name, &stream.node.view);
                host.is_some_and(|host| concerned.contains(&host))
            };
            if names.iter().any(|name| is_concerned(name)) {
                concerned.insert(stream.node.id.to_string());
            }
        }
        concerned.into_iter().collect()
    }

    /// The canonical host of the service that a node means by the name of a resource: `reviews:9080`, `inbound/shop/cart/80`.
    fn host_of(&self, resource: &str, node: &NodeView) -> Option<String> {
        if let Some(inbound) = resource.strip_prefix(INBOUND_PREFIX) {
            let mut parts = inbound.split('/');
            let (namespace, name) = (parts.next()?, parts.next()?);
            return Some(service_name(namespace, name).host(&self.domain));
        }
        match AskedName::parse(resource)?.host {
            Host::Name(name) => {
                Some(ServiceName::qualify(&name, &node.namespace, &self.domain)?.host(&self.domain))
            }
            Host::Ip(_) => None, // Whoever asks by address has the service's routes and clusters by name.
        }
    }

    /// Faults of the watched directory, conditions of routes that are not met, and resources that proxies would refuse.
    pub fn findings(&self) -> Vec<String> {
        let of_files = self.directory.as_ref().map(|it| it.borrow());
        let of_files = of_files.iter().flat_map(|it| it.iter());
        let mut findings: Vec<String> = of_files.map(Finding::to_string).collect();
        findings.extend(self.view.borrow().refused.iter().cloned());
        findings.extend(self.findings_of(|_| true));
        findings
    }

    /// What is not as it should be with routes.
    fn findings_of(&self, wanted: impl Fn(&ObjectKey) -> bool) -> Vec<String> {
        let resources = self.resources();
        let mut findings = Vec::new();
        for route in resources
            .iter()
            .filter(|object| object.kind().is_route() && wanted(&object.key()))
        {
            let status = route_status(&resources, route);
            for condition in status
                .iter()
                .flat_map(|s| &s.parents)
                .flat_map(|parent| &parent.conditions)
            {
                if condition.status != "True" {
                    findings.push(format!(
                        "{}: {} is {}: {} ({})",
                        route.key(),
                        condition.kind,
                        condition.status,
                        condition.message,
                        condition.reason
                    ));
                }
            }
        }
        findings
    }

    /// Connected proxies, by name.
    pub fn proxies(&self) -> Vec<ProxyBody> {
        self.board.proxies().into_iter().map(proxy_body).collect()
    }

    /// Where the admin page of a connected proxy is; its name may be cut short while it is the only such one.
    ///
    /// # Errors
    /// If there is none or several of that name, or it keeps its page to itself.
    pub fn proxy_admin(&self, name: &str) -> Result<SocketAddr, String> {
        let proxies = self.board.proxies();
        let exact = proxies.iter().find(|proxy| proxy.id == name);
        let proxy = match exact {
            Some(proxy) => proxy,
            None => {
                let alike: Vec<&ProxyStatus> = proxies
                    .iter()
                    .filter(|p| p.id.contains(name) || p.service == name)
                    .collect();
                match alike[..] {
                    [one] => one,
                    [] => return Err(format!("no connected proxy is called {name}")),
                    _ => {
                        let names: Vec<&str> = alike.iter().map(|p| p.id.as_str()).collect();
                        return Err(format!("{name} could be any of {}", names.join(", ")));
                    }
                }
            }
        };
        let admin = proxy
            .admin
            .ok_or_else(|| format!("{} does not say where its admin page is", proxy.id))?;
        // The page is asked from here: whatever a proxy says of itself must not lead us to somebody else's door.
        match admin.ip().is_loopback() {
            true => Ok(admin),
            false => Err(format!(
                "the admin page of {} is at {admin}, which is not this machine",
                proxy.id
            )),
        }
    }
}

impl Standing {
    /// From what the board says.
    pub(crate) fn new(waiting: &Waiting) -> Self {
        let mut standing = Self::default();
        for proxy in waiting.progress() {
            match proxy.state {
                ProxyState::Acked => standing.acknowledged.push(proxy.id),
                ProxyState::Pending => standing.waiting.push(proxy.id),
                ProxyState::Refused => {
                    standing.refused.push(Refusal {
                        proxy: proxy.id,
                        reason: proxy.reason.unwrap_or_default(),
                    });
                }
                ProxyState::Left => standing.left.push(proxy.id),
                ProxyState::Unconcerned => {}
            }
        }
        standing
    }
}

/// The services that a change of an object says something of.
fn services_of(change: &ObjectChange, resources: &Resources) -> Vec<ServiceName> {
    let key = &change.key;
    let mut services = Vec::new();
    if matches!(key.kind, Kind::Service | Kind::MeshService) {
        services.push(service_name(&key.namespace, &key.name));
    }
    let routes = || resources.iter().filter(|object| object.kind().is_route());
    if key.kind == Kind::FaultInjection {
        let users = routes().filter(|route| translate::extensions(route).contains(key));
        services.extend(users.flat_map(|route| parents(route)));
    }
    for object in [&change.before, &change.after].into_iter().flatten() {
        services.extend(parents(object));
        for target in translate::targets(&object.spec) {
            let route = resources.get(&target.key());
            services.extend(route.into_iter().flat_map(|route| parents(route)));
        }
        if let Spec::AuthorizationPolicy(_) | Spec::AuthenticationPolicy(_) = &object.spec {
            // Others of the namespace may share workloads with those that it names, if it names any.
            let reached =
                |it: &&Arc<Object>| translate::reaches(&key.namespace, &it.metadata.namespace);
            let here = resources.iter().filter(reached);
            let here = here.filter(|it| matches!(it.kind(), Kind::Service | Kind::MeshService));
            services.extend(here.map(|it| service_name(&it.metadata.namespace, &it.metadata.name)));
        }
        if let Spec::EndpointSlice(slice) = &object.spec {
            let service = slice.service.iter();
            services.extend(service.map(|name| service_name(&key.namespace, name)));
        }
    }
    services
}

/// Services that a route is attached to or a policy aims at.
fn parents(object: &Object) -> Vec<ServiceName> {
    let routes = |parents: &[weft_config::gateway_api::ParentRef]| {
        parents.iter().map(|p| p.service.name.clone()).collect()
    };
    match &object.spec {
        Spec::HttpRoute(route) => routes(&route.parent_refs),
        Spec::GrpcRoute(route) => routes(&route.parent_refs),
        Spec::TcpRoute(route) => routes(&route.parent_refs),
        spec => targets(spec.target_refs()),
    }
}

fn targets(targets: &[weft_config::gateway_api::PolicyTarget]) -> Vec<ServiceName> {
    let services = targets.iter().filter(|target| target.kind.is_service());
    services
        .map(|target| service_name(&target.namespace, &target.name))
        .collect()
}

fn service_name(namespace: &str, name: &str) -> ServiceName {
    ServiceName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn proxy_body(proxy: ProxyStatus) -> ProxyBody {
    ProxyBody {
        name: proxy.id,
        identity: proxy.identity.map(|it| it.to_string()),
        service: proxy.service,
        user_agent: proxy.user_agent,
        connected_since: proxy.connected_at.to_string(),
        intended: proxy.intended_revision,
        sent: proxy.sent_revision,
        acknowledged: proxy.acked_revision,
        refused: proxy.refusal,
        resources: proxy
            .resources
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect(),
    }
}
