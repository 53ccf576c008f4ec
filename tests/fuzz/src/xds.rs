//! What must hold of xDS resources: any bytes are read or refused, alike each time; and in a table that was read, the
//! index finds the route that trying one after the other finds.
//!
//! The first byte says of which kind the resource is, by the letters of [`KINDS`]; the others are the message as it is
//! on the wire, or written out as YAML.

use weft_config::diag::{Diagnostics, FieldPath};
use weft_config::document::Document;
use weft_config::resource::Resource;
use weft_config::route::{RequestHead, RouteTable};
use weft_xds_proto::pb::envoy::config::cluster::v3::Cluster;
use weft_xds_proto::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use weft_xds_proto::pb::envoy::config::listener::v3::Listener;
use weft_xds_proto::pb::envoy::config::route::v3::RouteConfiguration;
use weft_xds_proto::pb::google::protobuf::Any;
use weft_xds_proto::type_url;

/// The letters of the kinds.
const KINDS: [(u8, &str); 4] = [
    (b'L', type_url::LISTENER),
    (b'R', type_url::ROUTE),
    (b'C', type_url::CLUSTER),
    (b'E', type_url::ENDPOINT),
];

pub(crate) fn resource(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    read(*kind, rest);
    if let Some((kind, wire)) = on_the_wire(data).as_deref().and_then(<[u8]>::split_first) {
        read(*kind, wire);
    }
}

/// `data` as it is on the wire, if it is a message written out.
pub(crate) fn on_the_wire(data: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = data.split_first()?;
    let wire = written_out(*kind, rest)?;
    Some([&[*kind][..], &wire].concat())
}

fn read(kind: u8, value: &[u8]) {
    let Some((_, type_url)) = KINDS.iter().find(|(letter, _)| *letter == kind) else {
        return;
    };
    let packed = Any {
        type_url: (*type_url).to_owned(),
        value: value.to_vec(),
    };
    let parse = || {
        let mut diag = Diagnostics::new();
        let resource = Resource::parse(&packed, &FieldPath::root(), &mut diag);
        (resource, diag)
    };
    let (resource, diag) = parse();
    let (again, found_again) = parse();
    assert_eq!(resource, again);
    assert_eq!(diag.findings(), found_again.findings());
    assert!(
        resource.is_some() || diag.has_faults(),
        "refused with a fault"
    );
    if let Some(Resource::Route(table)) = resource {
        look_up(&table);
    }
}

fn written_out(kind: u8, text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    match kind {
        b'L' => encoded::<Listener>(text),
        b'R' => encoded::<RouteConfiguration>(text),
        b'C' => encoded::<Cluster>(text),
        b'E' => encoded::<ClusterLoadAssignment>(text),
        _ => None,
    }
}

fn encoded<M: prost::Name + Default>(text: &str) -> Option<Vec<u8>> {
    let document = Document::<M>::parse(text, "f", &mut Diagnostics::new())?;
    Some(document.message.encode_to_vec())
}

struct Asked<'a> {
    authority: &'a [u8],
    path: &'a [u8],
}

impl RequestHead for Asked<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn authority(&self) -> &[u8] {
        self.authority
    }

    fn path_and_query(&self) -> &[u8] {
        self.path
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        (name == "x-canary").then_some(b"true")
    }
}

/// Paths that seeds have routes for, and some that nobody has.
const PATHS: [&[u8]; 6] = [
    b"/",
    b"/a",
    b"/a/b?q=1",
    b"/reviews/1",
    b"*",
    b"/%61/../\xff?q",
];

fn look_up(table: &RouteTable) {
    let domains = table.virtual_hosts.iter().flat_map(|host| &host.domains);
    let named: Vec<String> = domains.take(4).map(|domain| format!("{domain}")).collect();
    let others = ["a.example.com:80", ""].map(str::to_owned);
    for authority in named.iter().chain(&others) {
        for path in PATHS {
            let asked = Asked {
                authority: authority.as_bytes(),
                path,
            };
            let found = table.find(&asked, 3);
            assert_eq!(
                found,
                table.explain(&asked, 3).route,
                "{authority} {path:?}"
            );
        }
    }
}
