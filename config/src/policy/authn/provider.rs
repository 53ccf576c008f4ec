//! Reading `JwtProvider`.

use std::sync::Arc;
use std::time::Duration;

use weft_xds_proto::pb::envoy::config::core::v3 as core;
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::{ClaimHeader, KeySource, PayloadHeader, Place, Provider, RemoteKeys};
use crate::diag::{Diagnostics, FieldPath};
use crate::jwt::KeySet;
use crate::policy::headers::editable_name;
use crate::proto::positive_duration;
use crate::route::string_match;

const SKEW: Duration = Duration::from_secs(60);
/// Hours apart, clocks say nothing any more.
const SKEW_MAX: u32 = 24 * 60 * 60;
const PLACES_MAX: usize = 16;
const CLAIM_HEADERS_MAX: usize = 64;
const CACHED_TOKENS: usize = 100;
const CACHED_TOKENS_MAX: u32 = 10_000;
const CACHED_TOKEN_BYTES: usize = 4096;

impl Provider {
    pub(super) fn parse(
        name: &str,
        proto: &pb::JwtProvider,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Self> {
        let given = |text: &str| Some(text).filter(|it| !it.is_empty()).map(Arc::from);
        refuse_unsupported(proto, at, diag);
        let subjects = proto.subjects.as_ref().map(string_match).transpose();
        let subjects = diag.keep(at.field("subjects"), subjects);
        let lifetime_max = positive_duration(&proto.max_lifetime, at, "max_lifetime", diag);
        let keys = KeySource::parse(proto, at, diag);
        let places = Place::parse_all(proto, at, diag);
        let payload_header = payload_header(proto, at, diag);
        let claim_headers = ClaimHeader::parse_all(proto, at, diag);
        let words = proto.normalize_payload_in_metadata.iter();
        let words = words.flat_map(|it| &it.space_delimited_claims);
        let (cached_tokens_max, cached_token_bytes_max) = cache(proto, at, diag);
        Some(Self {
            name: name.into(),
            issuer: given(&proto.issuer),
            audiences: proto
                .audiences
                .iter()
                .map(|it| it.as_str().into())
                .collect(),
            subjects: subjects?,
            require_expiration: proto.require_expiration,
            lifetime_max,
            skew: skew(proto.clock_skew_seconds, at, diag),
            keys: keys?,
            places,
            forward: proto.forward,
            reserved: reserved(payload_header.as_ref(), &claim_headers),
            payload_header,
            claim_headers,
            payload_name: given(&proto.payload_in_metadata),
            header_name: given(&proto.header_in_metadata),
            word_lists: words.map(|it| it.as_str().into()).collect(),
            cached_tokens_max,
            cached_token_bytes_max,
        })
    }
}

fn reserved(payload: Option<&PayloadHeader>, claims: &[ClaimHeader]) -> Box<[Arc<str>]> {
    let names = payload.map(|it| &it.name).into_iter();
    let names = names.chain(claims.iter().map(|it| &it.name));
    let spelt = names.flat_map(|name| {
        let other = name.contains('-').then(|| name.replace('-', "_").into());
        [Some(name.clone()), other]
    });
    spelt.flatten().collect()
}

fn refuse_unsupported(proto: &pb::JwtProvider, at: &FieldPath, diag: &mut Diagnostics) {
    if !proto.failed_status_in_metadata.is_empty() {
        diag.fault(
            at.field("failed_status_in_metadata"),
            "is not supported yet",
        );
    }
    if proto.clear_route_cache {
        let rule = "is not supported: the route is found before tokens are looked at";
        diag.fault(at.field("clear_route_cache"), rule);
    }
    let same = proto.header_in_metadata == proto.payload_in_metadata;
    if same && !proto.header_in_metadata.is_empty() {
        let rule = "must not be the name that the payload has (payload_in_metadata)";
        diag.fault(at.field("header_in_metadata"), rule);
    }
    let normalizes = proto.normalize_payload_in_metadata.is_some();
    if normalizes && proto.payload_in_metadata.is_empty() {
        let rule = "means nothing without payload_in_metadata";
        diag.fault(at.field("normalize_payload_in_metadata"), rule);
    }
    if proto.pad_forward_payload_header && proto.forward_payload_header.is_empty() {
        let rule = "means nothing without forward_payload_header";
        diag.fault(at.field("pad_forward_payload_header"), rule);
    }
}

fn skew(seconds: u32, at: &FieldPath, diag: &mut Diagnostics) -> Duration {
    if seconds > SKEW_MAX {
        let rule = format!("must be at most {SKEW_MAX}, got {seconds}");
        diag.fault(at.field("clock_skew_seconds"), rule);
    }
    match seconds {
        0 => SKEW,
        seconds => Duration::from_secs(seconds.into()),
    }
}

fn cache(proto: &pb::JwtProvider, at: &FieldPath, diag: &mut Diagnostics) -> (usize, usize) {
    let Some(cache) = &proto.jwt_cache_config else {
        return (CACHED_TOKENS, CACHED_TOKEN_BYTES);
    };
    let at = at.field("jwt_cache_config");
    if cache.jwt_cache_size > CACHED_TOKENS_MAX {
        let rule = format!(
            "must be at most {CACHED_TOKENS_MAX}, got {}",
            cache.jwt_cache_size
        );
        diag.fault(at.field("jwt_cache_size"), rule);
    }
    let or = |given: u32, default| match usize::try_from(given) {
        Ok(given) if given > 0 => given,
        _ => default,
    };
    (
        or(cache.jwt_cache_size, CACHED_TOKENS),
        or(cache.jwt_max_token_size, CACHED_TOKEN_BYTES),
    )
}

impl KeySource {
    fn parse(proto: &pb::JwtProvider, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        use core::data_source::Specifier;
        use pb::jwt_provider::JwksSourceSpecifier as Source;
        let local = match &proto.jwks_source_specifier {
            Some(Source::RemoteJwks(remote)) => {
                let at = at.field("remote_jwks");
                return RemoteKeys::parse(remote, &at, diag).map(Self::Remote);
            }
            Some(Source::LocalJwks(local)) => local,
            None => {
                diag.fault(at.clone(), "has neither remote_jwks nor local_jwks");
                return None;
            }
        };
        let at = at.field("local_jwks");
        let (field, bytes) = match &local.specifier {
            Some(Specifier::InlineString(text)) => ("inline_string", text.as_bytes()),
            Some(Specifier::InlineBytes(bytes)) => ("inline_bytes", bytes.as_slice()),
            Some(Specifier::Filename(name)) if !name.is_empty() => {
                return Some(Self::File(name.as_str().into()));
            }
            Some(Specifier::EnvironmentVariable(_)) => {
                diag.fault(
                    at.field("environment_variable"),
                    "is not supported for keys",
                );
                return None;
            }
            _ => {
                diag.fault(at, "says neither a file nor keys");
                return None;
            }
        };
        let set = diag.keep(at.field(field), KeySet::read(bytes))?;
        for key in set.passed_over() {
            diag.warn(at.field(field), format!("{key}; it is not used"));
        }
        Some(Self::Inline(Arc::new(set)))
    }
}

impl Place {
    fn parse_all(proto: &pb::JwtProvider, at: &FieldPath, diag: &mut Diagnostics) -> Box<[Self]> {
        let mut places = Vec::new();
        for (index, header) in proto.from_headers.iter().enumerate() {
            let at = at.field("from_headers").index(index).field("name");
            let name = diag.keep(at, editable_name(&header.name));
            places.extend(name.map(|name| Self::Header {
                name: name.to_ascii_lowercase().into(),
                prefix: header.value_prefix.as_str().into(),
            }));
        }
        let mut named = |field: &str, names: &[String], make: fn(Arc<str>) -> Self| {
            for (index, name) in names.iter().enumerate() {
                if name.is_empty() {
                    diag.fault(at.field(field).index(index), "must not be empty");
                }
                places.push(make(name.as_str().into()));
            }
        };
        named("from_params", &proto.from_params, Self::Parameter);
        named("from_cookies", &proto.from_cookies, Self::Cookie);
        if places.len() > PLACES_MAX {
            diag.fault(
                at.clone(),
                format!("looks in more than {PLACES_MAX} places"),
            );
        }
        let given = !proto.from_headers.is_empty() || !places.is_empty();
        match given {
            true => places.into(),
            false => Provider::default_places(),
        }
    }
}

fn payload_header(
    proto: &pb::JwtProvider,
    at: &FieldPath,
    diag: &mut Diagnostics,
) -> Option<PayloadHeader> {
    if proto.forward_payload_header.is_empty() {
        return None;
    }
    let name = editable_name(&proto.forward_payload_header);
    let name = diag.keep(at.field("forward_payload_header"), name)?;
    Some(PayloadHeader {
        name: name.into(),
        padded: proto.pad_forward_payload_header,
    })
}

impl ClaimHeader {
    fn parse_all(proto: &pb::JwtProvider, at: &FieldPath, diag: &mut Diagnostics) -> Box<[Self]> {
        let at = at.field("claim_to_headers");
        if proto.claim_to_headers.len() > CLAIM_HEADERS_MAX {
            diag.fault(
                at.clone(),
                format!("has more than {CLAIM_HEADERS_MAX} elements"),
            );
        }
        let each = proto.claim_to_headers.iter().enumerate();
        each.filter_map(|(index, one)| Self::parse(one, &at.index(index), diag))
            .collect()
    }

    fn parse(proto: &pb::JwtClaimToHeader, at: &FieldPath, diag: &mut Diagnostics) -> Option<Self> {
        let name = diag.keep(at.field("header_name"), editable_name(&proto.header_name));
        let path: Box<[Arc<str>]> = match proto.claim_path.as_slice() {
            [] => proto.claim_name.split('.').map(Arc::from).collect(),
            path => path.iter().map(|it| it.key.as_str().into()).collect(),
        };
        if proto.claim_path.is_empty() == proto.claim_name.is_empty() {
            diag.fault(at.clone(), "must have either claim_name or claim_path");
        }
        if path.iter().any(|it| it.is_empty()) {
            diag.fault(at.clone(), "names a claim with an empty part");
        }
        Some(Self {
            name: name?.into(),
            path,
        })
    }
}
