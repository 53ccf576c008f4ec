//! Reading `RouteMatch`: paths, headers, query parameters.
//!
//! What cannot be read is left out, so that the match is wider than it was meant: the route is then broken, and
//! answers for all requests that it may have been meant for rather than letting them fall to others.

#![expect(
    deprecated,
    reason = "older forms that control planes still send are read too"
)]

use weft_xds_proto::pb::envoy::config::route::v3 as pb;
use weft_xds_proto::pb::envoy::r#type::matcher::v3 as matcher;

use super::shared;
use crate::diag::{Diagnostics, FieldPath};
use crate::proto::{bool_or, runtime_per_million};
use crate::route::pattern::literal_prefix;
use crate::route::{HeaderMatch, PathMatch, Pattern, QueryMatch, RouteMatch, StringMatch};

impl RouteMatch {
    /// Reads a condition. After a fault it is wider than it was meant.
    pub(crate) fn parse(proto: &pb::RouteMatch, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        let mut refuse = |name: &str, given: bool| {
            if given {
                diag.fault(at.field(name), "is not supported yet");
            }
        };
        refuse("cookies", !proto.cookies.is_empty());
        refuse("tls_context", proto.tls_context.is_some());
        refuse("dynamic_metadata", !proto.dynamic_metadata.is_empty());
        refuse("filter_state", !proto.filter_state.is_empty());
        let mut headers = Vec::with_capacity(proto.headers.len());
        for (index, header) in proto.headers.iter().enumerate() {
            let header = HeaderMatch::parse(header);
            headers.extend(diag.keep(at.field("headers").index(index), header));
        }
        let mut query = Vec::with_capacity(proto.query_parameters.len());
        for (index, parameter) in proto.query_parameters.iter().enumerate() {
            let parameter = QueryMatch::parse(parameter);
            query.extend(diag.keep(at.field("query_parameters").index(index), parameter));
        }
        let share = proto.runtime_fraction.as_ref();
        let share = share.map_or(Ok(1_000_000), runtime_per_million);
        let share = diag.keep(at.field("runtime_fraction"), share);
        Self {
            path: PathMatch::parse(proto, at, diag),
            case_sensitive: bool_or(&proto.case_sensitive, true),
            headers,
            query,
            grpc: proto.grpc.is_some(),
            runtime_per_million: share.unwrap_or(1_000_000),
        }
    }
}

impl PathMatch {
    fn parse(proto: &pb::RouteMatch, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        use pb::route_match::PathSpecifier;
        let refused = match &proto.path_specifier {
            Some(PathSpecifier::Prefix(prefix)) => return Self::Prefix(shared(prefix)),
            Some(PathSpecifier::Path(path)) => return Self::Exact(shared(path)),
            Some(PathSpecifier::ConnectMatcher(_)) => return Self::Connect,
            Some(PathSpecifier::PathSeparatedPrefix(prefix)) => {
                if prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['?', '#'])
                {
                    return Self::SegmentPrefix(shared(prefix));
                }
                let rule = format!("must start with / and not end with it, got {prefix:?}");
                diag.fault(at.field("path_separated_prefix"), rule);
                return Self::Prefix(shared(prefix.trim_end_matches('/')));
            }
            Some(PathSpecifier::SafeRegex(regex)) => {
                let pattern = Pattern::whole(&regex.regex);
                match diag.keep(at.field("safe_regex"), pattern) {
                    Some(pattern) => return Self::Regex(pattern),
                    None => return Self::Prefix(literal_prefix(&regex.regex).into()),
                }
            }
            Some(PathSpecifier::PathMatchPolicy(_)) => "path_match_policy is not supported yet",
            None => "has no path_specifier",
        };
        diag.fault(at.clone(), refused);
        Self::Prefix(shared(""))
    }
}

impl HeaderMatch {
    pub(crate) fn parse(proto: &pb::HeaderMatcher) -> Result<Self, String> {
        use pb::header_matcher::HeaderMatchSpecifier as Specifier;
        if proto.name.is_empty() {
            return Err("has no name".to_owned());
        }
        let mut invert = proto.invert_match;
        let value = match &proto.header_match_specifier {
            Some(Specifier::ExactMatch(text)) => StringMatch::Exact(shared(text)),
            Some(Specifier::PrefixMatch(text)) => StringMatch::Prefix(shared(text)),
            Some(Specifier::SuffixMatch(text)) => StringMatch::Suffix(shared(text)),
            Some(Specifier::ContainsMatch(text)) => StringMatch::Contains(shared(text)),
            Some(Specifier::SafeRegexMatch(regex)) => {
                StringMatch::Regex(Pattern::whole(&regex.regex)?)
            }
            Some(Specifier::RangeMatch(range)) => StringMatch::Range(range.start, range.end),
            Some(Specifier::StringMatch(proto)) => string_match(proto)?,
            Some(Specifier::PresentMatch(present)) => {
                invert ^= !present;
                StringMatch::Present
            }
            None => StringMatch::Present,
        };
        Ok(Self {
            name: proto.name.to_ascii_lowercase().into(),
            value,
            invert,
            missing_is_empty: proto.treat_missing_header_as_empty,
        })
    }
}

impl QueryMatch {
    fn parse(proto: &pb::QueryParameterMatcher) -> Result<Self, String> {
        use pb::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
        if proto.name.is_empty() {
            return Err("has no name".to_owned());
        }
        let value = match &proto.query_parameter_match_specifier {
            Some(Specifier::StringMatch(proto)) => string_match(proto)?,
            Some(Specifier::PresentMatch(true)) | None => StringMatch::Present,
            Some(Specifier::PresentMatch(false)) => {
                return Err("present_match: false is not supported yet".to_owned());
            }
        };
        Ok(Self {
            name: shared(&proto.name),
            value,
        })
    }
}

/// Reads a `StringMatcher`.
pub(crate) fn string_match(proto: &matcher::StringMatcher) -> Result<StringMatch, String> {
    use matcher::string_matcher::MatchPattern;
    // Rare enough to go through a regular expression.
    let folded = |before: &str, text: &str, after: &str| {
        let source = format!("(?is){before}{}{after}", regex::escape(text));
        Pattern::whole(&source).map(StringMatch::Regex)
    };
    Ok(match (&proto.match_pattern, proto.ignore_case) {
        (Some(MatchPattern::Exact(text)), false) => StringMatch::Exact(shared(text)),
        (Some(MatchPattern::Exact(text)), true) => StringMatch::ExactIgnoreCase(shared(text)),
        (Some(MatchPattern::Prefix(text)), false) => StringMatch::Prefix(shared(text)),
        (Some(MatchPattern::Prefix(text)), true) => folded("", text, ".*")?,
        (Some(MatchPattern::Suffix(text)), false) => StringMatch::Suffix(shared(text)),
        (Some(MatchPattern::Suffix(text)), true) => folded(".*", text, "")?,
        (Some(MatchPattern::Contains(text)), false) => StringMatch::Contains(shared(text)),
        (Some(MatchPattern::Contains(text)), true) => folded(".*", text, ".*")?,
        // `ignore_case` has no effect on regular expressions.
        (Some(MatchPattern::SafeRegex(regex)), _) => {
            StringMatch::Regex(Pattern::whole(&regex.regex)?)
        }
        (Some(MatchPattern::Custom(_)), _) => {
            return Err("custom string matchers are not supported".to_owned());
        }
        (None, _) => return Err("has no match_pattern".to_owned()),
    })
}
