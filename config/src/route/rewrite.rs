//! How paths change: rewrites, redirects, normalisation.

use regex::bytes::Captures;

use super::matching::split_path;
use super::{PathMatch, PathRewrite, Redirect, RequestHead};

impl PathRewrite {
    /// Writes what becomes of `path_and_query`, which `matched` has matched, to the end of `out`. A fragment is cut
    /// off; the result starts with a slash whatever the rewrite says.
    ///
    /// Where a prefix of whole segments is replaced, exactly one slash stands between what replaces it and the rest,
    /// as Gateway API wants it (`ReplacePrefixMatch`); Envoy would leave two where both sides bring one.
    pub fn apply(&self, path_and_query: &[u8], matched: &PathMatch, out: &mut Vec<u8>) {
        let (path, query) = split_path(path_and_query);
        self.rewrite_path(path, matched, out);
        push_query(query, out);
    }

    fn rewrite_path(&self, path: &[u8], matched: &PathMatch, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::Keep => out.extend_from_slice(path),
            Self::Full(full) => out.extend_from_slice(full.as_bytes()),
            Self::Prefix(prefix) => replace_prefix(path, matched, prefix, out),
            Self::Regex(pattern, substitution) => {
                let replace = |captures: &Captures<'_>| expand(substitution, captures);
                out.extend_from_slice(&pattern.0.replace_all(path, replace));
            }
        }
        if *self != Self::Keep && out.get(start) != Some(&b'/') {
            out.insert(start, b'/');
        }
    }
}

/// What `matched` fixes of the path becomes `prefix`; a path matched as a whole is replaced as a whole.
fn replace_prefix(path: &[u8], matched: &PathMatch, prefix: &str, out: &mut Vec<u8>) {
    let (length, by_segment) = match matched {
        PathMatch::Prefix(matched) => (matched.len(), false),
        PathMatch::SegmentPrefix(matched) => (matched.len(), true),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Connect => (path.len(), false),
    };
    let rest = path.get(length..).unwrap_or_default();
    let prefix = match by_segment && !rest.is_empty() {
        true => prefix.strip_suffix('/').unwrap_or(prefix),
        false => prefix,
    };
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(rest);
}

/// The substitution with `\0` to `\9` as the groups of the match and `\\` as a backslash; the parser has checked it.
fn expand(substitution: &str, captures: &Captures<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(substitution.len());
    let mut rest = substitution.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next() {
                Some(digit @ b'0'..=b'9') => {
                    let group = captures.get(usize::from(digit - b'0'));
                    out.extend(group.iter().flat_map(|group| group.as_bytes()));
                }
                other => out.extend(other),
            },
            byte => out.push(byte),
        }
    }
    out
}

fn push_query(query: &[u8], out: &mut Vec<u8>) {
    if !query.is_empty() {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

impl Redirect {
    /// Writes the value of `Location` to the end of `out`; `scheme` is how the request came, `http` or `https`.
    ///
    /// A port that the redirect does not give stays with the host it came with, unless it is the own port of either
    /// scheme (Envoy); it is left out where it is the own port of the new scheme (Gateway API).
    pub fn location(
        &self,
        head: &impl RequestHead,
        scheme: &str,
        matched: &PathMatch,
        out: &mut Vec<u8>,
    ) {
        let scheme = self.scheme.as_deref().unwrap_or(scheme);
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        let (own_host, own_port) = split_port(head.authority());
        match &self.host {
            Some(host) => out.extend_from_slice(host.as_bytes()),
            None => out.extend_from_slice(own_host),
        }
        let kept = match self.host {
            Some(_) => None,
            None => own_port.filter(|port| ![80, 443].contains(port) || self.scheme.is_none()),
        };
        let usual = if scheme == "https" { 443 } else { 80 };
        if let Some(port) = self.port.or(kept).filter(|port| *port != usual) {
            out.extend_from_slice(format!(":{port}").as_bytes());
        }
        let (path, query) = split_path(head.path_and_query());
        self.path.rewrite_path(path, matched, out);
        // A full path may bring its own query, which then takes the place of the request's.
        let own_query = matches!(&self.path, PathRewrite::Full(full) if full.contains('?'));
        if !self.strip_query && !own_query {
            push_query(query, out);
        }
    }
}

/// Host and port of an authority; a port that is not a number stays with the host.
fn split_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let host = super::table::without_port(authority);
    let port = authority
        .get(host.len() + 1..)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok());
    match port {
        Some(port) => (host, Some(port)),
        None => (authority, None),
    }
}

/// Why a path cannot be normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NormalizeError {
    /// It does not start with a slash.
    #[error("the path does not start with /")]
    NotAbsolute,
    /// `..` leads above the root.
    #[error("the path leads above the root")]
    AboveRoot,
}

/// Writes `path_and_query` in normal form to the end of `out`: unreserved characters decoded, other escapes in upper
/// case, `.` and `..` segments resolved (RFC 3986 section 6.2.2), backslashes as slashes, and, where `merge_slashes`,
/// runs of slashes merged. The query stays as it is; a fragment is cut off.
///
/// # Errors
/// If the path is not absolute or leads above the root; `out` is then as it was.
pub fn normalize_path(
    path_and_query: &[u8],
    merge_slashes: bool,
    out: &mut Vec<u8>,
) -> Result<(), NormalizeError> {
    let (path, query) = split_path(path_and_query);
    let start = out.len();
    let Some(path) = path.strip_prefix(b"/").or_else(|| path.strip_prefix(b"\\")) else {
        return Err(NormalizeError::NotAbsolute);
    };
    let mut segments = path.split(|byte| matches!(byte, b'/' | b'\\')).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match dots(segment) {
            Some(1) if last => out.push(b'/'),
            Some(1) => {}
            Some(_) => {
                if out.len() == start {
                    // Nothing has been written that would have to go.
                    return Err(NormalizeError::AboveRoot);
                }
                let kept = out.get(start..).unwrap_or_default();
                let parent = memchr::memrchr(b'/', kept).unwrap_or(0);
                out.truncate(start + parent);
                if last {
                    out.push(b'/');
                }
            }
            None if segment.is_empty() && merge_slashes && !last => {}
            None => {
                out.push(b'/');
                push_decoded(segment, out);
            }
        }
    }
    push_query(query, out);
    Ok(())
}

/// One or two if the segment is `.` or `..`, escaped or not.
fn dots(segment: &[u8]) -> Option<usize> {
    let mut rest = segment;
    let mut count = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
    (1..=2).contains(&count).then_some(count)
}

/// Decodes escapes of unreserved characters, which mean the same either way; others get capital digits.
fn push_decoded(segment: &[u8], out: &mut Vec<u8>) {
    let mut rest = segment;
    while let Some((first, after)) = rest.split_first() {
        let escape = match rest {
            [b'%', high, low, after @ ..] => hex(*high).zip(hex(*low)).map(|it| (it, after)),
            _ => None,
        };
        let Some(((high, low), after)) = escape else {
            out.push(*first);
            rest = after;
            continue;
        };
        let byte = high << 4 | low;
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
        rest = after;
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|it| u8::try_from(it).ok())
}

#[cfg(test)]
mod tests;
