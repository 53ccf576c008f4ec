//! Grammars of single values: hosts, headers, paths, names.

use super::{Item, Reader};
use crate::gateway_api::names::{is_dns_label, is_dns_subdomain};
use crate::gateway_api::quantity::{RegexText, Span};
use crate::yaml::Meaning;

/// A DNS-1123 label.
pub(crate) fn label(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| match is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a DNS-1123 label (1 to 63 of a-z, 0-9 and `-`, which neither begins nor ends it), got `{}`",
            crate::yaml::shorten(text)
        )),
    })
}

/// A DNS-1123 subdomain.
pub(crate) fn subdomain(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| match is_dns_subdomain(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must be a DNS-1123 name (labels of a-z, 0-9 and `-` with dots between them, 253 bytes at most), got `{}`",
            crate::yaml::shorten(text)
        )),
    })
}

/// A section name: of a rule, a port, a listener.
pub(crate) fn section(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    subdomain(cx, item)
}

/// A duration within `min` and `max`, in milliseconds.
pub(crate) fn span_within(
    cx: &mut Reader<'_>,
    item: &Item<'_>,
    min_millis: u64,
    max_millis: u64,
) -> Option<Span> {
    if matches!(
        item.meaning(),
        Some(Meaning::Integer(_) | Meaning::Float(_))
    ) {
        let got = item.node.describe();
        let rule = "must be a duration with its unit, such as `2s` or `25ms`";
        item.fault(cx, format!("{rule}, got {got}"));
        return None;
    }
    let span = item.parsed(cx, Span::parse)?;
    let show = |millis| Span::from(std::time::Duration::from_millis(millis));
    let millis = span.duration().as_millis();
    if millis < min_millis.into() || millis > max_millis.into() {
        let (min, max) = (show(min_millis), show(max_millis));
        item.fault(cx, format!("must be from {min} to {max}, got {span}"));
        return None;
    }
    Some(span)
}

/// Any duration.
pub(crate) fn span(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Span> {
    span_within(cx, item, 0, SPAN_MAX)
}

/// A duration above zero.
pub(crate) fn span_above_zero(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<Span> {
    span_within(cx, item, 1, SPAN_MAX)
}

/// A header's name: a token (RFC 9110 §5.6.2), at most 256 bytes, no pseudo-header.
pub(crate) fn header_name(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let token = !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if token && text.len() <= 256 {
            return Ok(text.to_owned());
        }
        let got = crate::yaml::shorten(text);
        Err(format!(
            "must be a header name (1 to 256 of letters, digits and !#$%&'*+-.^_`|~), got `{got}`"
        ))
    })
}

/// A header's value: visible bytes, spaces and tabs inside (RFC 9110 §5.5), at most 4096.
pub(crate) fn header_value(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        if text.is_empty() || text.len() > 4096 {
            return Err(format!(
                "must have from 1 to 4096 bytes, got {}",
                text.len()
            ));
        }
        if text.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            return Err("must not contain control bytes".to_owned());
        }
        if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
            return Err("must not begin or end with a space or tab".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// An absolute path without `//`, `/./`, `/../`, encoded slashes or `#`, as Gateway API demands of `Exact` and `PathPrefix`.
pub(crate) fn path(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let got = crate::yaml::shorten(text);
        if !text.starts_with('/') {
            return Err(format!("must begin with `/`, got `{got}`"));
        }
        if text.len() > 1024 {
            return Err(format!("must have at most 1024 bytes, got {}", text.len()));
        }
        let lower = text.to_ascii_lowercase();
        let forbidden = ["//", "/./", "/../", "%2f", "#", "?"];
        if let Some(part) = forbidden.iter().find(|part| lower.contains(**part)) {
            return Err(format!("must not contain `{part}`, got `{got}`"));
        }
        if text.ends_with("/..") || text.ends_with("/.") {
            return Err(format!("must not end with `/.` or `/..`, got `{got}`"));
        }
        if text.bytes().any(|b| b <= 0x20 || b >= 0x7f) {
            return Err(format!(
                "must be visible ASCII, other bytes percent-encoded, got `{got}`"
            ));
        }
        Ok(text.to_owned())
    })
}

/// A host without port that is neither a wildcard nor an address.
pub(crate) fn precise_host(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let address = text.parse::<std::net::IpAddr>().is_ok();
        if is_dns_subdomain(text) && !address {
            return Ok(text.to_owned());
        }
        let got = crate::yaml::shorten(text);
        Err(format!(
            "must be a lower-case host name without port, not an address, got `{got}`"
        ))
    })
}

/// A host that may begin with `*.`.
pub(crate) fn hostname(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<String> {
    item.parsed(cx, |text| {
        let rest = text.strip_prefix("*.").unwrap_or(text);
        if is_dns_subdomain(rest) && rest.parse::<std::net::IpAddr>().is_err() {
            return Ok(text.to_owned());
        }
        let got = crate::yaml::shorten(text);
        Err(format!(
            "must be a host name, or one behind `*.`, got `{got}`"
        ))
    })
}

pub(crate) fn regex(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<RegexText> {
    item.parsed(cx, RegexText::parse)
}

pub(crate) fn address(cx: &mut Reader<'_>, item: &Item<'_>) -> Option<std::net::IpAddr> {
    item.parsed(cx, |text| {
        text.parse().map_err(|_| {
            format!(
                "must be an IP address, got `{}`",
                crate::yaml::shorten(text)
            )
        })
    })
}

/// Notes every entry whose key, as `key` says, another one before it has.
pub(crate) fn unique<'t, T, K>(
    cx: &mut Reader<'_>,
    list: &Item<'_>,
    values: &'t [T],
    what: &str,
    key: impl Fn(&'t T) -> Option<K>,
) where
    K: Ord + std::fmt::Display,
{
    let mut seen = std::collections::BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let Some(key) = key(value) else { continue };
        let shown = key.to_string();
        if !seen.insert(key) {
            // Where some entries could not be read, it is not known which of the others this is.
            let entry = list.entry(index, values.len());
            let at = entry.as_ref().unwrap_or(list);
            at.fault(cx, format!("{what} `{shown}` stands twice"));
        }
    }
}

const SPAN_MAX: u64 = 99_999 * 3_600_000;
