//! Response flags: why the proxy answered for itself or a request ended badly, in Envoy's letters.
//!
//! The access log, the metrics, the header inside the mesh and `weft explain` all speak from this table.

use std::fmt;
use std::str::FromStr;

/// Who has to act when a flag shows up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The peer that came to us.
    Downstream,
    /// The peer we went to, or the way to it.
    Upstream,
    /// Routes, clusters or filters as they were configured.
    Configuration,
    /// A limit or a policy that someone set on purpose.
    Policy,
    /// The proxy itself or the machine it runs on.
    Proxy,
}

impl Blame {
    /// A word for it, as written in tables and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Configuration => "configuration",
            Self::Policy => "policy",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of one flag.
struct Entry {
    letters: &'static str,
    long_name: &'static str,
    blame: Blame,
    meaning: &'static str,
    check: &'static str,
}

macro_rules! flags {
    ($($letters:ident $long:ident $blame:ident $meaning:literal $check:literal;)*) => {
        /// Why the proxy answered for itself, or how a request ended badly.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ResponseFlag {
            $(#[doc = $meaning] $letters,)*
        }

        impl ResponseFlag {
            /// Every flag, in the order in which several are written.
            pub const ALL: &'static [Self] = &[$(Self::$letters,)*];

            fn entry(self) -> Entry {
                match self {
                    $(Self::$letters => Entry {
                        letters: stringify!($letters),
                        long_name: stringify!($long),
                        blame: Blame::$blame,
                        meaning: $meaning,
                        check: $check,
                    },)*
                }
            }
        }
    };
}

flags! {
    UH NoHealthyUpstream Upstream
        "no endpoint of the cluster could take the request: there are none, or all are unhealthy, draining or ejected"
        "the cluster's endpoints and their health in /clusters or `weft get endpoints`; whether the workloads run, are ready and are selected by the service";
    UF UpstreamConnectionFailure Upstream
        "no connection to the endpoint could be opened: refused, unreachable, timed out, or TLS failed"
        "that the application listens on the endpoint's address and port and not only on another interface; network policies; for TLS the peer's certificate and the cluster's mode";
    UO UpstreamOverflow Policy
        "a circuit breaker of the cluster was open: too many connections, pending requests or running requests"
        "the overflow counters of the cluster, then its connection and request limits in the TrafficPolicy, then why the endpoints are slow";
    NR NoRouteFound Configuration
        "no route (or no filter chain) matched the request"
        "`weft describe service NAME`: host, path, method and headers against its routes; the listener and port that took the connection; whether the routes have arrived (RDS); where the details say that a filter chain was not found, whether the port takes what was spoken: one that is STRICT takes no plain text";
    URX UpstreamRetryLimitExceeded Upstream
        "the request failed, and its retries or connection attempts were used up or the retry budget was spent"
        "the details of the access log: why the last attempt failed, and whether the route's retries were used up or the cluster's retry budget was spent; then the one that it was";
    NC NoClusterFound Configuration
        "the route names a cluster that the proxy does not have"
        "the cluster's name in the route; whether CDS sent it or it was refused: `weft proxies` shows the last refusal";
    DT DurationTimeout Policy
        "the connection or request lived longer than its greatest duration"
        "the listener's greatest connection duration and the route's greatest stream duration";
    DC DownstreamConnectionTermination Downstream
        "the downstream closed or reset its connection before the answer was complete"
        "the caller's own time-out, which is probably shorter than the answer takes; crashes or restarts of the caller";
    LH FailedLocalHealthCheck Proxy
        "the proxy itself was told to fail its health check"
        "whether the proxy is draining or was failed by the admin page on purpose";
    UT UpstreamRequestTimeout Upstream
        "the upstream did not answer within the route's time-out (or the attempt's)"
        "the route's request and per-try time-outs against the upstream's latency; the upstream's load";
    LR LocalReset Proxy
        "the proxy reset the request to the upstream itself"
        "the details of the access log; flow control or buffer limits; whether the proxy was draining";
    UR UpstreamRemoteReset Upstream
        "the upstream reset the request on a connection that stayed open"
        "the upstream's own log at that moment: stream limits, an aborted handler, a refused method or size";
    UC UpstreamConnectionTermination Upstream
        "the upstream closed its connection in the middle of the request or answer"
        "crashes and restarts of the upstream; whether its keep-alive time-out is shorter than the cluster's idle time-out; whether it speaks the version of HTTP that the cluster says: a server of HTTP/2 may close at HTTP/1; where it closes at once, whether its sidecar is STRICT and the caller has no identity";
    DI DelayInjected Policy
        "the request was held back by fault injection"
        "FaultInjection attached to the route; remove it when the experiment is over";
    FI FaultInjected Policy
        "the answer was made by fault injection"
        "FaultInjection attached to the route; remove it when the experiment is over";
    RL RateLimited Policy
        "a rate limit refused the request"
        "RateLimitPolicy of the route or listener: bucket size and descriptors; who sends that much";
    UAEX UnauthorizedExternalService Policy
        "an authorization policy or service refused the request"
        "AuthorizationPolicy for this workload, and the identity the caller showed (`weft authz check`); where a token was refused, the answer's body says why, and AuthenticationPolicy whose tokens are taken";
    RLSE RateLimitServiceError Proxy
        "the rate limit service failed, and requests are refused while it does"
        "that the rate limit service runs and can be reached; its failure mode";
    IH InvalidEnvoyRequestHeaders Downstream
        "a control header of the request (x-envoy-…, x-weft-…) had a value that is not valid"
        "the headers that the caller sends";
    SI StreamIdleTimeout Policy
        "nothing moved on the request for longer than the idle time-out"
        "whether caller or upstream stalled; the stream idle time-out of listener and route for long polls and streams";
    DPE DownstreamProtocolError Downstream
        "what the downstream sent was not valid HTTP"
        "the details of the access log name the rule; whether the caller speaks TLS or another protocol to this port";
    UPE UpstreamProtocolError Upstream
        "what the upstream sent was not valid HTTP"
        "the details of the access log name the rule; whether the cluster's protocol (HTTP/1, HTTP/2) is the one the upstream speaks";
    UMSDR UpstreamMaxStreamDurationReached Policy
        "the request ran longer than the route's greatest stream duration"
        "max_stream_duration of the route; the caller's grpc-timeout";
    RFCF ResponseFromCacheFilter Proxy
        "the answer came from a cache"
        "the cache filter's configuration where that is not wanted";
    NFCF NoFilterConfigFound Configuration
        "a filter of the listener has no configuration the proxy can use, so requests are refused"
        "the filter that the details name: its configuration was not sent, was refused, or its type is not supported";
    OM OverloadManagerTerminated Proxy
        "the proxy shed the request because it was short of memory or connections"
        "the limits counters and the memory of the proxy; more memory, or fewer connections";
    DF DnsResolutionFailed Upstream
        "the name of the upstream could not be resolved"
        "the name in the cluster, the resolver of the proxy's machine, search domains";
    DO DropOverload Policy
        "the control plane asked to drop this share of requests (drop_overloads)"
        "why the control plane sheds load for this cluster";
    DR DownstreamRemoteReset Downstream
        "the downstream reset the request on a connection that stayed open"
        "the caller's own time-out or cancellation";
    UDO UnconditionalDropOverload Policy
        "every request of the cluster is dropped on purpose"
        "drop_overloads of the cluster at 100 %";
}

impl ResponseFlag {
    /// Envoy's letters: `UH`.
    pub fn letters(self) -> &'static str {
        self.entry().letters
    }

