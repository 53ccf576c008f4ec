//! Conditions on what verified tokens say (`type.matcher.v3.MetadataMatcher`).

use std::sync::Arc;

use serde_json::Value;
use weft_xds_proto::pb::envoy::r#type::matcher::v3 as pb;

use super::Claims;
use crate::policy::authn::JWT_AUTHN_NAME;
use crate::route::{StringMatch, string_match};

/// `or_match` and `list_match` within one another.
const DEPTH_MAX: usize = 16;

/// A condition on a value of a token's payload.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimMatch {
    /// The name that the payload was put under, then the way to the value.
    pub path: Box<[Arc<str>]>,
    /// What it must be.
    pub value: ClaimValue,
    /// Turned round.
    pub invert: bool,
}

/// What a value must be (`ValueMatcher`). A value that is not there is none of these.
#[derive(Clone, Debug, PartialEq)]
pub enum ClaimValue {
    /// `null`.
    Null,
    /// This number.
    Number(f64),
    /// A number from the first to below the second.
    Range(f64, f64),
    /// A text.
    Text(StringMatch),
    /// True or false.
    Bool(bool),
    /// Whatever it is.
    Present,
    /// Nothing will do (`present_match: false`).
    Never,
    /// A list with such an element.
    Element(Box<ClaimValue>),
    /// One of these.
    Either(Box<[ClaimValue]>),
}

impl ClaimMatch {
    pub(super) fn parse(proto: &pb::MetadataMatcher) -> Result<Self, String> {
        use pb::metadata_matcher::path_segment::Segment;
        // All that there is to ask for here.
        if proto.filter != JWT_AUTHN_NAME {
            return Err(format!(
                "nothing here writes metadata of {:?}; {JWT_AUTHN_NAME} is what there is",
                proto.filter
            ));
        }
        let path: Vec<Arc<str>> = proto
            .path
            .iter()
            .filter_map(|it| it.segment.as_ref())
            .map(|Segment::Key(key)| key.as_str().into())
            .collect();
        if path.is_empty() || path.len() != proto.path.len() {
            return Err("path must name a key in each segment".to_owned());
        }
        let value = proto.value.as_ref().ok_or("has no value")?;
        Ok(Self {
            path: path.into(),
            value: ClaimValue::parse(value, DEPTH_MAX)?,
            invert: proto.invert,
        })
    }

    /// Whether it holds for what tokens say.
    pub(super) fn holds(&self, claims: Option<&Claims>) -> bool {
        let found = claims.and_then(|claims| claims.at(&self.path));
        found.is_some_and(|found| self.value.matches(found)) != self.invert
    }
}

impl Claims {
    /// Puts a payload under a name, instead of one that is there.
    pub fn put(&mut self, name: &Arc<str>, payload: &Arc<Value>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, before)) => before.clone_from(payload),
            None => self.0.push((name.clone(), payload.clone())),
        }
    }

    /// The value at a path, whose first part is the name that a payload was put under.
    fn at(&self, path: &[Arc<str>]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let (_, payload) = self.0.iter().find(|(name, _)| name == first)?;
        rest.iter()
            .try_fold(&**payload, |value, key| value.as_object()?.get(&**key))
    }
}

impl ClaimValue {
    fn parse(proto: &pb::ValueMatcher, depth: usize) -> Result<Self, String> {
        use pb::value_matcher::MatchPattern as Pattern;
        let deeper = depth
            .checked_sub(1)
            .ok_or_else(|| format!("is more than {DEPTH_MAX} values deep"))?;
        Ok(match proto.match_pattern.as_ref() {
            Some(Pattern::NullMatch(_)) => Self::Null,
            Some(Pattern::DoubleMatch(number)) => Self::of_number(number)?,
            Some(Pattern::StringMatch(text)) => Self::Text(string_match(text)?),
            Some(Pattern::BoolMatch(wanted)) => Self::Bool(*wanted),
            Some(Pattern::PresentMatch(true)) => Self::Present,
            Some(Pattern::PresentMatch(false)) => Self::Never,
            Some(Pattern::ListMatch(list)) => {
                let Some(pb::list_matcher::MatchPattern::OneOf(element)) = &list.match_pattern
                else {
                    return Err("list_match has no one_of".to_owned());
                };
                Self::Element(Box::new(Self::parse(element, deeper)?))
            }
            Some(Pattern::OrMatch(either)) => {
                let values = either.value_matchers.iter();
                let values: Vec<Self> = values
                    .map(|it| Self::parse(it, deeper))
                    .collect::<Result<_, _>>()?;
                if values.len() < 2 {
                    return Err("or_match must have at least two value_matchers".to_owned());
                }
                Self::Either(values.into())
            }
            None => return Err("value has no match_pattern".to_owned()),
        })
    }

    fn of_number(proto: &pb::DoubleMatcher) -> Result<Self, String> {
        use pb::double_matcher::MatchPattern as Pattern;
        match &proto.match_pattern {
            Some(Pattern::Exact(number)) => Ok(Self::Number(*number)),
            Some(Pattern::Range(range)) => Ok(Self::Range(range.start, range.end)),
            None => Err("double_match has no match_pattern".to_owned()),
        }
    }

    fn matches(&self, found: &Value) -> bool {
        match self {
            Self::Null => found.is_null(),
            Self::Number(wanted) => found.as_f64() == Some(*wanted),
            Self::Range(start, end) => found
                .as_f64()
                .is_some_and(|it| (*start..*end).contains(&it)),
            Self::Text(wanted) => found
                .as_str()
                .is_some_and(|it| wanted.matches(it.as_bytes())),
            Self::Bool(wanted) => found.as_bool() == Some(*wanted),
            Self::Present => true,
            Self::Never => false,
            Self::Element(wanted) => found
                .as_array()
                .is_some_and(|list| list.iter().any(|it| wanted.matches(it))),
            Self::Either(any) => any.iter().any(|it| it.matches(found)),
        }
    }
}
