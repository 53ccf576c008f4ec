//! Heads of HTTP/1 that go from sidecar to sidecar over HTTP/2 arrive as they were sent.

use proptest::prelude::*;

use super::*;
use crate::http::codec::{Out, h1};
use crate::http::head::Known;

/// A sidecar's connection to another, and what comes in between.
struct Hop {
    near: Conn,
    far: Conn,
    heads: HeadPool,
}

impl Hop {
    fn new(told: [bool; 2]) -> Self {
        let (mut near, mut far) = (
            Conn::client(H2Limits::default()),
            Conn::server(H2Limits::default()),
        );
        for (conn, told) in [(&mut near, told[0]), (&mut far, told[1])] {
            if told {
                conn.tell_spelling();
            }
        }
        Self {
            near,
            far,
            heads: HeadPool::new(),
        }
    }

    /// The request `text` as the application behind the far side hears it, and `answer` as the near client does.
    fn exchange(&mut self, text: &str, answer: &str) -> [String; 2] {
        let stream = self.near.open().unwrap();
        let head = read(h1::Conn::server(Default::default()), text, &mut self.heads);
        let mut out = Out::new();
        self.near.head(stream, &head, true, &mut out).unwrap();
        let asked = next_head(&mut self.far, &out, &mut self.heads);
        let mut app = h1::Conn::client(Default::default());
        let at = app.open().unwrap();
        let mut to_app = Out::new();
        app.head(at, &asked, true, &mut to_app).unwrap();

        let mut input = ReadBuf::default();
        input.extend(answer.as_bytes());
        let Ok(Some(Event::Head { head, end, .. })) = app.next(&mut input, &mut self.heads) else {
            panic!("{answer}");
        };
        let mut out = Out::new();
        self.far.head(stream, &head, end, &mut out).unwrap();
        let answered = next_head(&mut self.near, &out, &mut self.heads);
        let mut client = h1::Conn::server(Default::default());
        let mut input = ReadBuf::default();
        input.extend(text.as_bytes());
        let Ok(Some(Event::Head { stream: at, .. })) = client.next(&mut input, &mut self.heads)
        else {
            panic!("{text}");
        };
        let mut to_client = Out::new();
        client.head(at, &answered, end, &mut to_client).unwrap();
        [to_app, to_client].map(|out| super::text(out.pending()))
    }
}

fn read(mut conn: h1::Conn, text: &str, heads: &mut HeadPool) -> Head {
    let mut input = ReadBuf::default();
    input.extend(text.as_bytes());
    let event = conn.next(&mut input, heads);
    let Ok(Some(Event::Head { head, .. })) = event else {
        panic!("{text}: {event:?}");
    };
    head
}

fn next_head(conn: &mut Conn, out: &Out, heads: &mut HeadPool) -> Head {
    let mut input = ReadBuf::default();
    input.extend(out.pending());
    loop {
        let event = conn.next(&mut input, heads);
        match event {
            Ok(Some(Event::Head { head, .. })) => return head,
            Ok(Some(_)) => {}
            _ => panic!("{event:?}"),
        }
    }
}

/// Names that mean nothing to a hop, in any case.
fn names() -> impl Strategy<Value = Vec<String>> {
    let known = prop::sample::select(vec!["Accept", "ETag", "WWW-Authenticate", "X-ID", "date"]);
    let name = prop_oneof![
        known.prop_map(str::to_owned),
        "[A-Za-z][A-Za-z0-9]{0,9}(-[A-Za-z0-9]{1,9}){0,2}",
    ];
    let plain = |name: &String| match Known::of(name.as_bytes()) {
        Known::Host | Known::ContentLength | Known::TransferEncoding | Known::Cookie => false,
        Known::Te | Known::Trailer | Known::Expect | Known::XWeftSpelling => false,
        known => !known.is_hop_by_hop(),
    };
    prop::collection::vec(name.prop_filter("of a hop", plain), 0..12)
}

fn lines(names: &[String]) -> String {
    let line = |(at, name): (usize, &String)| format!("{name}: {at}\r\n");
    names.iter().enumerate().map(line).collect()
}

proptest! {
    #[test]
    fn names_keep_their_spelling_and_their_order(
        asked in prop::collection::vec(names(), 1..4),
        answered in names(),
        host in "[Hh][Oo][Ss][Tt]",
        place in 0..12_usize,
    ) {
        let mut hop = Hop::new([true, true]);
        for asked in asked {
            let (before, after) = asked.split_at(place.min(asked.len()));
            let fields = format!("{}{host}: a.test\r\n{}", lines(before), lines(after));
            let request = format!("GET /x HTTP/1.1\r\n{fields}\r\n");
            let answer = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", lines(&answered));
            let [at_app, at_client] = hop.exchange(&request, &answer);
            prop_assert_eq!(at_app, request);
            // The reason means nothing, and is not told (RFC 9110 §15.1).
            prop_assert_eq!(at_client, answer);
        }
    }
}

const ASKED: &str = "GET / HTTP/1.1\r\nX-A: 1\r\nHOST: a\r\nX-Weft-Spelling: tttt\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 204 No Content\r\nX-B: 1\r\n\r\n";

#[test]
fn without_an_agreement_nothing_is_told_and_nothing_is_believed() {
    let [at_app, at_client] = Hop::new([false, false]).exchange(ASKED, ANSWER);
    assert_eq!(at_app, "GET / HTTP/1.1\r\nHost: a\r\nx-a: 1\r\n\r\n");
    assert_eq!(at_client, "HTTP/1.1 204 No Content\r\nx-b: 1\r\n\r\n");
}

#[test]
fn what_an_application_says_of_spelling_goes_no_further() {
    let [at_app, at_client] = Hop::new([true, true]).exchange(ASKED, ANSWER);
    assert_eq!(at_app, "GET / HTTP/1.1\r\nX-A: 1\r\nHOST: a\r\n\r\n");
    assert_eq!(at_client, "HTTP/1.1 204 No Content\r\nX-B: 1\r\n\r\n");
}

#[test]
fn a_head_of_as_many_fields_as_there_may_be_has_room_for_its_spelling() {
    let names: Vec<String> = (0..99).map(|at| format!("X-{at}")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", lines(&names));
    let [at_app, _] = Hop::new([true, true]).exchange(&request, ANSWER);
    assert_eq!(at_app, request);
}
