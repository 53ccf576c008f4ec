//! Whose tokens requests bring: `AuthenticationPolicy`s become a filter that looks at them, before who may call is asked.

use std::sync::Arc;

use weft_config::gateway_api::authentication_policy::{JwtAuthentication, JwtProvider, Keys};
use weft_config::gateway_api::{Object, ServiceName};
use weft_config::policy::authn::JWT_AUTHN_NAME;
use weft_xds_proto::pb::envoy::config::core::v3::{
    DataSource, HttpUri, data_source::Specifier, http_uri::HttpUpstreamType,
};
use weft_xds_proto::pb::envoy::config::listener::v3::FilterChain;
use weft_xds_proto::pb::envoy::config::route::v3::{RouteMatch, route_match::PathSpecifier};
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use weft_xds_proto::pb::google::protobuf::{Any, Empty};

use super::access;
use super::authentication;
use super::discovered::Registration;
use super::index::Index;
use crate::snapshot::keys_cluster_name;
use crate::snapshot::proto::{duration, pack_in_order, packed_http_filter};

/// Where rules look for what a token says.
pub(super) const PAYLOAD: &str = "payload";
/// How long sidecars wait for keys.
const FETCH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What one policy says of tokens.
type Said<'a> = (&'a Object, &'a JwtAuthentication);

/// Has the tokens of requests looked at on `chains`, which lead to `port` of the workloads called `service`.
pub(crate) fn demand(
    chains: &mut [FilterChain],
    index: &Index,
    service: &ServiceName,
    members: &[Arc<Registration>],
    port: u16,
) {
    let mut said = authentication::tokens(index, service, members, port);
    said.sort_by_key(|(object, _)| (&object.metadata.namespace, &object.metadata.name));
    put(
        chains,
        &said,
        &format!("{}/{}", service.namespace, service.name),
    );
}

/// The filter of one policy alone, to see whether proxies take it.
pub(crate) fn demand_by(object: &Object, jwt: &JwtAuthentication, chain: &mut FilterChain) {
    put(std::slice::from_mut(chain), &[(object, jwt)], "trial");
}

fn put(chains: &mut [FilterChain], said: &[Said<'_>], service: &str) {
    if said.is_empty() {
        return;
    }
    let required = said.iter().any(|(_, jwt)| jwt.required);
    let filter = packed_http_filter(JWT_AUTHN_NAME, filter(said, required, service));
    for chain in chains {
        access::insert_http(chain, &filter);
        // Bytes bring no token, and nobody would look at what they claim, or take out of them what only tokens may say.
        access::close_to_bytes(chain, service);
    }
}

fn filter(said: &[Said<'_>], required: bool, service: &str) -> Any {
    let named = said.iter().flat_map(|(object, jwt)| {
        let meta = &object.metadata;
        let all = jwt.providers.iter().enumerate();
        all.map(move |(at, it)| {
            let name = format!("{}/{}/{at}", meta.namespace, meta.name);
            (name, provider(it, &meta.namespace))
        })
    });
    let providers: Vec<_> = named.collect();
    let one = |name: &String| requirement(RequiresType::ProviderName(name.clone()));
    let needs = match (required, providers.as_slice()) {
        (false, _) => requirement(RequiresType::AllowMissing(Empty {})),
        (true, [(only, _)]) => one(only),
        (true, several) => {
            let requirements = several.iter().map(|(name, _)| one(name)).collect();
            requirement(RequiresType::RequiresAny(pb::JwtRequirementOrList {
                requirements,
            }))
        }
    };
    let everything = RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix(String::new())),
        ..RouteMatch::default()
    };
    let rest = pb::JwtAuthentication {
        rules: vec![pb::RequirementRule {
            r#match: Some(everything),
            requirement_type: Some(RequirementType::Requires(needs)),
        }],
        stat_prefix: service.to_owned(),
        ..pb::JwtAuthentication::default()
    };
    let one = |provider| pb::JwtAuthentication {
        providers: [provider].into(),
        ..pb::JwtAuthentication::default()
    };
    pack_in_order(&rest, providers.into_iter().map(one))
}

fn requirement(of: RequiresType) -> pb::JwtRequirement {
    pb::JwtRequirement {
        requires_type: Some(of),
    }
}

fn provider(said: &JwtProvider, namespace: &str) -> pb::JwtProvider {
    let keys = match &said.keys {
        Keys::Inline(keys) => JwksSourceSpecifier::LocalJwks(DataSource {
            specifier: Some(Specifier::InlineString(keys.clone())),
            ..DataSource::default()
        }),
        Keys::Uri(uri) => JwksSourceSpecifier::RemoteJwks(pb::RemoteJwks {
            http_uri: Some(HttpUri {
                uri: uri.clone(),
                timeout: Some(duration(FETCH_TIMEOUT)),
                http_upstream_type: Some(HttpUpstreamType::Cluster(keys_cluster_name(
                    uri, namespace,
                ))),
            }),
            ..pb::RemoteJwks::default()
        }),
    };
    let headers = said.from_headers.iter().map(|it| pb::JwtHeader {
        name: it.name.clone(),
        value_prefix: it.prefix.clone(),
    });
    let claims = said
        .output_claim_to_headers
        .iter()
        .map(|it| pb::JwtClaimToHeader {
            header_name: it.header.clone(),
            claim_name: it.claim.clone(),
            ..pb::JwtClaimToHeader::default()
        });
    pb::JwtProvider {
        issuer: said.issuer.clone(),
        audiences: said.audiences.clone(),
        forward: said.forward_original_token,
        from_headers: headers.collect(),
        from_params: said.from_params.clone(),
        from_cookies: said.from_cookies.clone(),
        forward_payload_header: said.output_payload_to_header.clone().unwrap_or_default(),
        payload_in_metadata: PAYLOAD.to_owned(),
        claim_to_headers: claims.collect(),
        jwks_source_specifier: Some(keys),
        ..pb::JwtProvider::default()
    }
}
