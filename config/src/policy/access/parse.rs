//! Reading `config.rbac.v3.RBAC`. Whatever of it cannot be honoured is a fault.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use weft_xds_proto::pb::envoy::config::rbac::v3 as pb;
use weft_xds_proto::pb::envoy::config::route::v3::HeaderMatcher;
use weft_xds_proto::pb::envoy::r#type::matcher::v3 as matcher;
use weft_xds_proto::pb::envoy::r#type::v3::Int32Range;

use super::{AccessAction, AccessPolicy, AccessRules, ClaimMatch, Condition};
use crate::diag::{Diagnostics, FieldPath};
use crate::listener::Cidr;
use crate::route::{HeaderMatch, StringMatch, string_match};

/// Conditions of one filter: what is judged for each request has a bound.
pub(super) const CONDITIONS_MAX: usize = 10_000;
/// Conditions within one another; protobuf itself ends at a hundred messages.
pub(super) const DEPTH_MAX: usize = 32;
/// What heads have besides their fields.
const PSEUDO_HEADERS: [&str; 4] = [":method", ":path", ":authority", ":scheme"];
const BELOW_ALL_PORTS: u32 = 65_536;

impl AccessRules {
    /// Reads rules, noting every fault in `diag`.
    ///
    /// `None` means that they cannot be used.
    pub fn parse(proto: &pb::Rbac, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let action = match pb::rbac::Action::try_from(proto.action) {
            Ok(pb::rbac::Action::Allow) => Ok(AccessAction::Allow),
            Ok(pb::rbac::Action::Deny) => Ok(AccessAction::Deny),
            Ok(pb::rbac::Action::Log) => Ok(AccessAction::Log),
            Err(_) => Err(format!("has no value {}", proto.action)),
        };
        let action = diag.keep(at.field("action"), action);
        if proto.audit_logging_options.is_some() {
            let why = "is not supported yet and ignored";
            diag.warn(at.field("audit_logging_options"), why);
        }
        let mut policies: Vec<_> = proto.policies.iter().collect();
        policies.sort_by_key(|(name, _)| *name);
        let mut reader = Reader {
            left: CONDITIONS_MAX,
        };
        let mut good = Vec::with_capacity(policies.len());
        for (name, policy) in &policies {
            let at = at.field("policies").key(name);
            good.extend(reader.policy(name, policy, &at, diag));
        }
        let complete = good.len() == policies.len();
        Some(Self {
            action: action?,
            policies: good.into(),
        })
        .filter(|_| complete)
    }
}

/// Counts what it reads.
struct Reader {
    left: usize,
}

