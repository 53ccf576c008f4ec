//! The words for what a command is about: its own, and those of kinds, as users of `kubectl` type them.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use weft_config::gateway_api::Kind;

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject<T> {
    /// One of its own words.
    Own(T),
    /// The objects of one kind.
    Kind(Kind),
}

/// Which of its names a kind is shown by; all are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// `HTTPRoute`
    Singular,
    /// `httproutes`
    Plural,
}

/// Reads one of the words of `T`, or a kind that is none of them. Case counts if the argument does not ignore it.
pub(super) fn subject<T>(shown: Shown) -> impl TypedValueParser<Value = Subject<T>>
where
    T: ValueEnum + Send + Sync + 'static,
{
    let own = T::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value);
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| T::from_str(kind.plural(), true).is_err())
        .map(|kind| match shown {
            Shown::Singular => PossibleValue::new(kind.name()).alias(kind.plural()),
            Shown::Plural => PossibleValue::new(kind.plural()).alias(kind.name()),
        });
    let kinds = kinds.map(|kind| kind.help("Objects of this kind alone"));
    PossibleValuesParser::new(own.chain(kinds)).try_map(|word| match T::from_str(&word, true) {
        Ok(own) => Ok(Subject::Own(own)),
        Err(error) => Kind::find(&word).map(Subject::Kind).ok_or(error),
    })
}

/// A parser with the words that it takes, for help and completion.
#[derive(Clone)]
pub(super) struct WithWords<P> {
    /// The parser.
    pub(super) parser: P,
    /// The words.
    pub(super) words: Vec<&'static str>,
}

impl<P: TypedValueParser> TypedValueParser for WithWords<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, clap::Error> {
        self.parser.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let words = self.words.iter().copied();
        Some(Box::new(words.map(PossibleValue::new)))
    }
}
