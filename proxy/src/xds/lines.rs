//! How much of one response is logged: whoever sends it decides how much there is to say.

use tracing::warn;
use weft_config::diag::Finding;

use super::decode::Refusal;
use super::kind::Kind;

/// Lines about single resources of one response.
const LINES_MAX: usize = 20;

/// Bytes of what is wrong with one resource.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// The lines about one response, or about the tables on disk: the first are written, the others counted.
#[derive(Debug, Default)]
pub(super) struct Lines {
    count: usize,
}

impl Lines {
    /// A resource was refused.
    pub(super) fn refused(&mut self, kind: Kind, refusal: &Refusal) {
        if self.is_written() {
            let refusal = cut(&refusal.line, LINE_BYTES_MAX);
            warn!(?kind, refusal, "resource refused, the last good one stays");
        }
    }

    /// A resource from disk was refused.
    pub(super) fn refused_from_disk(&mut self, kind: Kind, refusal: &Refusal) {
        if self.is_written() {
            let refusal = cut(&refusal.line, LINE_BYTES_MAX);
            warn!(?kind, refusal, "resource from disk refused");
        }
    }

    /// The server says why it does not tell a resource.
    pub(super) fn withheld(&mut self, kind: Kind, name: &str, why: &str) {
        if self.is_written() {
            let why = cut(why, LINE_BYTES_MAX);
            warn!(?kind, %name, why, "server does not tell a resource");
        }
    }

    /// A resource works but for one part.
    pub(super) fn works_in_part(&mut self, kind: Kind, name: &str, finding: &Finding) {
        if self.is_written() {
            warn!(?kind, %name, %finding, "resource works but for one part");
        }
    }

    /// Says how many lines were not written.
    pub(super) fn end(self) {
        let more = self.count.saturating_sub(LINES_MAX);
        if more > 0 {
            warn!(more, "and more, which the log does not name");
        }
    }

    fn is_written(&mut self) -> bool {
        self.count += 1;
        self.count <= LINES_MAX
    }
}

/// The beginning of `text`, at most `bytes_max` long.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\u{e9}", 2), "a");
        assert_eq!(cut("", 0), "");
    }
}
