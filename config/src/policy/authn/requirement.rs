//! Reading requirements: what of which providers, in any nesting.

use std::collections::BTreeMap;
use std::sync::Arc;

use weft_xds_proto::pb::envoy::extensions::filters::http::jwt_authn::v3 as pb;

use super::Requirement;
use crate::diag::{Diagnostics, FieldPath};

/// Requirements within one another.
const DEPTH_MAX: usize = 16;
/// Requirements of one filter.
const REQUIREMENTS_MAX: usize = 10_000;

/// Reads requirements that name `providers`, and counts them.
pub(super) struct Reader<'a> {
    pub(super) providers: &'a BTreeMap<&'a str, usize>,
    left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(providers: &'a BTreeMap<&'a str, usize>) -> Self {
        Self {
            providers,
            left: REQUIREMENTS_MAX,
        }
    }

    /// The outer `None` is a fault; the inner one needs nothing.
    pub(super) fn read(
        &mut self,
        proto: &pb::JwtRequirement,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Option<Requirement>> {
        self.at_depth(proto, &[], DEPTH_MAX, at, diag)
    }

    fn at_depth(
        &mut self,
        proto: &pb::JwtRequirement,
        beside: &[usize],
        depth: usize,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Option<Requirement>> {
        use pb::jwt_requirement::RequiresType as Type;
        let (Some(depth), Some(left)) = (depth.checked_sub(1), self.left.checked_sub(1)) else {
            let rule =
                format!("is one of more than {REQUIREMENTS_MAX} requirements, or {DEPTH_MAX} deep");
            diag.fault(at.clone(), rule);
            return None;
        };
        self.left = left;
        Some(Some(match &proto.requires_type {
            None => return Some(None),
            Some(Type::ProviderName(name)) => Requirement::Provider {
                provider: self.provider(name, &at.field("provider_name"), diag)?,
                audiences: None,
            },
            Some(Type::ProviderAndAudiences(both)) => {
                let at = at.field("provider_and_audiences");
                let audiences = both.audiences.iter().map(|it| Arc::from(it.as_str()));
                let audiences: Box<[Arc<str>]> = audiences.collect();
                Requirement::Provider {
                    provider: self.provider(
                        &both.provider_name,
                        &at.field("provider_name"),
                        diag,
                    )?,
                    audiences: Some(audiences).filter(|it| !it.is_empty()),
                }
            }
            Some(Type::RequiresAny(any)) => {
                let at = at.field("requires_any").field("requirements");
                let beside = self.named_in(&any.requirements);
                let parts = self.list(&any.requirements, &beside, depth, &at, diag)?;
                // One that needs nothing is enough.
                let Some(parts) = parts.into_iter().collect::<Option<Vec<_>>>() else {
                    return Some(None);
                };
                Requirement::Any(settled(parts))
            }
            Some(Type::RequiresAll(all)) => {
                let at = at.field("requires_all").field("requirements");
                let parts = self.list(&all.requirements, &[], depth, &at, diag)?;
                Requirement::All(parts.into_iter().flatten().collect())
            }
            Some(Type::AllowMissing(_)) => Requirement::AllowMissing(self.those(beside)),
            Some(Type::AllowMissingOrFailed(_)) => {
                Requirement::AllowMissingOrFailed(self.those(beside))
            }
            Some(Type::ExtractOnlyWithoutValidation(_)) => {
                let at = at.field("extract_only_without_validation");
                diag.fault(
                    at,
                    "is not supported: whoever likes could write such a token",
                );
                return None;
            }
        }))
    }

    fn list(
        &mut self,
        protos: &[pb::JwtRequirement],
        beside: &[usize],
        depth: usize,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<Vec<Option<Requirement>>> {
        if protos.len() < 2 {
            diag.fault(at.clone(), "must have at least two elements");
            return None;
        }
        let read: Vec<_> = (0..)
            .zip(protos)
            .map_while(|(index, proto)| {
                let more = self.left > 0;
                more.then(|| self.at_depth(proto, beside, depth, &at.index(index), diag))
            })
            .collect();
        if read.len() < protos.len() {
            diag.fault(
                at.clone(),
                format!("there are more than {REQUIREMENTS_MAX} requirements"),
            );
            return None;
        }
        read.into_iter().collect()
    }

    fn provider(&self, name: &str, at: &FieldPath, diag: &mut Diagnostics) -> Option<usize> {
        let known = self.providers.get(name).copied();
        diag.keep(
            at.clone(),
            known.ok_or_else(|| format!("there is no provider {name:?}")),
        )
    }

    fn named_in(&self, protos: &[pb::JwtRequirement]) -> Vec<usize> {
        use pb::jwt_requirement::RequiresType as Type;
        let named = protos.iter().filter_map(|it| match &it.requires_type {
            Some(Type::ProviderName(name)) => Some(name),
            Some(Type::ProviderAndAudiences(both)) => Some(&both.provider_name),
            _ => None,
        });
        named
            .filter_map(|name| self.providers.get(name.as_str()).copied())
            .collect()
    }

    /// The providers that a list names, else all.
    fn those(&self, beside: &[usize]) -> Box<[usize]> {
        match beside {
            [] => self.providers.values().copied().collect(),
            named => named.into(),
        }
    }
}

/// What lets anything pass comes last, and once: the others say first what they find.
fn settled(parts: Vec<Requirement>) -> Box<[Requirement]> {
    let lenient = |it: &Requirement| {
        matches!(
            it,
            Requirement::AllowMissing(_) | Requirement::AllowMissingOrFailed(_)
        )
    };
    let (passing, mut parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(lenient);
    let failed = |it: &Requirement| matches!(it, Requirement::AllowMissingOrFailed(_));
    let most = passing.iter().find(|it| failed(it)).or(passing.first());
    parts.extend(most.cloned());
    parts.into()
}
