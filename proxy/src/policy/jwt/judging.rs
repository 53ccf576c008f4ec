//! Judges the tokens of one request.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::time::Instant;
use weft_config::jwt::{Refused, Token};
use weft_config::policy::authn::{Place, Requirement};
use weft_config::route::RequestHead;

use super::{Good, Issuer, JwtGate, Keys, TokenCache};

/// Tokens of one request.
const TOKENS_MAX: usize = 16;

/// What is known of a request whose tokens are judged.
pub struct Judging<'a> {
    /// Its head.
    pub head: &'a dyn RequestHead,
    /// The time, in seconds since 1970.
    pub wall: u64,
    /// When the request came: keys that were fetched later are new enough for it.
    pub since: Instant,
    /// Whether it may wait for keys.
    pub patient: bool,
    /// What the worker remembers.
    pub cache: &'a mut TokenCache,
}

/// What is to become of a request.
#[derive(Debug)]
pub enum Opinion<'g> {
    /// It goes on, with what these tokens say.
    Pass(Accepted<'g>),
    /// It is to ask again when more than so many attempts to get these keys have ended.
    Wait(Arc<Keys>, u64),
    /// It does not.
    Refused(Refused),
}

/// Tokens that hold, each with the place that it stood in where that is to be emptied.
pub type Accepted<'g> = SmallVec<[(Arc<Good>, Option<&'g Place>); 1]>;

/// Why there is nothing more to look at.
enum Stop {
    Wait(Arc<Keys>, u64),
    Refused(Refused),
}

impl From<Refused> for Stop {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

/// A token and where it stood.
type Standing<'g, 'h> = (&'g Place, Cow<'h, [u8]>);

impl JwtGate {
    /// Judges a request by `requirement`. Nothing of it is changed.
    pub fn judge<'g>(&'g self, requirement: &'g Requirement, judging: Judging<'_>) -> Opinion<'g> {
        let mut work = Work {
            gate: self,
            judging,
            accepted: Accepted::new(),
        };
        match work.meets(requirement) {
            Ok(()) => Opinion::Pass(work.accepted),
            Err(Stop::Wait(keys, seen)) => Opinion::Wait(keys, seen),
            Err(Stop::Refused(why)) => Opinion::Refused(why),
        }
    }
}

struct Work<'g, 'a> {
    gate: &'g JwtGate,
    judging: Judging<'a>,
    accepted: Accepted<'g>,
}

impl<'g, 'a> Work<'g, 'a> {
    fn meets(&mut self, requirement: &'g Requirement) -> Result<(), Stop> {
        match requirement {
            Requirement::Provider {
                provider,
                audiences,
            } => self.provider(*provider, audiences.as_deref()),
            Requirement::All(parts) => parts.iter().try_for_each(|part| self.meets(part)),
            Requirement::Any(parts) => self.any(parts),
            Requirement::AllowMissing(providers) => match self.of_any(providers, false) {
                Err(Stop::Refused(Refused::Missing)) => Ok(()),
                result => result,
            },
            Requirement::AllowMissingOrFailed(providers) => match self.of_any(providers, true) {
                Err(Stop::Refused(_)) => Ok(()),
                result => result,
            },
        }
    }

    /// The first that is met; else the reason that says most: a wrong token, before one of somebody else, before none.
    fn any(&mut self, parts: &'g [Requirement]) -> Result<(), Stop> {
        let mut said = Refused::Missing;
        let before = self.accepted.len();
        for part in parts {
            match self.meets(part) {
                Ok(()) => return Ok(()),
                Err(stop @ Stop::Wait(..)) => return Err(stop),
                Err(Stop::Refused(Refused::Missing)) => {}
                Err(Stop::Refused(Refused::Issuer)) if said != Refused::Missing => {}
                Err(Stop::Refused(why)) => said = why,
            }
            self.accepted.truncate(before);
        }
        Err(said.into())
    }

    /// All tokens in the places of a provider must be good tokens of it: whoever looks at the request behind us may take any
    /// of them.
    fn provider(&mut self, index: usize, audiences: Option<&'g [Arc<str>]>) -> Result<(), Stop> {
        let issuer = self.gate.issuer(index).ok_or(Refused::NoKeys)?;
        let found = self.found(issuer.provider.places.iter())?;
        if found.is_empty() {
            return Err(Refused::Missing.into());
        }
        for (place, token) in found.iter().rev() {
            let good = self.judged(issuer, audiences, token)?;
            self.accept(issuer, good, place);
        }
        Ok(())
    }