    /// Envoy's long name: `NoHealthyUpstream`.
    pub fn long_name(self) -> &'static str {
        self.entry().long_name
    }

    /// What happened, as the rest of a sentence: lower case, no full stop.
    pub fn meaning(self) -> &'static str {
        self.entry().meaning
    }

    /// Who has to act.
    pub fn blame(self) -> Blame {
        self.entry().blame
    }

    /// What to look at first.
    pub fn check(self) -> &'static str {
        self.entry().check
    }

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        usize::from(self as u8)
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters())
    }
}

/// Letters that are no flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a response flag{}", near(.given))]
pub struct UnknownFlag {
    given: String,
}

fn near(given: &str) -> String {
    let upper = given.to_ascii_uppercase();
    let known = ResponseFlag::ALL.iter().map(|flag| flag.letters());
    match crate::diag::near_name(&upper, known) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

impl FromStr for ResponseFlag {
    type Err = UnknownFlag;

    /// Reads letters or the long name, in any case.
    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let named = |flag: &&Self| {
            flag.letters().eq_ignore_ascii_case(given)
                || flag.long_name().eq_ignore_ascii_case(given)
        };
        Self::ALL
            .iter()
            .find(named)
            .copied()
            .ok_or_else(|| UnknownFlag {
                given: given.to_owned(),
            })
    }
}

/// The flags of one request: a set, written as `UF,URX`, or `-` when empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// Adds a flag.
    pub fn insert(&mut self, flag: ResponseFlag) {
        self.0 |= 1 << (flag as u8);
    }

    /// Whether `flag` is set.
    pub fn contains(self, flag: ResponseFlag) -> bool {
        self.0 & (1 << (flag as u8)) != 0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are set, in the order of [`ResponseFlag::ALL`].
    pub fn iter(self) -> impl Iterator<Item = ResponseFlag> {
        ResponseFlag::ALL
            .iter()
            .copied()
            .filter(move |flag| self.contains(*flag))
    }
}

impl FromIterator<ResponseFlag> for ResponseFlags {
    fn from_iter<I: IntoIterator<Item = ResponseFlag>>(flags: I) -> Self {
        let mut set = Self::NONE;
        flags.into_iter().for_each(|flag| set.insert(flag));
        set
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (position, flag) in self.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.letters())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_long_names_read_back_in_any_case() {
        for flag in ResponseFlag::ALL {
            assert_eq!(flag.letters().parse(), Ok(*flag));
            assert_eq!(flag.letters().to_lowercase().parse(), Ok(*flag));
            assert_eq!(flag.long_name().parse(), Ok(*flag));
        }
    }

    #[test]
    fn unknown_letters_name_the_near_flag() {
        let error = "UFX".parse::<ResponseFlag>().unwrap_err().to_string();
        assert!(
            error.contains("\"UFX\"") && error.contains("did you mean"),
            "{error}"
        );
        assert!(
            !"quite_something_else"
                .parse::<ResponseFlag>()
                .unwrap_err()
                .to_string()
                .contains("mean")
        );
    }

    #[test]
    fn a_set_is_written_in_table_order_and_empty_as_a_dash() {
        let set: ResponseFlags = [ResponseFlag::URX, ResponseFlag::UF].into_iter().collect();
        assert_eq!(set.to_string(), "UF,URX");
        assert_eq!(ResponseFlags::NONE.to_string(), "-");
    }

    #[test]
    fn every_flag_fits_the_set_and_has_its_own_words() {
        assert!(ResponseFlag::ALL.len() <= 32);
        for (index, flag) in ResponseFlag::ALL.iter().enumerate() {
            assert_eq!(flag.index(), index);
            assert!(!flag.meaning().is_empty() && !flag.check().ends_with('.'));
        }
        let meanings: std::collections::BTreeSet<_> =
            ResponseFlag::ALL.iter().map(|f| f.meaning()).collect();
        assert_eq!(meanings.len(), ResponseFlag::ALL.len());
    }
}
