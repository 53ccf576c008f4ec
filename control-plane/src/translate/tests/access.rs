//! Who may call: policies become RBAC on inbound listeners, and what those say is judged as proxies judge.

use std::collections::BTreeMap;

use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::listener::{ChainAction, FilterChain, HttpFilter, Listener};
use weft_config::policy::access::{AccessFilter, Asked, OnRevoke, Peer};
use weft_config::route::RequestHead;
use weft_config::secret::SanKind;
use weft_xds_proto::pb::envoy::config::listener::v3 as pb;

use super::*;

const WEB: &str = "spiffe://td/ns/default/sa/web";
const OPS: &str = "spiffe://other/ns/ops/sa/admin";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: mesh.weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// The inbound listener of `reviews`, whose application listens on 8080.
fn inbound(yaml: &str, workloads: Vec<Arc<Registration>>) -> Listener {
    let snapshot = snapshot(yaml, workloads);
    let name = "inbound/default/reviews/8080";
    let listener: pb::Listener = read(&snapshot, ResourceType::Listener, name);
    let mut diag = Diagnostics::new();
    let listener = Listener::parse(&listener, &FieldPath::root(), &mut diag);
    listener.unwrap_or_else(|| panic!("{:?}", diag.findings()))
}

fn reviews_with(policies: &str) -> Listener {
    let yaml = service("reviews", "app: reviews") + policies;
    inbound(&yaml, vec![workload("reviews", "v1", 1)])
}

fn filters(chain: &FilterChain) -> Vec<Arc<AccessFilter>> {
    match &chain.action {
        ChainAction::Http(hcm) => {
            let filters = hcm.filters.iter().filter_map(|filter| match filter {
                HttpFilter::Access(filter) => Some(filter.clone()),
                _ => None,
            });
            filters.collect()
        }
        ChainAction::Tcp(_) => chain.access.clone(),
    }
}

struct Call {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    headers: BTreeMap<&'static str, &'static str>,
}

impl RequestHead for Call {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn authority(&self) -> &[u8] {
        self.host.as_bytes()
    }
    fn path_and_query(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(|value| value.as_bytes())
    }
}

fn get(path: &'static str) -> Call {
    Call {
        method: "GET",
        host: "reviews:9080",
        path,
        headers: BTreeMap::new(),
    }
}

/// Whether `from` (nobody where it is empty) may make this call, or connection.
fn may(chain: &FilterChain, from: &str, call: Option<&Call>) -> bool {
    let names = [(SanKind::Uri, from.into())];
    let asked = Asked {
        peer: (!from.is_empty()).then_some(Peer {
            names: &names,
            subject: "",
        }),
        source: [10, 0, 0, 7].into(),
        remote: [10, 0, 0, 7].into(),
        destination: ([10, 0, 0, 1], 15006).into(),
        server_name: "",
        head: call.map(|call| call as &dyn RequestHead),
        claims: None,
    };
    let filters = filters(chain);
    let mut rules = filters.iter().filter_map(|it| it.rules.as_ref());
    rules.all(|rules| rules.judge(&asked).allowed)
}

fn http_chain(listener: &Listener) -> &FilterChain {
    &listener.filter_chains[0]
}

#[test]
fn without_policies_everybody_may_and_paths_are_as_they_came() {
    let listener = reviews_with("");
    let chain = http_chain(&listener);
    assert!(filters(chain).is_empty());
    let ChainAction::Http(hcm) = &chain.action else {
        panic!("not HTTP")
    };
    assert!(!hcm.normalize_path && !hcm.merge_slashes);
}

