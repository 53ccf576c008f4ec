//! Whether the workload can prove who it is.

use std::sync::{Mutex, PoisonError};

use crate::clock::unix_now;

/// What came of asking for certificates.
#[derive(Debug, Default)]
pub struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Last second of the certificate in force, since 1970.
    until: Option<i64>,
    /// Why there was no newer one.
    failed: Option<String>,
}

impl Standing {
    /// A certificate is in force, until then.
    pub(super) fn issued(&self, until: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State {
            until: Some(until),
            failed: None,
        };
    }

    /// There was none; what is in force stays so.
    pub(super) fn failed(&self, why: String) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed = Some(why);
    }

    /// Why nothing can be proven now.
    pub fn fault(&self) -> Option<String> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match state.until {
            None => "there is no certificate yet",
            Some(until) if until <= unix_now() => "the certificate has expired",
            Some(_) => return None,
        };
        let why = state
            .failed
            .as_deref()
            .unwrap_or("the authority has not answered yet");
        Some(format!("{what}: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_can_be_proven_before_the_first_certificate_and_behind_the_last() {
        let standing = Standing::default();
        let fault = standing.fault().unwrap();
        assert_eq!(
            fault,
            "there is no certificate yet: the authority has not answered yet"
        );
        standing.failed("away".to_owned());
        assert_eq!(
            standing.fault().unwrap(),
            "there is no certificate yet: away"
        );
        standing.issued(unix_now() + 60);
        assert_eq!(standing.fault(), None);
        standing.failed("away".to_owned());
        assert_eq!(standing.fault(), None);
        standing.issued(unix_now());
        standing.failed("away".to_owned());
        assert_eq!(
            standing.fault().unwrap(),
            "the certificate has expired: away"
        );
    }
}
