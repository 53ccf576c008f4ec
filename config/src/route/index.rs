//! Finding candidates without looking at every virtual host and every route.
//!
//! The index only ever narrows: which route matches is decided by [`RouteMatch::mismatch_of`], and in the order of
//! the routes, so that the first that matches wins exactly as if all had been tried.
//!
//! [`RouteMatch::mismatch_of`]: super::RouteMatch

use std::cmp::Ordering;
use std::collections::HashMap;

use super::{PathMatch, Route, VirtualHost};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Everything that is looked up in a table.
#[derive(Clone, Debug, Default)]
pub(super) struct TableIndex {
    /// Which virtual host serves an authority.
    pub(super) hosts: HostIndex,
    /// Per virtual host, in their order.
    pub(super) routes: Vec<RouteIndex>,
    /// Per virtual host, the number of its first route.
    pub(super) first_route: Vec<u32>,
}

/// Longest authority that can match anything but `*`: a DNS name has 253 characters.
const HOST_BYTES_MAX: usize = 260;

/// Virtual hosts by their domains.
#[derive(Clone, Debug, Default)]
pub(super) struct HostIndex {
    exact: Map<Box<[u8]>, u32>,
    /// `*.example.com` by what follows the star.
    suffixes: Wildcards,
    /// `example.*` by what precedes the star.
    prefixes: Wildcards,
    any: Option<u32>,
}

/// The fixed parts of wildcard domains, and their lengths from the longest down.
#[derive(Clone, Debug, Default)]
struct Wildcards {
    by_part: Map<Box<[u8]>, u32>,
    lengths: Vec<usize>,
}

impl HostIndex {
    /// Notes that `domain`, in lower case, is served by virtual host `host`.
    ///
    /// # Errors
    /// The virtual host that has the domain already.
    pub(super) fn insert(&mut self, domain: &str, host: u32) -> Result<(), u32> {
        if domain == "*" {
            return match self.any.replace(host) {
                Some(other) => Err(other),
                None => Ok(()),
            };
        }
        let (map, part) = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (Some(suffix), _) => (self.suffixes.with_length(suffix.len()), suffix),
            (None, Some(prefix)) => (self.prefixes.with_length(prefix.len()), prefix),
            (None, None) => (&mut self.exact, domain),
        };
        match map.insert(part.as_bytes().into(), host) {
            Some(other) => Err(other),
            None => Ok(()),
        }
    }

    /// The virtual host for `authority`: exact, then the longest `*suffix`, then the longest `prefix*`, then `*`.
    pub(super) fn find(&self, authority: &[u8]) -> Option<u32> {
        let mut buffer = [0; HOST_BYTES_MAX];
        let Some(host) = buffer.get_mut(..authority.len()) else {
            return self.any;
        };
        host.copy_from_slice(authority);
        host.make_ascii_lowercase();
        let host = &*host;
        let suffix = |length| host.get(host.len().checked_sub(length)?..);
        let prefix = |length| host.get(..length);
        (self.exact.get(host).copied())
            .or_else(|| self.suffixes.find(host.len(), suffix))
            .or_else(|| self.prefixes.find(host.len(), prefix))
            .or(self.any)
    }
}

impl Wildcards {
    fn with_length(&mut self, length: usize) -> &mut Map<Box<[u8]>, u32> {
        let at = self.lengths.partition_point(|have| *have > length);
        if self.lengths.get(at) != Some(&length) {
            self.lengths.insert(at, length);
        }
        &mut self.by_part
    }

    /// The star stands for at least one character.
    fn find<'h>(
        &self,
        host_length: usize,
        part: impl Fn(usize) -> Option<&'h [u8]>,
    ) -> Option<u32> {
        self.lengths
            .iter()
            .filter(|length| **length < host_length)
            .find_map(|length| self.by_part.get(part(*length)?).copied())
    }
}

/// Routes of one virtual host by what is plain about their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteIndex {
    exact: Map<Box<[u8]>, Vec<u32>>,
    literal: PrefixIndex,
    folded: PrefixIndex,
    connect: Vec<u32>,
}

impl RouteIndex {
    pub(super) fn of(host: &VirtualHost) -> Self {
        let mut index = Self::default();
        let mut literal = Vec::new();
        let mut folded = Vec::new();
        for (route, at) in host.routes.iter().zip(0..) {
            let prefixes = match route.matches.case_sensitive {
                true => &mut literal,
                false => &mut folded,
            };
            match &route.matches.path {
                PathMatch::Exact(path) if route.matches.case_sensitive => {
                    let routes = index.exact.entry(path.as_bytes().into()).or_default();
                    routes.push(at);
                }
                PathMatch::Exact(path)
                | PathMatch::Prefix(path)
                | PathMatch::SegmentPrefix(path) => prefixes.push((path.to_string(), at)),
                // `case_sensitive` says nothing about regular expressions.
                PathMatch::Regex(pattern) => literal.push((pattern.literal_prefix(), at)),
                PathMatch::Connect => index.connect.push(at),
            }
        }
        index.literal = PrefixIndex::build(literal, Fold::No);
        index.folded = PrefixIndex::build(folded, Fold::Ascii);
        index
    }