#[test]
fn a_policy_of_the_root_namespace_holds_for_all_and_one_that_names_services_for_its_own() {
    let in_root = |spec: &str| {
        policy("root", spec).replace("{name: root}", "{name: root, namespace: weft-system}")
    };
    let deny = "{action: Deny, rules: [{from: [{namespaces: [default]}]}]}";
    let target = "{targetRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews}], action: Deny, rules: [{}]}";
    let may_web = |policies: &str| may(http_chain(&reviews_with(policies)), WEB, Some(&get("/")));
    assert!(!may_web(&in_root(deny)));
    assert!(
        may_web(&in_root(target)),
        "that is the service of weft-system"
    );
    // Rules of an `Allow` of the mesh are added to those of the namespace.
    let allow = "{rules: [{from: [{namespaces: [ops]}]}]}";
    let own = policy("own", "{rules: [{from: [{namespaces: [default]}]}]}");
    assert!(!may_web(&in_root(allow)));
    assert!(may_web(&(in_root(allow) + &own)));
    let listener = reviews_with(&(in_root(allow) + &own));
    assert!(may(http_chain(&listener), OPS, Some(&get("/"))));
}

#[test]
fn a_policy_of_the_root_namespace_changes_listeners_of_all_namespaces() {
    let mut translator = Translator::new(crate::translate::Names::default());
    let discovered = Discovered {
        workloads: vec![workload("reviews", "v1", 1)],
        ..Discovered::default()
    };
    let plain = service("reviews", "app: reviews");
    let root = policy("root", "{action: Deny, rules: [{}]}")
        .replace("{name: root}", "{name: root, namespace: weft-system}");
    let mut version = |yaml: &str| {
        translator.set_resources(resources(yaml));
        let inbound = translator.translate(&discovered).inbound;
        inbound
            .iter()
            .map(|it| it.version.clone())
            .collect::<Vec<_>>()
    };
    let before = version(&plain);
    assert_ne!(version(&(plain.clone() + &root)), before);
    assert_eq!(version(&plain), before);
}

