use std::sync::Arc;

use super::*;
use crate::route::Pattern;

fn rewritten(rewrite: &PathRewrite, matched: &PathMatch, path: &str) -> String {
    let mut out = b"x".to_vec();
    rewrite.apply(path.as_bytes(), matched, &mut out);
    assert_eq!(out.remove(0), b'x');
    String::from_utf8(out).expect("text in, text out")
}

fn segment(text: &str) -> PathMatch {
    PathMatch::SegmentPrefix(text.into())
}

#[test]
fn segment_prefixes_are_replaced_as_gateway_api_wants() {
    for (path, matched, prefix, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/bar?a=/foo#x", "/foo", "/xyz", "/xyz/bar?a=/foo"),
        ("/foo?a=b", "/foo", "/", "/?a=b"),
    ] {
        let rewrite = PathRewrite::Prefix(prefix.into());
        assert_eq!(
            rewritten(&rewrite, &segment(matched), path),
            expected,
            "{path} {matched} {prefix}"
        );
    }
}

#[test]
fn other_rewrites_touch_only_what_matched() {
    let prefix = |text: &str| PathRewrite::Prefix(text.into());
    let plain = |text: &str| PathMatch::Prefix(text.into());
    let regex = |source: &str, to: &str| {
        PathRewrite::Regex(Pattern::anywhere(source).expect("sound"), to.into())
    };
    for (rewrite, matched, path, expected) in [
        (prefix("/b/"), plain("/a/"), "/a/c?q", "/b/c?q"),
        (prefix("/b"), plain("/a/"), "/a/c", "/bc"),
        (prefix("/b"), PathMatch::Exact("/a".into()), "/a?q", "/b?q"),
        (PathRewrite::Full("/b".into()), plain("/"), "/a/c?q", "/b?q"),
        (PathRewrite::Keep, plain("/"), "/a/c?q", "/a/c?q"),
        (
            regex("^/v(\\d+)/(.*)$", r"/\2/v\1"),
            plain("/"),
            "/v12/x/y?v=1",
            "/x/y/v12?v=1",
        ),
        (
            regex("/old/", r"\\new\0"),
            plain("/"),
            "/a/old/b/old/",
            r"/a\new/old/b\new/old/",
        ),
        (regex("^/a", ""), plain("/"), "/ab", "/b"),
    ] {
        assert_eq!(
            rewritten(&rewrite, &matched, path),
            expected,
            "{rewrite:?} {path}"
        );
    }
}

struct Head(&'static str, &'static str);

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        b"GET"
    }
    fn authority(&self) -> &[u8] {
        self.0.as_bytes()
    }
    fn path_and_query(&self) -> &[u8] {
        self.1.as_bytes()
    }
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let text = |it: Option<&str>| it.map(Arc::<str>::from);
    for (scheme, host, port, came, expected) in [
        (None, None, None, ("http", "a:8080"), "http://a:8080/p?q"),
        (Some("https"), None, None, ("http", "a"), "https://a/p?q"),
        (Some("https"), None, None, ("http", "a:80"), "https://a/p?q"),
        (
            Some("https"),
            None,
            None,
            ("http", "a:8080"),
            "https://a:8080/p?q",
        ),
        (
            Some("https"),
            None,
            Some(443),
            ("http", "a:8080"),
            "https://a/p?q",
        ),
        (None, Some("b"), None, ("http", "a:8080"), "http://b/p?q"),
        (
            None,
            Some("b"),
            Some(81),
            ("http", "a:8080"),
            "http://b:81/p?q",
        ),
        (None, None, Some(80), ("http", "a:8080"), "http://a/p?q"),
        (
            None,
            None,
            None,
            ("https", "[::1]:8443"),
            "https://[::1]:8443/p?q",
        ),
        (None, None, None, ("http", "a:80"), "http://a/p?q"),
    ] {
        let redirect = Redirect {
            scheme: text(scheme),
            host: text(host),
            port,
            path: PathRewrite::Keep,
            strip_query: false,
            status: 301,
        };
        let mut out = Vec::new();
        redirect.location(&Head(came.1, "/p?q"), came.0, &segment("/p"), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            expected,
            "{redirect:?} {came:?}"
        );
    }
}

#[test]
fn a_redirected_path_may_bring_its_own_query() {
    let redirect = |path: PathRewrite, strip_query| {
        let redirect = Redirect {
            scheme: None,
            host: None,
            port: None,
            path,
            strip_query,
            status: 301,
        };
        let mut out = Vec::new();
        redirect.location(&Head("a", "/p/x?q"), "http", &segment("/p"), &mut out);
        String::from_utf8(out).expect("text in, text out")
    };
    assert_eq!(
        redirect(PathRewrite::Full("/n?own".into()), false),
        "http://a/n?own"
    );
    assert_eq!(
        redirect(PathRewrite::Full("/n".into()), false),
        "http://a/n?q"
    );
    assert_eq!(
        redirect(PathRewrite::Prefix("/n".into()), true),
        "http://a/n/x"
    );
}

#[test]
fn paths_are_brought_to_normal_form() {
    for (path, merge, expected) in [
        ("/", false, Ok("/")),
        ("/a/./b", false, Ok("/a/b")),
        ("/a/../b?x=/../", false, Ok("/b?x=/../")),
        ("/a/..", false, Ok("/")),
        ("/a/.", false, Ok("/a/")),
        ("/a/%2e%2E/b", false, Ok("/b")),
        ("/a//b", false, Ok("/a//b")),
        ("/a//b///", true, Ok("/a/b/")),
        ("//", true, Ok("/")),
        ("/a\\b", false, Ok("/a/b")),
        ("/%41%2f%zz%c3", false, Ok("/A%2F%zz%C3")),
        ("/...", false, Ok("/...")),
        ("/..", false, Err(NormalizeError::AboveRoot)),
        ("/a/../../b", false, Err(NormalizeError::AboveRoot)),
        ("a", false, Err(NormalizeError::NotAbsolute)),
        ("*", false, Err(NormalizeError::NotAbsolute)),
    ] {
        let mut out = Vec::new();
        let result = normalize_path(path.as_bytes(), merge, &mut out);
        let result = result.map(|()| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(
            result.as_deref().map_err(|error| *error),
            expected,
            "{path}"
        );
    }
}
