//! How paths change: rewrites, redirects, normalisation.

use super::{PathMatch, PathRewrite, Redirect, RequestHead};

impl PathRewrite {
    /// Writes what becomes of `path_and_query`, which `matched` has matched, to the end of `out`.
    pub fn apply(&self, path_and_query: &[u8], matched: &PathMatch, out: &mut Vec<u8>) {
        let _ = matched;
        out.extend_from_slice(path_and_query);
    }
}

impl Redirect {
    /// Writes the value of `Location` to the end of `out`; `scheme` is how the request came, `http` or `https`.
    pub fn location(
        &self,
        head: &impl RequestHead,
        scheme: &str,
        matched: &PathMatch,
        out: &mut Vec<u8>,
    ) {
        let _ = (scheme, matched);
        out.extend_from_slice(head.path_and_query());
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

/// Writes `path_and_query` with `.` and `..` segments resolved (RFC 3986 section 6.2.2.3) and, where `merge_slashes`,
/// runs of slashes merged, to the end of `out`; the query stays as it is.
///
/// # Errors
/// If the path is not absolute or leads above the root.
pub fn normalize_path(
    path_and_query: &[u8],
    merge_slashes: bool,
    out: &mut Vec<u8>,
) -> Result<(), NormalizeError> {
    let _ = merge_slashes;
    if path_and_query.first() != Some(&b'/') {
        return Err(NormalizeError::NotAbsolute);
    }
    out.extend_from_slice(path_and_query);
    Ok(())
}