#[test]
fn each_field_of_a_rule_says_who_may() {
    let post = |path| Call {
        method: "POST",
        ..get(path)
    };
    let hosted = |host| Call { host, ..get("/") };
    let with = |name, value| Call {
        headers: BTreeMap::from([(name, value)]),
        ..get("/")
    };
    let (web, ops) = (Some(WEB), Some(OPS));
    let table: Vec<(&str, Vec<(Option<&str>, Call, bool)>)> = vec![
        (
            "from: [{identities: ['spiffe://td/ns/default/sa/web']}]",
            vec![
                (web, get("/"), true),
                (ops, get("/"), false),
                (None, get("/"), false),
            ],
        ),
        (
            "from: [{identities: ['spiffe://td/ns/default/*']}]",
            vec![
                (web, get("/"), true),
                (Some("spiffe://td/ns/default2/sa/web"), get("/"), false),
            ],
        ),
        (
            "from: [{identities: ['*']}]",
            vec![(web, get("/"), true), (None, get("/"), false)],
        ),
        (
            "from: [{notIdentities: ['spiffe://td/ns/default/sa/web']}]",
            vec![
                (web, get("/"), false),
                (ops, get("/"), true),
                (None, get("/"), false),
            ],
        ),
        (
            "from: [{namespaces: [default]}]",
            vec![
                (web, get("/"), true),
                (ops, get("/"), false),
                (Some("spiffe://td/ns/x/sa/ns/default/sa/y"), get("/"), false),
            ],
        ),
        (
            "from: [{notNamespaces: [default]}]",
            vec![
                (web, get("/"), false),
                (ops, get("/"), true),
                (None, get("/"), false),
            ],
        ),
        (
            "from: [{trustDomains: [td]}]",
            vec![
                (web, get("/"), true),
                (ops, get("/"), false),
                (Some("spiffe://td2/ns/a/sa/b"), get("/"), false),
            ],
        ),
        (
            "from: [{namespaces: [ops], trustDomains: [td]}]",
            vec![(ops, get("/"), false)],
        ),
        (
            "from: [{namespaces: [ops]}, {trustDomains: [td]}]",
            vec![(ops, get("/"), true), (web, get("/"), true)],
        ),
        (
            "from: [{addresses: [10.0.0.0/8]}]",
            vec![(None, get("/"), true)],
        ),
        (
            "from: [{addresses: [10.0.0.0/8], notAddresses: [10.0.0.7]}]",
            vec![(None, get("/"), false)],
        ),
        (
            "to: [{methods: [POST]}]",
            vec![(None, post("/"), true), (None, get("/"), false)],
        ),
        (
            "to: [{notMethods: [POST]}]",
            vec![(None, post("/"), false), (None, get("/"), true)],
        ),
        (
            "to: [{paths: [/admin]}]",
            vec![
                (None, get("/admin?a=b"), true),
                (None, get("/admin/"), false),
            ],
        ),
        (
            "to: [{paths: ['/admin/*']}]",
            vec![(None, get("/admin/x"), true), (None, get("/admin"), false)],
        ),
        (
            "to: [{paths: ['*.png']}]",
            vec![
                (None, get("/a/b.png"), true),
                (None, get("/a/b.gif"), false),
            ],
        ),
        (
            "to: [{notPaths: ['/admin*']}]",
            vec![(None, get("/admin"), false), (None, get("/"), true)],
        ),
        (
            "to: [{hosts: [a.test]}]",
            vec![
                (None, hosted("a.test"), true),
                (None, hosted("A.test.:80"), true),
                (None, hosted("a.test:"), true),
                (None, hosted("b.a.test"), false),
                (None, hosted("a.test.evil"), false),
            ],
        ),
        (
            "to: [{hosts: ['*.a.test']}]",
            vec![
                (None, hosted("b.A.test:1"), true),
                (None, hosted("a.test"), false),
                (None, hosted("xa.test"), false),
            ],
        ),
        (
            "to: [{headers: [{name: X-Tier, values: [gold, 'plat*']}]}]",
            vec![
                (None, with("x-tier", "platinum"), true),
                (None, with("x-tier", "silver"), false),
                (None, get("/"), false),
            ],
        ),
        (
            "to: [{headers: [{name: x-tier}]}]",
            vec![(None, with("x-tier", ""), true), (None, get("/"), false)],
        ),
        (
            "to: [{headers: [{name: x-tier, notValues: [gold]}]}]",
            vec![
                (None, with("x-tier", "gold"), false),
                (None, get("/"), true),
            ],
        ),
        ("to: [{ports: [9080]}]", vec![(None, get("/"), true)]),
        ("to: [{ports: [8080]}]", vec![(None, get("/"), false)]),
        ("to: [{notPorts: [9080]}]", vec![(None, get("/"), false)]),
        (
            "to: [{methods: [POST]}, {paths: [/open]}]",
            vec![
                (None, get("/open"), true),
                (None, post("/"), true),
                (None, get("/"), false),
            ],
        ),
        (
            "from: [{namespaces: [default]}], to: [{methods: [GET]}]",
            vec![
                (web, get("/"), true),
                (web, post("/"), false),
                (ops, get("/"), false),
            ],
        ),
    ];
    for (rule, calls) in table {
        let allow = reviews_with(&policy("p", &format!("{{rules: [{{{rule}}}]}}")));
        for (from, call, allowed) in calls {
            let answer = may(http_chain(&allow), from.unwrap_or_default(), Some(&call));
            assert_eq!(
                answer, allowed,
                "{rule}: {from:?} {} {} {}",
                call.method, call.host, call.path
            );
        }
    }
}

#[test]
fn who_is_denied_stays_out_and_once_somebody_is_allowed_the_rest_does_too() {
    let deny = policy(
        "deny",
        "{action: Deny, rules: [{to: [{paths: ['/admin*']}]}]}",
    );
    let allow = policy("allow", "{rules: [{from: [{namespaces: [default]}]}]}");
    let nobody = policy("nobody", "{rules: []}");
    for (policies, from, path, allowed) in [
        (&deny, "", "/", true),
        (&deny, WEB, "/admin", false),
        (&(deny.clone() + &allow), WEB, "/admin", false),
        (&(deny.clone() + &allow), WEB, "/", true),
        (&(deny.clone() + &allow), OPS, "/", false),
        (&nobody, WEB, "/", false),
        (&(nobody.clone() + &allow), WEB, "/", true),
    ] {
        let listener = reviews_with(policies);
        assert_eq!(
            may(http_chain(&listener), from, Some(&get(path))),
            allowed,
            "{from} {path}: {policies}"
        );
        let ChainAction::Http(hcm) = &http_chain(&listener).action else {
            panic!("not HTTP")
        };
        assert!(hcm.normalize_path && hcm.merge_slashes);
    }
}