    /// The first of `routes` that `matches` accepts, among those whose path may be `path`.
    pub(super) fn first<'r>(
        &self,
        routes: &'r [Route],
        path: &[u8],
        matches: impl Fn(&Route) -> bool,
    ) -> Option<&'r Route> {
        let exact = self.exact.get(path).map_or(&[][..], Vec::as_slice);
        let literal = self.literal.deepest(path);
        let folded = self.folded.deepest(path);
        let mut from = 0;
        loop {
            let candidate = [next(exact, from), next(&self.connect, from)]
                .into_iter()
                .chain([
                    self.literal.next(literal, from),
                    self.folded.next(folded, from),
                ])
                .flatten()
                .min()?;
            let route = routes.get(usize::try_from(candidate).ok()?)?;
            if matches(route) {
                return Some(route);
            }
            from = candidate + 1;
        }
    }
}

/// The first number in the ascending `list` that is at least `from`.
fn next(list: &[u32], from: u32) -> Option<u32> {
    if list.first().is_none_or(|first| *first >= from) {
        return list.first().copied();
    }
    list.get(list.partition_point(|at| *at < from)).copied()
}

/// Whether prefixes are compared without regard to ASCII case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fold {
    #[default]
    No,
    Ascii,
}

impl Fold {
    fn compare(self, prefix: &[u8], path: &[u8]) -> Ordering {
        match self {
            Self::No => prefix.cmp(path),
            Self::Ascii => prefix
                .iter()
                .copied()
                .cmp(path.iter().map(u8::to_ascii_lowercase)),
        }
    }

    fn starts(self, path: &[u8], prefix: &[u8]) -> bool {
        match (self, path.get(..prefix.len())) {
            (_, None) => false,
            (Self::No, Some(start)) => start == prefix,
            (Self::Ascii, Some(start)) => start.eq_ignore_ascii_case(prefix),
        }
    }
}

/// Prefixes in lexical order, each knowing the longest other one that it starts with.
///
/// Every prefix of a path sorts before the path, and the greatest of all that do is one of them or starts with all
/// of them; so one binary search and a walk up the parents find every prefix of a path.
#[derive(Clone, Debug, Default)]
struct PrefixIndex {
    nodes: Vec<Prefix>,
    fold: Fold,
}

#[derive(Clone, Debug)]
struct Prefix {
    text: Box<[u8]>,
    parent: Option<u32>,
    /// Ascending.
    routes: Vec<u32>,
}

impl PrefixIndex {
    fn build(mut prefixes: Vec<(String, u32)>, fold: Fold) -> Self {
        for (text, _) in &mut prefixes {
            if fold == Fold::Ascii {
                text.make_ascii_lowercase();
            }
        }
        prefixes.sort();
        let mut index = Self {
            nodes: Vec::new(),
            fold,
        };
        for (text, route) in prefixes {
            index.push(text.into_bytes(), route);
        }
        index
    }

    fn push(&mut self, text: Vec<u8>, route: u32) {
        if let Some(last) = self.nodes.last_mut()
            && *last.text == *text
        {
            last.routes.push(route);
            return;
        }
        let last = u32::try_from(self.nodes.len())
            .ok()
            .and_then(|n| n.checked_sub(1));
        let parent = self
            .ancestors(last)
            .find(|(_, node)| text.starts_with(&node.text));
        let parent = parent.map(|(at, _)| at);
        self.nodes.push(Prefix {
            text: text.into(),
            parent,
            routes: vec![route],
        });
    }

    /// The longest prefix that `path` starts with.
    fn deepest(&self, path: &[u8]) -> Option<u32> {
        let after = self
            .nodes
            .partition_point(|node| self.fold.compare(&node.text, path).is_le());
        let before = u32::try_from(after).ok()?.checked_sub(1);
        self.ancestors(before)
            .find(|(_, node)| self.fold.starts(path, &node.text))
            .map(|(at, _)| at)
    }

    /// The first route from `from` on, of the prefix `at` and all that it starts with.
    fn next(&self, at: Option<u32>, from: u32) -> Option<u32> {
        self.ancestors(at)
            .filter_map(|(_, node)| next(&node.routes, from))
            .min()
    }

    /// The prefix `at`, and its parents up to the shortest.
    fn ancestors(&self, at: Option<u32>) -> impl Iterator<Item = (u32, &Prefix)> {
        let node = |at: u32| Some((at, self.nodes.get(usize::try_from(at).ok()?)?));
        std::iter::successors(at.and_then(node), move |(_, it)| it.parent.and_then(node))
    }
}
