//! Reading what a route does: redirects and direct responses here, forwarding in `forward`.

use weft_xds_proto::pb::envoy::config::core::v3::{DataSource, data_source};
use weft_xds_proto::pb::envoy::config::route::v3 as pb;
use weft_xds_proto::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::{Level, shared};
use crate::diag::{Diagnostics, FieldPath};
use crate::policy::HeaderEdits;
use crate::route::{PathRewrite, Pattern, Redirect, RouteAction};

impl Level<'_> {
    /// Reads the action of `proto`; `None` where it cannot be read, which is a fault of the route.
    pub(super) fn action(
        &self,
        proto: &pb::Route,
        request_headers: &HeaderEdits,
        response_headers: &HeaderEdits,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<RouteAction> {
        use pb::route::Action;
        match proto.action.as_ref()? {
            Action::Route(action) => {
                let at = at.field("route");
                let edits = [request_headers, response_headers];
                let forward = self.forward(proto, action, edits, &at, diag)?;
                Some(RouteAction::Forward(forward))
            }
            Action::Redirect(redirect) => {
                Some(RouteAction::Redirect(Redirect::parse(redirect, at, diag)))
            }
            Action::DirectResponse(direct) => self.direct(direct, at, diag),
            Action::FilterAction(_) => {
                diag.fault(at.field("filter_action"), "is not supported");
                None
            }
            Action::NonForwardingAction(_) => {
                diag.fault(
                    at.field("non_forwarding_action"),
                    "is for gRPC servers only",
                );
                None
            }
        }
    }

    fn direct(
        &self,
        proto: &pb::DirectResponseAction,
        at: &FieldPath,
        diag: &mut Diagnostics,
    ) -> Option<RouteAction> {
        let at = at.field("direct_response");
        if proto.body_format.is_some() {
            diag.fault(at.field("body_format"), "is not supported yet");
        }
        let body = proto.body.as_ref().map_or(Ok(String::new()), inline);
        let body = diag.keep(at.field("body"), body)?;
        let max = self.direct_body_bytes_max;
        if body.len() > max {
            let rule = format!("must be at most {max} bytes, got {}", body.len());
            diag.fault(at.field("body"), rule);
        }
        match u16::try_from(proto.status) {
            Ok(status @ 200..=599) => Some(RouteAction::Direct {
                status,
                body: body.into(),
            }),
            _ => {
                let rule = format!("must be from 200 to 599, got {}", proto.status);
                diag.fault(at.field("status"), rule);
                None
            }
        }
    }
}

/// Text that stands in the resource itself.
fn inline(source: &DataSource) -> Result<String, String> {
    use data_source::Specifier;
    match &source.specifier {
        Some(Specifier::InlineString(text)) => Ok(text.clone()),
        Some(Specifier::InlineBytes(bytes)) => {
            String::from_utf8(bytes.clone()).map_err(|_| "inline_bytes is not UTF-8".to_owned())
        }
        Some(Specifier::Filename(_) | Specifier::EnvironmentVariable(_)) => {
            Err("only inline_string and inline_bytes are supported".to_owned())
        }
        None => Ok(String::new()),
    }
}

impl Redirect {
    fn parse(proto: &pb::RedirectAction, at: &FieldPath, diag: &mut Diagnostics) -> Self {
        use pb::redirect_action::{
            PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
        };
        let at = at.field("redirect");
        let scheme = match &proto.scheme_rewrite_specifier {
            Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
            Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => {
                Some(scheme.to_ascii_lowercase())
            }
        };
        if let Some(scheme) = &scheme
            && !["http", "https"].contains(&scheme.as_str())
        {
            let rule = format!("must be http or https, got {scheme:?}");
            diag.fault(at.field("scheme_redirect"), rule);
        }
        let path = match &proto.path_rewrite_specifier {
            Some(PathRewriteSpecifier::PathRedirect(path)) => PathRewrite::Full(shared(path)),
            Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
                PathRewrite::Prefix(shared(prefix))
            }
            Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                let rewrite = regex_rewrite(rewrite);
                diag.keep(at.field("regex_rewrite"), rewrite)
                    .unwrap_or_default()
            }
            Some(PathRewriteSpecifier::PathRewrite(_)) => {
                diag.fault(at.field("path_rewrite"), "is not supported yet");
                PathRewrite::Keep
            }
            None => PathRewrite::Keep,
        };
        let port = u16::try_from(proto.port_redirect);
        let rule = |_| format!("must be at most 65535, got {}", proto.port_redirect);
        let port = diag.keep(at.field("port_redirect"), port.map_err(rule));
        let host = Some(&proto.host_redirect).filter(|it| !it.is_empty());
        let code = RedirectResponseCode::try_from(proto.response_code);
        let rule = |_| format!("has no value {}", proto.response_code);
        let code = diag.keep(at.field("response_code"), code.map_err(rule));
        Self {
            scheme: scheme.map(Into::into),
            host: host.map(|it| shared(it)),
            port: port.filter(|port| *port > 0),
            path,
            strip_query: proto.strip_query,
            status: match code {
                Some(RedirectResponseCode::MovedPermanently) | None => 301,
                Some(RedirectResponseCode::Found) => 302,
                Some(RedirectResponseCode::SeeOther) => 303,
                Some(RedirectResponseCode::TemporaryRedirect) => 307,
                Some(RedirectResponseCode::PermanentRedirect) => 308,
            },
        }
    }
}

/// Reads a regular expression and what its matches become, in which `\0` to `\9` are groups and `\\` a backslash.
pub(super) fn regex_rewrite(proto: &RegexMatchAndSubstitute) -> Result<PathRewrite, String> {
    let Some(regex) = &proto.pattern else {
        return Err("has no pattern".to_owned());
    };
    let pattern = Pattern::anywhere(&regex.regex)?;
    let mut rest = proto.substitution.chars();
    while let Some(char) = rest.next() {
        if char != '\\' {
            continue;
        }
        match rest.next().map(|next| (next, next.to_digit(10))) {
            Some(('\\', _)) => {}
            Some((_, Some(group))) if pattern.has_group(group) => {}
            Some((_, Some(group))) => {
                return Err(format!("the pattern has no group \\{group}"));
            }
            _ => return Err(format!("bad substitution {:?}", proto.substitution)),
        }
    }
    Ok(PathRewrite::Regex(pattern, shared(&proto.substitution)))
}