#[test]
fn a_dry_run_is_a_shadow_beside_what_is_enforced() {
    let dry = policy(
        "dry",
        "{mode: DryRun, rules: [{from: [{namespaces: [ops]}]}]}",
    );
    let listener = reviews_with(&dry);
    let [filter] = &filters(http_chain(&listener))[..] else {
        panic!("one filter")
    };
    assert!(filter.rules.is_none());
    assert!(may(http_chain(&listener), WEB, Some(&get("/"))));
    let allow = policy(
        "allow",
        "{rules: [{name: ours, from: [{namespaces: [default]}]}]}",
    );
    let listener = reviews_with(&(dry + &allow));
    let [filter] = &filters(http_chain(&listener))[..] else {
        panic!("one filter")
    };
    let names = |rules: &weft_config::policy::access::AccessRules| {
        let names = rules.policies.iter().map(|it| it.name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(filter.rules.as_ref().unwrap()),
        ["default/allow/ours"]
    );
    let shadow = names(filter.shadow.as_ref().unwrap());
    assert_eq!(shadow, ["default/allow/ours", "default/dry/rules[0]"]);
}

#[test]
fn what_is_under_way_is_cut_by_the_policies_that_say_so() {
    let deny = |name, revoke| {
        let spec = format!(
            "{{action: Deny, onRevoke: {revoke}, rules: [{{to: [{{paths: [/{name}]}}]}}]}}"
        );
        policy(name, &spec)
    };
    let allow = policy("allow", "{onRevoke: Close, rules: [{}]}");
    let listener = reviews_with(&(deny("kept", "Keep") + &deny("cut", "Close") + &allow));
    let filters = filters(http_chain(&listener));
    let revoked: Vec<_> = filters.iter().map(|it| it.on_revoke).collect();
    assert_eq!(revoked, [OnRevoke::Keep, OnRevoke::Close, OnRevoke::Close]);
}

#[test]
fn on_ports_of_bytes_what_asks_for_requests_allows_nobody_and_denies_by_the_rest() {
    let tcp = service("reviews", "app: reviews").replace("appProtocol: http", "appProtocol: tcp");
    let of = |policies: &str| {
        inbound(
            &(tcp.clone() + policies),
            vec![workload("reviews", "v1", 1)],
        )
    };
    let rule = "rules: [{from: [{namespaces: [default]}], to: [{methods: [GET]}]}]";
    let allow = of(&policy("p", &format!("{{{rule}}}")));
    assert!(!may(http_chain(&allow), WEB, None));
    let deny = of(&policy(
        "p",
        &format!("{{action: Deny, onRevoke: Close, {rule}}}"),
    ));
    let chain = http_chain(&deny);
    assert!(!may(chain, WEB, None) && may(chain, OPS, None));
    assert_eq!(filters(chain)[0].on_revoke, OnRevoke::Close);
    let plain = of(&policy("p", "{rules: [{from: [{namespaces: [default]}]}]}"));
    assert!(may(http_chain(&plain), WEB, None) && !may(http_chain(&plain), OPS, None));
}

#[test]
fn a_policy_is_about_what_it_names_what_selects_the_same_workloads_or_the_namespace() {
    let target = |kind: &str, name: &str, more: &str| {
        let group = if kind == "Service" {
            "\"\""
        } else {
            "mesh.weft.dev"
        };
        let spec = format!(
            "{{targetRefs: [{{group: {group}, kind: {kind}, name: {name}{more}}}], rules: []}}"
        );
        policy("p", &spec)
    };
    let others = service("reviews-v1", "app: reviews, version: v1")
        + &service("reviews-v2", "app: reviews, version: v2")
        + &service("ratings", "app: ratings");
    let elsewhere = policy("p", "{rules: []}").replace("{name: p}", "{name: p, namespace: other}");
    for (policies, holds) in [
        (policy("p", "{rules: []}"), true),
        (elsewhere, false),
        (target("MeshService", "reviews", ""), true),
        (target("MeshService", "reviews-v1", ""), true),
        (target("MeshService", "reviews-v2", ""), false),
        (target("MeshService", "ratings", ""), false),
        (target("MeshService", "reviews", ", sectionName: web"), true),
        (
            target("MeshService", "reviews", ", sectionName: admin"),
            false,
        ),
    ] {
        let own = service("reviews", "app: reviews")
            .replace("{port: 9080,", "{name: web, port: 9080, targetPort: 8080,");
        let yaml = own + &others + &policies;
        let listener = inbound(&yaml, vec![workload("reviews", "v1", 1)]);
        let allowed = may(http_chain(&listener), WEB, Some(&get("/")));
        assert_eq!(allowed, !holds, "{policies}");
    }
}

#[test]
fn a_policy_that_comes_later_reaches_listeners_that_are_served() {
    let yaml = service("reviews", "app: reviews");
    let mut translator = Translator::new(crate::translate::Names::default());
    translator.set_resources(resources(&yaml));
    let discovered = Discovered {
        workloads: vec![workload("reviews", "v1", 1)],
        ..Discovered::default()
    };
    let versions = |done: &Translated| -> Vec<_> {
        done.inbound.iter().map(|it| it.version.clone()).collect()
    };
    let before = versions(&translator.translate(&discovered));
    translator.set_resources(resources(&(yaml.clone() + &policy("p", "{rules: []}"))));
    let guarded = versions(&translator.translate(&discovered));
    assert_ne!(before, guarded);
    translator.set_resources(resources(&yaml));
    assert_eq!(versions(&translator.translate(&discovered)), before);
}

#[test]
fn what_proxies_would_refuse_is_found_before_it_is_stored() {
    let mut translator = Translator::new(crate::translate::Names::default());
    let yaml = service("reviews", "app: reviews");
    translator.set_resources(resources(&yaml));
    let many = |list: usize| {
        (0..list)
            .map(|n| format!("10.0.{}.{}", n / 256, n % 256))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let source = format!("{{addresses: [{}]}}", many(64));
    let sources = vec![source; 32].join(", ");
    let rules = vec![format!("{{from: [{sources}]}}"); 8].join(", ");
    let too_many = policy("p", &format!("{{rules: [{rules}]}}"));
    let judged = translator.judge(&resources(&(yaml.clone() + &too_many)));
    assert_eq!(judged.len(), 1, "{judged:?}");
    let said = judged[0].to_string();
    assert!(
        said.starts_with("AuthorizationPolicy default/p: ")
            && said.contains("more than 10000 conditions"),
        "{said}"
    );
    assert!(
        translator
            .judge(&resources(&(yaml + &policy("p", "{rules: [{}]}"))))
            .is_empty()
    );
}

#[test]
fn equal_policies_make_equal_bytes() {
    let rules: Vec<String> = (0..16)
        .map(|it| format!("{{to: [{{paths: ['/{it}']}}]}}"))
        .collect();
    let spec = |action: &str| format!("{{action: {action}, rules: [{}]}}", rules.join(", "));
    let yaml = service("reviews", "app: reviews")
        + &policy("a", &spec("Allow"))
        + &policy("d", &spec("Deny"));
    let version = || {
        let snapshot = snapshot(&yaml, vec![workload("reviews", "v1", 1)]);
        let name = "inbound/default/reviews/8080";
        let found = snapshot.find(ResourceType::Listener, name, &NodeView::default());
        found.map(|it| it.version.clone())
    };
    let first = version();
    assert!(first.is_some());
    for _ in 0..10 {
        assert_eq!(version(), first);
    }
    let listener = inbound(&yaml, vec![workload("reviews", "v1", 1)]);
    let gates = filters(&listener.filter_chains[0]);
    let sizes: Vec<_> = gates
        .iter()
        .filter_map(|it| Some(it.rules.as_ref()?.policies.len()))
        .collect();
    assert_eq!(sizes, [16, 16]);
}
