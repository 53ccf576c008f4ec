use super::*;

fn domain(name: &str) -> TrustDomain {
    TrustDomain::parse(name).unwrap()
}

#[test]
fn what_the_specification_allows_is_read_and_written_back_as_it_was() {
    let longest = format!("spiffe://td/{}", "a".repeat(ID_BYTES_MAX - 12));
    let longest_domain = format!("spiffe://{}/a", "d".repeat(TRUST_DOMAIN_BYTES_MAX));
    for id in [
        "spiffe://td",
        "spiffe://cluster.local/ns/default/sa/reviews",
        "spiffe://a.b-c_9/X/y.Z/-_/...",
        "spiffe://1.2.3.4/path",
        &longest,
        &longest_domain,
    ] {
        let read = SpiffeId::parse(id).unwrap_or_else(|fault| panic!("{id}: {fault}"));
        assert_eq!(read.to_string(), id);
        assert_eq!(id.parse(), Ok(read));
    }
    let id = SpiffeId::parse("spiffe://td/a/b").unwrap();
    assert_eq!((id.trust_domain().as_str(), id.path()), ("td", "/a/b"));
    assert_eq!(SpiffeId::parse("spiffe://td").unwrap().path(), "");
}

#[test]
fn what_the_specification_forbids_is_refused_for_its_reason() {
    use SpiffeFault::*;
    let character = |found| TrustDomainCharacter { found };
    let path = |found| PathCharacter { found };
    let table = [
        ("", Scheme),
        ("td/a", Scheme),
        ("http://td/a", Scheme),
        ("SPIFFE://td/a", Scheme),
        ("spiffe:/td/a", Scheme),
        (" spiffe://td/a", Scheme),
        ("spiffe://", NoTrustDomain),
        ("spiffe:///a", NoTrustDomain),
        ("spiffe://TD/a", character('T')),
        ("spiffe://user@td/a", character('@')),
        ("spiffe://td:80/a", character(':')),
        ("spiffe://td?a", character('?')),
        ("spiffe://td#a", character('#')),
        ("spiffe://t%64/a", character('%')),
        ("spiffe://tä/a", character('ä')),
        ("spiffe://td/", EmptySegment),
        ("spiffe://td/a/", EmptySegment),
        ("spiffe://td//a", EmptySegment),
        ("spiffe://td/./a", DotSegment),
        ("spiffe://td/a/..", DotSegment),
        ("spiffe://td/a?b", path('?')),
        ("spiffe://td/a#b", path('#')),
        ("spiffe://td/%61", path('%')),
        ("spiffe://td/a b", path(' ')),
        ("spiffe://td/a\n", path('\n')),
        ("spiffe://td/a\0", path('\0')),
        ("spiffe://td/é", path('é')),
    ];
    for (id, fault) in table {
        assert_eq!(SpiffeId::parse(id), Err(fault), "{id:?}");
    }
}

#[test]
fn what_is_one_byte_too_long_is_refused() {
    let id = format!("spiffe://td/{}", "a".repeat(ID_BYTES_MAX - 11));
    let too_long = |bytes, limit| Err(SpiffeFault::TooLong { bytes, limit });
    assert_eq!(SpiffeId::parse(&id).map(drop), too_long(2049, 2048));
    let name = "d".repeat(256);
    assert_eq!(TrustDomain::parse(&name).map(drop), too_long(256, 255));
    let account = "a".repeat(ID_BYTES_MAX);
    let workload = SpiffeId::workload(&domain("td"), "ns", &account);
    assert_eq!(workload.map(drop), too_long(2048 + 21, 2048));
}

#[test]
fn a_workload_is_made_of_two_names_and_says_them() {
    let id = SpiffeId::workload(&domain("cluster.local"), "default", "reviews").unwrap();
    assert_eq!(
        id.to_string(),
        "spiffe://cluster.local/ns/default/sa/reviews"
    );
    assert_eq!(id.as_workload(), Ok(("default", "reviews")));
    for (namespace, account) in [
        ("", "a"),
        ("a", ""),
        ("a/sa/b", "c"),
        ("a", "b/ns/c"),
        ("..", "a"),
        ("a", "b%2fc"),
        ("a", "b c"),
    ] {
        let made = SpiffeId::workload(&domain("td"), namespace, account);
        assert!(
            matches!(made, Err(SpiffeFault::Name { .. })),
            "{namespace:?} {account:?}"
        );
    }
}

#[test]
fn other_paths_are_no_workload() {
    for id in [
        "spiffe://td",
        "spiffe://td/ns/a",
        "spiffe://td/ns/a/sa",
        "spiffe://td/sa/a/ns/b",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/x/ns/a/sa/b",
        "spiffe://td/NS/a/sa/b",
    ] {
        let id = SpiffeId::parse(id).unwrap();
        assert_eq!(id.as_workload(), Err(SpiffeFault::NotAWorkload), "{id}");
    }
}
