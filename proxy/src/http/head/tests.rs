use super::*;

fn names(head: &Head) -> Vec<(String, String)> {
    head.forwarded()
        .map(|field| {
            (
                String::from_utf8_lossy(field.name).into_owned(),
                String::from_utf8_lossy(field.value).into_owned(),
            )
        })
        .collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn set_keeps_the_place_and_the_case_of_the_first() {
    let mut head = Head::request(b"GET", b"a", b"/");
    head.add(b"X-One", b"1");
    head.add(b"X-Two", b"2");
    head.add(b"x-one", b"3");
    head.set(b"x-ONE", b"4");
    assert_eq!(names(&head), pairs(&[("X-One", "4"), ("X-Two", "2")]));
    head.set(b"X-Three", b"5");
    assert_eq!(head.get_name(b"x-three"), Some(&b"5"[..]));
}

#[test]
fn append_makes_a_list() {
    let mut head = Head::request(b"GET", b"a", b"/");
    head.append(b"X-Forwarded-For", b"10.0.0.1");
    head.append(b"x-forwarded-for", b"10.0.0.2");
    assert_eq!(
        names(&head),
        pairs(&[("X-Forwarded-For", "10.0.0.1, 10.0.0.2")])
    );
}

#[test]
fn what_is_removed_is_not_seen() {
    let mut head = Head::response(200);
    head.add(b"Server", b"x");
    head.add(b"X-A", b"1");
    assert!(head.remove(Known::Server));
    assert!(!head.remove(Known::Server));
    assert!(head.remove_name(b"x-a"));
    assert_eq!(head.get(Known::Server), None);
    assert_eq!(names(&head), []);
}

#[test]
fn remove_of_no_known_name_removes_nothing() {
    let mut head = Head::response(200);
    head.add(b"x-a", b"1");
    assert!(!head.remove(Known::Other));
    assert_eq!(names(&head), pairs(&[("x-a", "1")]));
}

#[test]
fn host_and_authority_follow_each_other() {
    let mut head = Head::request(b"GET", b"a", b"/");
    head.add(b"Host", b"b");
    assert_eq!(head.authority(), b"b");
    head.set_authority(b"c:80");
    assert_eq!(head.get(Known::Host), Some(&b"c:80"[..]));
    head.set(b"host", b"d");
    assert_eq!(head.authority(), b"d");
    assert_eq!(names(&head), pairs(&[("Host", "d")]));
}

#[test]
fn fields_of_one_hop_can_be_read_and_are_not_forwarded() {
    let mut head = Head::request(b"GET", b"a", b"/");
    head.add(b"Connection", b"close");
    assert_eq!(head.get(Known::Connection), Some(&b"close"[..]));
    assert_eq!(names(&head), []);
}

#[test]
fn a_head_answers_what_routes_ask() {
    let mut head = Head::request(b"PURGE", b"shop:80", b"/a?b=c");
    head.add(b"X-User", b"me");
    let view: &dyn RequestHead = &head;
    assert_eq!(view.method(), b"PURGE");
    assert_eq!(view.authority(), b"shop:80");
    assert_eq!(view.path_and_query(), b"/a?b=c");
    assert_eq!(view.header("x-user"), Some(&b"me"[..]));
    assert_eq!(view.header(":path"), Some(&b"/a?b=c"[..]));
    assert_eq!(view.header(":authority"), Some(&b"shop:80"[..]));
    assert_eq!(view.header("x-none"), None);
}

#[test]
fn a_recycled_head_is_empty_and_keeps_its_memory() {
    let mut pool = HeadPool::new();
    let mut head = Head::request(b"GET", b"a", b"/");
    head.add(b"a", b"b");
    let capacity = head.bytes.capacity();
    pool.give(head);
    let head = pool.take();
    assert_eq!(head.fields().count(), 0);
    assert_eq!(head.method(), None);
    assert_eq!(head.bytes.capacity(), capacity);
}
