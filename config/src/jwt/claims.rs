//! What a token says that decides whether it holds (RFC 7519 §4.1).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::Refused;
use crate::route::StringMatch;

/// The claims that are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// Who issued it (`iss`).
    pub issuer: Option<Arc<str>>,
    /// Whom it speaks of (`sub`).
    pub subject: Option<Arc<str>>,
    /// For whom it is meant (`aud`).
    pub audiences: Box<[Arc<str>]>,
    /// When its time is over, in seconds since 1970 (`exp`).
    pub expires: Option<u64>,
    /// When its time begins (`nbf`).
    pub not_before: Option<u64>,
    /// Its name (`jti`).
    pub id: Option<Arc<str>>,
}

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who must have issued it; `None`: anybody whose key fits.
    pub issuer: Option<&'a str>,
    /// One of these must be among those it is meant for; empty: it is not looked at.
    pub audiences: &'a [Arc<str>],
    /// Whom it may speak of; `None`: anybody.
    pub subjects: Option<&'a StringMatch>,
    /// How far clocks may be apart.
    pub skew: Duration,
    /// Whether it must have an end.
    pub require_expiration: bool,
    /// How far away its end may be; `None`: any time.
    pub lifetime_max: Option<Duration>,
}

impl Registered {
    pub(super) fn of(payload: &Map<String, Value>) -> Result<Self, Refused> {
        Ok(Self {
            issuer: text(payload, "iss", Refused::IssuerKind)?,
            subject: text(payload, "sub", Refused::SubjectKind)?,
            not_before: {
                // Read and not used: a token whose time is no time is no token.
                time(payload, "iat", Refused::IssuedAtKind)?;
                time(payload, "nbf", Refused::NotBeforeKind)?
            },
            expires: time(payload, "exp", Refused::ExpiresKind)?,
            id: text(payload, "jti", Refused::IdKind)?,
            audiences: audiences(payload)?,
        })
    }

    /// Whether it is of the issuer wanted.
    ///
    /// # Errors
    /// If it is of another.
    pub fn check_issuer(&self, wanted: Option<&str>) -> Result<(), Refused> {
        match wanted {
            Some(wanted) if self.issuer.as_deref() != Some(wanted) => Err(Refused::Issuer),
            _ => Ok(()),
        }
    }

    /// Whether they are what is expected at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self, expected: &Expected<'_>, now: u64) -> Result<(), Refused> {
        self.check_issuer(expected.issuer)?;
        let skew = expected.skew.as_secs();
        if self
            .not_before
            .is_some_and(|it| it > now.saturating_add(skew))
        {
            return Err(Refused::NotYetValid);
        }
        if self.expires.is_some_and(|it| it.saturating_add(skew) < now) {
            return Err(Refused::Expired);
        }
        let latest = expected
            .lifetime_max
            .map(|it| now.saturating_add(it.as_secs()));
        match (self.expires, latest) {
            (None, Some(_)) => return Err(Refused::Lifetime),
            (None, None) if expected.require_expiration => return Err(Refused::Lifetime),
            (Some(expires), Some(latest)) if expires > latest => return Err(Refused::Lifetime),
            _ => {}
        }
        if let Some(subjects) = expected.subjects
            && !subjects.matches(self.subject.as_deref().unwrap_or_default().as_bytes())
        {
            return Err(Refused::Subject);
        }
        let meant = |wanted: &Arc<str>| self.audiences.contains(wanted);
        if !expected.audiences.is_empty() && !expected.audiences.iter().any(meant) {
            return Err(Refused::Audience);
        }
        Ok(())
    }
}

fn text(
    payload: &Map<String, Value>,
    name: &str,
    otherwise: Refused,
) -> Result<Option<Arc<str>>, Refused> {
    match payload.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str().into())),
        Some(_) => Err(otherwise),
    }
}

/// Seconds since 1970; parts of seconds are cut off (RFC 7519 §2, `NumericDate`).
fn time(
    payload: &Map<String, Value>,
    name: &str,
    otherwise: Refused,
) -> Result<Option<u64>, Refused> {
    let Some(value) = payload.get(name) else {
        return Ok(None);
    };
    if let Some(whole) = value.as_u64() {
        return Ok(Some(whole));
    }
    match value.as_f64() {
        // Above 2^53 nothing is a time that anybody means.
        Some(number) if (0.0..9_007_199_254_740_992.0).contains(&number) => Ok(Some(number as u64)),
        _ => Err(otherwise),
    }
}

fn audiences(payload: &Map<String, Value>) -> Result<Box<[Arc<str>]>, Refused> {
    match payload.get("aud") {
        None => Ok(Box::default()),
        Some(Value::String(one)) => Ok([one.as_str().into()].into()),
        Some(Value::Array(several)) => several
            .iter()
            .map(|it| it.as_str().map(Arc::from).ok_or(Refused::AudienceKind))
            .collect(),
        Some(_) => Err(Refused::AudienceKind),
    }
}