impl Reader {
    fn policy(
        &mut self,
        name: &str,
        proto: &pb::Policy,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<AccessPolicy> {
        let mut given = true;
        let mut refuse = |name: &str, wrong: bool, rule: &str| {
            if wrong {
                diag.fault(at.field(name), rule);
                given = false;
            }
        };
        let unsupported = "is not supported";
        refuse("condition", proto.condition.is_some(), unsupported);
        let checked = proto.checked_condition.is_some();
        refuse("checked_condition", checked, unsupported);
        refuse("cel_config", proto.cel_config.is_some(), unsupported);
        let empty = "must not be empty";
        refuse("permissions", proto.permissions.is_empty(), empty);
        refuse("principals", proto.principals.is_empty(), empty);
        let permissions = self.all(
            &proto.permissions,
            DEPTH_MAX,
            &at.field("permissions"),
            diag,
        );
        let principals = self.all(&proto.principals, DEPTH_MAX, &at.field("principals"), diag);
        Some(AccessPolicy {
            name: name.into(),
            permissions: permissions?,
            principals: principals?,
        })
        .filter(|_| given)
    }

    fn all<P: Part>(
        &mut self,
        protos: &[P],
        depth: usize,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Box<[Condition]>> {
        let mut read = Vec::with_capacity(protos.len().min(self.left));
        for (index, proto) in protos.iter().enumerate() {
            read.extend(self.one(proto, depth, &at.index(index), diag));
        }
        (read.len() == protos.len()).then(|| read.into())
    }

    fn one<P: Part>(
        &mut self,
        proto: &P,
        depth: usize,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Condition> {
        let Some(deeper) = depth.checked_sub(1) else {
            diag.fault(
                at.clone(),
                format!("is more than {DEPTH_MAX} conditions deep"),
            );
            return None;
        };
        let Some(left) = self.left.checked_sub(1) else {
            // Said once: each of the others would only say it again.
            if self.left == 0
                && !diag
                    .findings()
                    .iter()
                    .any(|it| it.message.starts_with(TOO_MANY))
            {
                diag.fault(
                    at.clone(),
                    format!("{TOO_MANY} {CONDITIONS_MAX} conditions"),
                );
            }
            return None;
        };
        self.left = left;
        match proto.read() {
            Read::Leaf(field, condition) => diag.keep(at.field(field), condition),
            Read::Set(field, []) => {
                diag.fault(at.field(field), "must not be empty");
                None
            }
            Read::Set(field, parts) => {
                let list = at.field(field).field(P::LIST);
                let parts = self.all(parts, deeper, &list, diag)?;
                Some(match field.starts_with("and") {
                    true => Condition::All(parts),
                    false => Condition::Either(parts),
                })
            }
            Read::Not(field, part) => {
                let part = self.one(part, deeper, &at.field(field), diag)?;
                Some(Condition::Not(Box::new(part)))
            }
            Read::Nothing => {
                diag.fault(at.clone(), P::EMPTY);
                None
            }
        }
    }
}

const TOO_MANY: &str = "there are more than";

/// One level of a permission or a principal, with the field that says it.
enum Read<'a, P> {
    Leaf(&'static str, Result<Condition, String>),
    Set(&'static str, &'a [P]),
    Not(&'static str, &'a P),
    Nothing,
}

/// Permissions and principals, which are nested alike.
trait Part: Sized {
    /// The field of a set that lists its parts.
    const LIST: &'static str;
    /// What is said of one that says nothing.
    const EMPTY: &'static str;

    fn read(&self) -> Read<'_, Self>;
}

impl Part for pb::Permission {
    const LIST: &'static str = "rules";
    const EMPTY: &'static str = "has no rule";

    fn read(&self) -> Read<'_, Self> {
        use pb::permission::Rule;
        let Some(rule) = &self.rule else {
            return Read::Nothing;
        };
        match rule {
            Rule::AndRules(set) => Read::Set("and_rules", &set.rules),
            Rule::OrRules(set) => Read::Set("or_rules", &set.rules),
            Rule::NotRule(rule) => Read::Not("not_rule", rule),
            Rule::Any(any) => Read::Leaf("any", always(*any)),
            Rule::Header(proto) => Read::Leaf("header", header(proto)),
            Rule::UrlPath(proto) => Read::Leaf("url_path", path(proto)),
            Rule::DestinationIp(range) => {
                let range = Cidr::parse(range).map(Condition::DestinationIp);
                Read::Leaf("destination_ip", range)
            }
            Rule::DestinationPort(number) => Read::Leaf("destination_port", port(*number)),
            Rule::DestinationPortRange(range) => Read::Leaf("destination_port_range", ports(range)),
            Rule::RequestedServerName(name) => {
                let name = string_match(name).map(Condition::ServerName);
                Read::Leaf("requested_server_name", name)
            }
            Rule::Metadata(proto) => Read::Leaf("metadata", claim(proto)),
            Rule::SourcedMetadata(proto) => Read::Leaf("sourced_metadata", sourced(proto)),
            Rule::Matcher(_) => unsupported("matcher"),
            Rule::UriTemplate(_) => unsupported("uri_template"),
        }
    }
}

impl Part for pb::Principal {
    const LIST: &'static str = "ids";
    const EMPTY: &'static str = "has no identifier";

    fn read(&self) -> Read<'_, Self> {
        use pb::principal::Identifier;
        let Some(identifier) = &self.identifier else {
            return Read::Nothing;
        };
        match identifier {
            Identifier::AndIds(set) => Read::Set("and_ids", &set.ids),
            Identifier::OrIds(set) => Read::Set("or_ids", &set.ids),
            Identifier::NotId(id) => Read::Not("not_id", id),
            Identifier::Any(any) => Read::Leaf("any", always(*any)),
            Identifier::Authenticated(proto) => {
                let name = proto.principal_name.as_ref().map(string_match).transpose();
                Read::Leaf("authenticated", name.map(Condition::Authenticated))
            }
            Identifier::SourceIp(range) => {
                Read::Leaf("source_ip", Cidr::parse(range).map(Condition::SourceIp))
            }
            Identifier::DirectRemoteIp(range) => {
                let range = Cidr::parse(range).map(Condition::SourceIp);
                Read::Leaf("direct_remote_ip", range)
            }
            Identifier::RemoteIp(range) => {
                Read::Leaf("remote_ip", Cidr::parse(range).map(Condition::RemoteIp))
            }
            Identifier::Header(proto) => Read::Leaf("header", header(proto)),
            Identifier::UrlPath(proto) => Read::Leaf("url_path", path(proto)),
            Identifier::Metadata(proto) => Read::Leaf("metadata", claim(proto)),
            Identifier::SourcedMetadata(proto) => Read::Leaf("sourced_metadata", sourced(proto)),
            Identifier::FilterState(_) => unsupported("filter_state"),
            Identifier::Custom(_) => unsupported("custom"),
        }
    }
}

fn unsupported<P>(field: &'static str) -> Read<'static, P> {
    Read::Leaf(field, Err("is not supported yet".to_owned()))
}

fn always(any: bool) -> Result<Condition, String> {
    match any {
        true => Ok(Condition::Any),
        false => Err("must be true".to_owned()),
    }
}

fn header(proto: &HeaderMatcher) -> Result<Condition, String> {
    let header = HeaderMatch::parse(proto)?;
    if header.name.starts_with(':') && !PSEUDO_HEADERS.contains(&&*header.name) {
        return Err(format!(
            "{:?} is not supported; {} are",
            header.name,
            PSEUDO_HEADERS.join(", ")
        ));
    }
    Ok(Condition::Header(header))
}

fn path(proto: &matcher::PathMatcher) -> Result<Condition, String> {
    let Some(matcher::path_matcher::Rule::Path(path)) = &proto.rule else {
        return Err("has no path".to_owned());
    };
    let path = string_match(path)?;
    // What is judged has neither: such a condition would never hold, and a denial would never deny.
    if let StringMatch::Exact(text) | StringMatch::ExactIgnoreCase(text) | StringMatch::Prefix(text) =
        &path
        && text.contains(['?', '#'])
    {
        return Err(format!(
            "{text:?} has a query or a fragment, which is not looked at"
        ));
    }
    Ok(Condition::Path(path))
}

fn port(number: u32) -> Result<Condition, String> {
    match number {
        0..BELOW_ALL_PORTS => Ok(Condition::DestinationPort(number, number + 1)),
        _ => Err(format!("must be at most 65535, got {number}")),
    }
}

fn ports(range: &Int32Range) -> Result<Condition, String> {
    match (u32::try_from(range.start), u32::try_from(range.end)) {
        (Ok(start), Ok(end)) if start < end && end <= BELOW_ALL_PORTS => {
            Ok(Condition::DestinationPort(start, end))
        }
        _ => Err(format!(
            "must begin at a port and end at a later one, at most 65536, got {} to {}",
            range.start, range.end
        )),
    }
}

fn claim(proto: &matcher::MetadataMatcher) -> Result<Condition, String> {
    ClaimMatch::parse(proto).map(Condition::Claim)
}

fn sourced(proto: &pb::SourcedMetadata) -> Result<Condition, String> {
    if proto.metadata_source != pb::MetadataSource::Dynamic as i32 {
        return Err("metadata_source: only DYNAMIC is supported".to_owned());
    }
    let matcher = proto.metadata_matcher.as_ref();
    claim(matcher.ok_or("has no metadata_matcher")?)
}
