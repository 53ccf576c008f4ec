use super::*;

#[test]
fn an_authority_becomes_host_and_port_in_lower_case() {
    let mut buffer = String::from("left over");
    for (authority, want) in [
        ("reviews", Some("reviews:80")),
        ("Reviews.Default:9080", Some("reviews.default:9080")),
        ("reviews.", Some("reviews:80")),
        ("10.0.0.1", Some("10.0.0.1:80")),
        ("[2001:DB8::1]:443", Some("[2001:db8::1]:443")),
        ("[::1]", Some("[::1]:80")),
        ("under_score:1", Some("under_score:1")),
        ("", None),
        (":80", None),
        (".", None),
        ("a..", None),
        ("a..b", None),
        (".a", None),
        ("a]b", None),
        ("a:", None),
        ("a:0", None),
        ("a:080", None),
        ("a:65536", None),
        ("a:+1", None),
        ("a:1:2", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[nonsense]:1", None),
        ("a b", None),
        ("a/b", None),
        ("user@a", None),
        ("\u{e4}", None),
    ] {
        assert_eq!(
            authority_name(authority.as_bytes(), &mut buffer),
            want,
            "{authority}"
        );
    }
    let long = "a".repeat(HOST_BYTES_MAX);
    assert!(authority_name(long.as_bytes(), &mut buffer).is_some());
    assert!(authority_name(format!("{long}a").as_bytes(), &mut buffer).is_none());
    assert!(authority_name(b"\xff\xfe", &mut buffer).is_none());
}