    /// Tokens in the places of some providers, each by the provider that it names.
    fn of_any(&mut self, providers: &'g [usize], lenient: bool) -> Result<(), Stop> {
        let gate = self.gate;
        let issuers = || providers.iter().filter_map(|it| gate.issuer(*it));
        let places = issuers().flat_map(|it| it.provider.places.iter());
        let found = self.found(places)?;
        if found.is_empty() {
            return Err(Refused::Missing.into());
        }
        for (place, token) in found.iter().rev() {
            let here = issuers().filter(|it| it.provider.places.contains(place));
            match self.judged_by_name(here, token) {
                Ok((issuer, good)) => self.accept(issuer, good, place),
                Err(Stop::Refused(_)) if lenient => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    fn judged_by_name(
        &mut self,
        issuers: impl Iterator<Item = &'g Issuer> + Clone,
        token: &[u8],
    ) -> Result<(&'g Issuer, Arc<Good>), Stop> {
        // One that is remembered is of the provider that remembers it.
        for issuer in issuers.clone() {
            if let Some(good) = self.remembered(issuer, token) {
                self.check(issuer, None, &good)?;
                return Ok((issuer, good));
            }
        }
        let read = Token::read(token)?;
        let wanted = read.claims.issuer.as_deref();
        let named =
            |it: &&Issuer| it.provider.issuer.is_some() && it.provider.issuer.as_deref() == wanted;
        let unnamed = |it: &&Issuer| it.provider.issuer.is_none();
        let issuer = issuers.clone().find(named);
        let issuer = issuer.or_else(|| issuers.clone().find(unnamed));
        let issuer = issuer.ok_or(Refused::Issuer)?;
        Ok((issuer, self.verified(issuer, None, token, read)?))
    }

    fn judged(
        &mut self,
        issuer: &Issuer,
        audiences: Option<&[Arc<str>]>,
        token: &[u8],
    ) -> Result<Arc<Good>, Stop> {
        if let Some(good) = self.remembered(issuer, token) {
            self.check(issuer, audiences, &good)?;
            return Ok(good);
        }
        self.verified(issuer, audiences, token, Token::read(token)?)
    }

    fn check(
        &self,
        issuer: &Issuer,
        audiences: Option<&[Arc<str>]>,
        good: &Good,
    ) -> Result<(), Refused> {
        let expected = issuer.provider.expected(audiences);
        good.claims.check(&expected, self.judging.wall)
    }

    fn remembered(&mut self, issuer: &Issuer, token: &[u8]) -> Option<Arc<Good>> {
        let state = issuer.keys.state();
        let keys = state.set.as_ref()?.number;
        let tokens_max = issuer.provider.cached_tokens_max;
        let good = self.judging.cache.get(issuer.id, keys, token, tokens_max);
        if good.is_some() {
            self.gate.stats.remembered.inc();
        }
        good
    }

    /// A token that is not remembered: what it says first, for that costs nothing.
    fn verified(
        &mut self,
        issuer: &Issuer,
        audiences: Option<&[Arc<str>]>,
        text: &[u8],
        token: Token<'_>,
    ) -> Result<Arc<Good>, Stop> {
        let provider = &issuer.provider;
        token
            .claims
            .check(&provider.expected(audiences), self.judging.wall)?;
        let state = issuer.keys.state();
        let Some(keys) = &state.set else {
            return Err(match state.tried_at {
                None if self.judging.patient => Stop::Wait(issuer.keys.clone(), state.attempts),
                _ if issuer.keys.is_remote() => Refused::Fetch.into(),
                _ => Refused::NoKeys.into(),
            });
        };
        if let Err(why) = keys.set.verify(&token) {
            let newer = state.tried_at.is_some_and(|at| at >= self.judging.since);
            let unknown = why == Refused::NoKey && token.key_id.is_some();
            if unknown && !newer && self.judging.patient && issuer.keys.is_remote() {
                issuer.keys.ask();
                return Err(Stop::Wait(issuer.keys.clone(), state.attempts));
            }
            return Err(why.into());
        }
        self.gate.stats.verified.inc();
        let good = Arc::new(Good::new(provider, token));
        if text.len() <= provider.cached_token_bytes_max {
            let (keys, tokens_max) = (keys.number, provider.cached_tokens_max);
            let cache = &mut self.judging.cache;
            cache.insert(issuer.id, keys, text, &good, tokens_max);
        }
        Ok(good)
    }

    /// Tokens in these places, but for those that were accepted and do not go on.
    fn found(
        &self,
        places: impl Iterator<Item = &'g Place>,
    ) -> Result<SmallVec<[Standing<'g, 'a>; 2]>, Refused> {
        let mut found: SmallVec<[Standing<'g, 'a>; 2]> = SmallVec::new();
        let mut seen: SmallVec<[&Place; 8]> = SmallVec::new();
        for place in places {
            let emptied = self.accepted.iter().any(|(_, it)| *it == Some(place));
            if emptied || seen.contains(&place) {
                continue;
            }
            seen.push(place);
            found.extend(
                place
                    .tokens(self.judging.head)
                    .into_iter()
                    .map(|it| (place, it)),
            );
        }
        match found.len() > TOKENS_MAX {
            true => Err(Refused::TooLarge),
            false => Ok(found),
        }
    }

    fn accept(&mut self, issuer: &'g Issuer, good: Arc<Good>, place: &'g Place) {
        let emptied = !issuer.provider.forward && !matches!(place, Place::Cookie(_));
        self.accepted.push((good, emptied.then_some(place)));
    }
}
