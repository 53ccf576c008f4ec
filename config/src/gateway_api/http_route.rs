//! `HTTPRoute` (`gateway.networking.k8s.io/v1`), attached to services.

use schemars::JsonSchema;
use serde::Serialize;

use super::quantity::{RegexText, Span};
use super::reference::{BackendRef, ExtensionRef, ParentRef};

/// Routes of HTTP requests that go to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRoute {
    /// The services whose traffic it routes. At least one, at most 32.
    pub parent_refs: Vec<ParentRef>,
    /// Meant for gateways: a mesh matches by service, so these are kept, warned of and not used (GAMMA).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hostnames: Vec<String>,
    /// Rules; which one takes a request is decided by Gateway API's precedence. At most 16; none given means
    /// one that sends everything to the service itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub rules: Vec<HttpRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRule {
    /// Its name, unique in the route; policies can attach to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it applies: any of these. Default: every request. At most 64.
    #[schemars(default = "every_request")]
    pub matches: Vec<HttpMatch>,
    /// What is changed, or answered. At most 16, each type but `ExtensionRef` at most once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub filters: Vec<HttpFilter>,
    /// Where requests go. None given: 500, unless a filter redirects. At most 16.
    #[schemars(default)]
    pub backend_refs: Vec<HttpBackendRef>,
    /// Bounds in time.
    #[serde(skip_serializing_if = "HttpTimeouts::is_empty")]
    #[schemars(default)]
    pub timeouts: HttpTimeouts,
    /// Further attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<HttpRetry>,
}

/// All that is given must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The path. Default: `PathPrefix` of `/`.
    #[schemars(default)]
    pub path: PathMatch,
    /// Headers, at most 16, no name twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters, at most 16, no name twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub query_params: Vec<QueryParamMatch>,
    /// The method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
}

impl Default for HttpMatch {
    /// Every request.
    fn default() -> Self {
        Self {
            path: PathMatch::default(),
            headers: Vec::new(),
            query_params: Vec::new(),
            method: None,
        }
    }
}

/// The path of a request, without its query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// The path itself or any below it, by whole segments: `/a` and `/a/` both match `/a`, `/a/` and `/a/b`, not `/ab`.
    PathPrefix(String),
    /// The whole path matches the expression.
    RegularExpression(RegexText),
}

impl Default for PathMatch {
    fn default() -> Self {
        Self::PathPrefix("/".to_owned())
    }
}

/// One header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct HeaderMatch {
    /// Its name, in any case.
    pub name: String,
    /// Its value.
    #[serde(flatten)]
    pub value: ValueMatch,
}

/// One query parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct QueryParamMatch {
    /// Its name; case matters.
    pub name: String,
    /// Its value.
    #[serde(flatten)]
    pub value: ValueMatch,
}

/// A value and how it is compared. Default type: `Exact`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(tag = "type", content = "value")]
pub enum ValueMatch {
    /// Equal.
    Exact(String),
    /// The whole value matches the expression.
    RegularExpression(RegexText),
}

/// The methods that Gateway API can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "each is its own name")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl Method {
    /// As sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

/// What is done to a request or its response. `RequestMirror`, `CORS` and `ExternalAuth` are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum HttpFilter {
    /// Edits request headers.
    RequestHeaderModifier {
        /// The edits.
        #[serde(rename = "requestHeaderModifier")]
        edits: HeaderModifier,
    },
    /// Edits response headers.
    ResponseHeaderModifier {
        /// The edits.
        #[serde(rename = "responseHeaderModifier")]
        edits: HeaderModifier,
    },
    /// Answers with another place; the rule has no backends then.
    RequestRedirect {
        /// Where.
        #[serde(rename = "requestRedirect")]
        redirect: RequestRedirect,
    },
    /// Changes host or path before the request goes on.
    #[serde(rename = "URLRewrite")]
    UrlRewrite {
        /// How.
        #[serde(rename = "urlRewrite")]
        rewrite: UrlRewrite,
    },
    /// A filter of our own: `FaultInjection`.
    ExtensionRef {
        /// Which.
        #[serde(rename = "extensionRef")]
        reference: ExtensionRef,
    },
}

impl HttpFilter {
    /// The filter of our own that it names, where it is one.
    pub fn extension(&self) -> Option<&ExtensionRef> {
        match self {
            Self::ExtensionRef { reference } => Some(reference),
            _ => None,
        }
    }
}

/// Edits of a head: `set` replaces or adds, `add` appends, `remove` removes. No name stands twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeaderModifier {
    /// At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub set: Vec<HttpHeader>,
    /// At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub add: Vec<HttpHeader>,
    /// Names, at most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub remove: Vec<String>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpHeader {
    /// A token, at most 256 bytes.
    pub name: String,
    /// No control bytes; from 1 to 4096 bytes.
    pub value: String,
}

/// An answer that names another place; what is not given stays as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// The scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
    /// The port. Not given: the scheme's own where `scheme` is given, else as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308. Default 302.
    #[schemars(default = "redirect_status")]
    pub status_code: u16,
}

/// The scheme of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// As written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub enum PathModifier {
    /// The whole path becomes this.
    ReplaceFullPath {
        /// The new path.
        #[serde(rename = "replaceFullPath")]
        path: String,
    },
    /// The matched prefix becomes this; all matches of the rule are `PathPrefix` then.
    ReplacePrefixMatch {
        /// What stands instead of the prefix.
        #[serde(rename = "replacePrefixMatch")]
        prefix: String,
    },
}

/// Another host or path; at least one is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct UrlRewrite {
    /// Replaces `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Replaces the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathModifier>,
}

/// A backend, with header edits of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpBackendRef {
    /// The backend.
    #[serde(flatten)]
    pub backend: BackendRef,
    /// Edits of what goes to this backend: `RequestHeaderModifier` and `ResponseHeaderModifier` only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub filters: Vec<HttpFilter>,
}

/// Bounds in time; `0s` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTimeouts {
    /// From the request to the end of its response, retries included. Default: that of a `TrafficPolicy`, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Span>,
    /// Of one attempt; not above `request`. Default: none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Span>,
}

impl HttpTimeouts {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Further attempts (GEP-1731).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HttpRetry {
    /// Statuses that are worth another attempt, from 400 to 599. Failures to connect and refused streams always are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub codes: Vec<u16>,
    /// Attempts beyond the first, from 0 to 20. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 20))]
    pub attempts: Option<u32>,
    /// Pause before the first retry, doubled with each, with jitter. Default 25ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Span>,
}

/// The matches of a rule that names none.
pub(crate) fn every_request() -> Vec<HttpMatch> {
    vec![HttpMatch::default()]
}

pub(crate) fn redirect_status() -> u16 {
    302
}
