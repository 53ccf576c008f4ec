//! What tellers say becomes secrets in force.

use std::sync::Arc;

use tracing::debug;
use weft_config::resource::Resource;
use weft_config::secret::{ROOT_CA, Secret, SecretKind, TrustAnchors, TrustBundle, Validation};
use weft_config::tls::{SecretName, SecretOrigin};

use crate::xds::accepted::Raw;
use crate::xds::core::apply::Applied;
use crate::xds::core::{Core, wall_clock};
use crate::xds::decode::{Refusal, decode};
use crate::xds::kind::Kind;
use crate::xds::lines::Lines;
use crate::xds::wire::{Incoming, Received, Wire};

impl Core {
    /// A response becomes secrets in force: good ones are applied, bad ones are named.
    pub(in crate::xds::core) fn apply_secrets(
        &mut self,
        teller: Teller<'_>,
        received: Received,
    ) -> Applied {
        let origin = &teller.origin();
        let mut applied = Applied::default();
        let mut lines = Lines::default();
        for incoming in received.resources {
            match self.apply_secret(teller, incoming, &mut lines) {
                Ok(Some(name)) => applied.names.push(name),
                Ok(None) => {}
                Err(refusal) => {
                    lines.refused(Kind::Secret, &refusal);
                    let secret = named(origin, &refusal.name);
                    let shown = Refusal {
                        name: secret.to_string(),
                        line: refusal.line.clone(),
                    };
                    self.status.refused(Kind::Secret, &shown);
                    applied.refused.push(refusal);
                }
            }
        }
        for name in &received.removed {
            // A new stream asks for it again; until it is told again, what was told stays.
            if let Some(wire) = self.wire_to(&named(origin, name)) {
                wire.lost(Kind::Secret, name);
            }
        }
        for (name, why) in &received.errors {
            lines.withheld(Kind::Secret, name, why);
            let secret = named(origin, name).to_string();
            let refusal = Refusal::new(secret, format!("withheld by the server: {why}"));
            self.status.refused(Kind::Secret, &refusal);
        }
        lines.end();
        self.count_secrets();
        applied
    }

    pub(in crate::xds::core) fn count_secrets(&self) {
        let count = i64::try_from(self.accepted.lock().secrets_told()).unwrap_or(i64::MAX);
        let stats = self.status.metrics().of(Kind::Secret.metric());
        stats.resources.set(count);
    }

    /// Applies one secret; its name, or `None` if nobody asked for it.
    fn apply_secret(
        &mut self,
        teller: Teller<'_>,
        incoming: Incoming,
        lines: &mut Lines,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let told = incoming.name.as_deref();
        let Some(packed) = incoming.packed else {
            return match incoming.ttl {
                Some(_) => Ok(None),
                None => Err(Refusal::new(
                    told.unwrap_or_default(),
                    "resource: must be there where no ttl is renewed",
                )),
            };
        };
        let Resource::Secret(secret) = decode(Kind::Secret, told, &packed, lines)? else {
            return Ok(None);
        };
        let name = named(&teller.origin(), &secret.name);
        let is_wanted = self.tellers.wanted.contains_key(&name) || self.is_roots(&name);
        if !is_wanted || !teller.is_asked_for(&name) {
            debug!(secret = %name, "secret that was not asked for left aside");
            return Ok(None);
        }
        let raw = Raw {
            version: incoming.version.clone(),
            packed,
            since: wall_clock(),
            has_private_key: matches!(secret.kind, SecretKind::Certificate(_)),
        };
        if !self.accepted.lock().has_secret(&name, &raw) {
            self.put_secret(&name, &secret)?;
            if self.is_roots(&name) {
                self.note_change(Kind::Secret);
            }
        }
        self.status.accepted(Kind::Secret, &name.to_string().into());
        self.accepted.lock().put_secret(name.clone(), raw);
        if let Some(wire) = self.wire_to(&name) {
            wire.holds(Kind::Secret, name.name.clone(), incoming.version);
        }
        Ok(Some(name.name))
    }

    /// Puts a secret where handshakes find it, if it is of use.
    pub(in crate::xds::core) fn put_secret(
        &mut self,
        name: &SecretName,
        secret: &Secret,
    ) -> Result<(), Refusal> {
        let refuse = |fault: String| Refusal::new(&*secret.name, fault);
        if let Some(wanted) = self.tellers.wanted.get(name)
            && !wanted.contains(&secret.kind.holds())
        {
            let fields: Vec<_> = wanted.iter().map(|holds| holds.field()).collect();
            let rule = format!(
                "must hold a {}, as which it is named",
                fields.join(" or a ")
            );
            return Err(refuse(rule));
        }
        let secrets = self.builder.secrets();
        let checked = secrets.check(&secret.kind);
        checked.map_err(|fault| refuse(fault.to_string()))?;
        if self.is_roots(name) {
            self.put_roots(secret)?;
        }
        self.builder.secrets().put(name, &secret.kind);
        Ok(())
    }

    /// The roots of the mesh. Whoever is judged by them is of our own trust domain.
    fn put_roots(&mut self, secret: &Secret) -> Result<(), Refusal> {
        let refuse = |fault: &str| Err(Refusal::new(&*secret.name, fault));
        let Some(trust_domain) = self.options.trust_domain.clone() else {
            return refuse("name: nobody asked for it");
        };
        let SecretKind::Validation(told) = &secret.kind else {
            return refuse("must be a validation_context");
        };
        let Some(TrustAnchors::Pem(roots)) = told.anchors.clone() else {
            return refuse("validation_context.trusted_ca: is missing");
        };
        let bundle = TrustBundle {
            trust_domain,
            roots,
        };
        let validation = Validation {
            anchors: Some(TrustAnchors::Spiffe(vec![bundle])),
            ..Validation::default()
        };
        self.builder.put_roots(validation);
        Ok(())
    }

    /// Whether a secret is the roots of the workload's mesh, which its identity needs whatever names them.
    pub(in crate::xds::core) fn is_roots(&self, secret: &SecretName) -> bool {
        secret.origin == SecretOrigin::Ads
            && *secret.name == *ROOT_CA
            && self.options.trust_domain.is_some()
    }

    /// The subscriptions that a secret is one of.
    fn wire_to(&mut self, secret: &SecretName) -> Option<&mut Wire> {
        match secret.origin {
            SecretOrigin::Ads => Some(&mut self.ads.wire),
            SecretOrigin::Server(_) => {
                let conversation = self.tellers.streams.get_mut(secret)?;
                Some(&mut conversation.wire)
            }
            SecretOrigin::Bootstrap | SecretOrigin::Provider | SecretOrigin::File(_) => None,
        }
    }
}

/// Who tells something.
#[derive(Clone, Copy, Debug)]
pub(in crate::xds::core) enum Teller<'a> {
    Ads,
    /// A server, on the stream for this secret.
    Stream(&'a SecretName),
    File(&'a Arc<str>),
}

impl Teller<'_> {
    fn origin(self) -> SecretOrigin {
        match self {
            Self::Ads => SecretOrigin::Ads,
            Self::Stream(secret) => secret.origin.clone(),
            Self::File(path) => SecretOrigin::File(path.clone()),
        }
    }

    fn is_asked_for(self, secret: &SecretName) -> bool {
        match self {
            Self::Stream(asked) => asked == secret,
            Self::Ads | Self::File(_) => true,
        }
    }
}

fn named(origin: &SecretOrigin, name: &str) -> SecretName {
    SecretName {
        origin: origin.clone(),
        name: name.into(),
    }
}
