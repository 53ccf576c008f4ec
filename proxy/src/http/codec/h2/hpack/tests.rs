//! The examples of RFC 7541 Appendix C, what it forbids, and both ends against each other.

use proptest::prelude::*;

use super::name::Name;
use super::*;
use crate::http::codec::ProtocolError as E;
use crate::http::head::Known;

/// Takes every field as text.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    never: Vec<bool>,
    enough: bool,
}

impl Fields for Taken {
    fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn field(&mut self, field: Decoded) {
        let text = |span: crate::http::head::Span| span.of(&self.bytes).to_vec();
        self.fields.push((text(field.name), text(field.value)));
        self.never.push(field.never_index);
    }

    fn has_enough(&self) -> bool {
        self.enough
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, E> {
    let mut taken = Taken::default();
    decoder.decode(block, &mut taken)?;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let fields = taken.fields.into_iter();
    Ok(fields
        .map(|(name, value)| (text(name), text(value)))
        .collect())
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const REQUESTS: [&[(&str, &str)]; 3] = [
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "www.example.com"),
        ("cache-control", "no-cache"),
    ],
    &[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ],
];

const RESPONSES: [&[(&str, &str)]; 3] = [
    &[
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "307"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ],
    &[
        (":status", "200"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ("location", "https://www.example.com"),
        ("content-encoding", "gzip"),
        (
            "set-cookie",
            "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ),
    ],
];

#[test]
fn requests_of_the_rfc() {
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let coded = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        for (block, fields) in blocks.iter().zip(REQUESTS) {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(pairs(fields)));
        }
    }
}

#[test]
fn responses_of_the_rfc_push_out_what_is_old() {
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54\
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f\
         3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076\
         657273696f6e3d31",
    ];
    let coded = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f\
         0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335df\
         dfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new();
        decoder.set_limit(256);
        assert_eq!(decode(&mut decoder, &hex("3fe101")), Ok(vec![]));
        for (block, fields) in blocks.iter().zip(RESPONSES) {
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(pairs(fields)));
        }
    }
}

#[test]
fn single_fields_of_the_rfc() {
    for (block, name, value, never) in [
        (
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            "custom-key",
            "custom-header",
            false,
        ),
        (
            "040c2f73616d706c652f70617468",
            ":path",
            "/sample/path",
            false,
        ),
        (
            "100870617373776f726406736563726574",
            "password",
            "secret",
            true,
        ),
        ("82", ":method", "GET", false),
    ] {
        let mut taken = Taken::default();
        Decoder::new()
            .decode(&hex(block), &mut taken)
            .expect("a good block");
        assert_eq!(taken.fields, [(name.into(), value.into())]);
        assert_eq!(taken.never, [never]);
    }
}

#[test]
fn what_the_rfc_forbids() {
    for (block, error) in [
        ("80", E::BadIndex),
        ("be", E::BadIndex),
        ("ff00", E::BadIndex),
        ("7e00", E::BadIndex),
        ("ffffffffff7f", E::BadInteger),
        ("ff8080808080", E::BadInteger),
        ("ff", E::TruncatedBlock),
        ("ff80", E::TruncatedBlock),
        ("40", E::TruncatedBlock),
        ("4001", E::TruncatedBlock),
        ("400161", E::TruncatedBlock),
        ("4001610261", E::TruncatedBlock),
        ("3fe21f", E::BadTableSize),         // 4,097
        ("823f00", E::BadTableSize),         // behind a field
        ("0001618100", E::BadHuffman),       // three bits of padding, not ones
        ("000161821fff", E::BadHuffman),     // eleven bits of padding
        ("00016184ffffffff", E::BadHuffman), // the end of string
        ("00016184fffffffc", E::BadHuffman), // the end of string, exactly
        ("000161 81ff", E::BadHuffman),      // nothing but eight bits of padding
    ] {
        assert_eq!(
            decode(&mut Decoder::new(), &hex(block)),
            Err(error),
            "{block}"
        );
    }
}

#[test]
fn a_limit_that_went_down_must_be_answered() {
    let mut decoder = Decoder::new();
    decoder.set_limit(100);
    assert_eq!(decode(&mut decoder, &hex("82")), Err(E::BadTableSize));
    let mut decoder = Decoder::new();
    decoder.set_limit(100);
    // Down to nothing and up to 100.
    assert_eq!(
        decode(&mut decoder, &hex("203f4582")),
        Ok(pairs(&[(":method", "GET")]))
    );
    assert_eq!(decode(&mut decoder, &hex("3f46")), Err(E::BadTableSize));
}

#[test]
fn who_has_enough_still_keeps_the_table_in_step() {
    let mut decoder = Decoder::new();
    let mut taken = Taken {
        enough: true,
        ..Taken::default()
    };
    decoder
        .decode(&hex("82 4001610162 be"), &mut taken)
        .expect("a good block");
    assert_eq!((taken.fields.len(), taken.bytes.len()), (0, 0));
    assert_eq!(decode(&mut decoder, &hex("be")), Ok(pairs(&[("a", "b")])));
}

#[test]
fn every_byte_is_coded_and_decoded() {
    for byte in 0..=255_u8 {
        for len in 0..9 {
            let text = vec![byte; len];
            let (mut code, mut again) = (Vec::new(), Vec::new());
            huffman::encode(text.iter().copied(), &mut code);
            assert_eq!(code.len(), huffman::encoded_len(text.iter().copied()));
            huffman::decode(&code, &mut again).expect("our own code");
            assert_eq!(again, text);
        }
    }
}

#[test]
fn every_static_name_is_found_and_known() {
    for (at, entry) in static_table::ENTRIES.iter().enumerate() {
        let index = static_table::index_of(entry.name.as_bytes()).expect("it is there");
        assert_eq!(static_table::ENTRIES[index - 1].name, entry.name);
        assert!(index <= at + 1);
        assert_eq!(entry.is, Name::of(entry.name.as_bytes()), "{}", entry.name);
    }
    assert_eq!(static_table::index_of(b"Content-Type"), Some(31));
    for other in [&b""[..], b"x", b"content-typf", b"content-type2", b":"] {
        assert_eq!(static_table::index_of(other), None);
    }
}

#[test]
fn names_are_what_they_are() {
    for (name, kind) in [
        ("a", Kind::Field),
        ("A", Kind::UpperCase),
        ("Content-Type", Kind::UpperCase),
        ("", Kind::NoToken),
        ("a b", Kind::NoToken),
        ("a:", Kind::NoToken),
        ("a\0", Kind::NoToken),
        ("\u{e9}", Kind::NoToken),
        (":a", Kind::UnknownPseudo),
        (":", Kind::UnknownPseudo),
        (":path", Kind::Path),
        (":Path", Kind::UnknownPseudo),
    ] {
        assert_eq!(Name::of(name.as_bytes()).kind, kind, "{name:?}");
    }
    assert_eq!(Name::of(b"te").known, Known::Te);
}

fn encode(encoder: &mut Encoder, fields: &[(&str, &str, Indexing)]) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value, indexing) in fields {
        encoder.field(name.as_bytes(), value.as_bytes(), *indexing, &mut out);
    }
    out
}

#[test]
fn what_comes_again_is_indexed() {
    use Indexing::*;
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let fields = [
        ("x-user", "me", WhenRepeated),
        ("X-Two", "2", WhenRepeated),
        ("x-request-id", "1", Pointless),
        ("authorization", "Basic x", Never),
    ];
    let seen = pairs(&[
        ("x-user", "me"),
        ("x-two", "2"),
        ("x-request-id", "1"),
        ("authorization", "Basic x"),
    ]);
    let blocks: Vec<_> = (0..4).map(|_| encode(&mut encoder, &fields)).collect();
    for block in &blocks {
        assert_eq!(decode(&mut decoder, block).as_ref(), Ok(&seen));
    }
    assert_eq!(blocks[0][0], 0x00, "the first time in full");
    assert_eq!(blocks[1][0], 0x40, "the second time put into the table");
    assert_eq!(blocks[2][..2], [0x80 | 63, 0x80 | 62]);
    assert_eq!(blocks[2], blocks[3]);
    assert!(
        blocks[2].contains(&0x1f),
        "never indexed, with an indexed name"
    );
}

#[test]
fn what_is_large_or_has_no_room_is_not_indexed() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    let large = "x".repeat(1100);
    for _ in 0..3 {
        let block = encode(&mut encoder, &[("a", &large, Indexing::WhenRepeated)]);
        assert_eq!(block[0], 0x00);
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&[("a", &large)])));
    }
    encoder.set_limit(0);
    for at in 0..3 {
        let block = encode(&mut encoder, &[("a", "b", Indexing::WhenRepeated)]);
        let update: &[u8] = if at == 0 { &[0x20] } else { &[] };
        assert!(block.starts_with(update) && block[update.len()] == 0x00);
        assert_eq!(decode(&mut decoder, &block), Ok(pairs(&[("a", "b")])));
    }
    encoder.set_limit(100);
    encoder.set_limit(50);
    encoder.set_limit(1 << 20);
    // The least since the last block, and what holds now.
    let block = encode(&mut encoder, &[]);
    assert_eq!(block, hex("3f13 3fe11f"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strings_survive_the_code(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut code, mut again) = (Vec::new(), b"before".to_vec());
        huffman::encode(text.iter().copied(), &mut code);
        huffman::decode(&code, &mut again).expect("our own code");
        prop_assert_eq!(&again[6..], &text[..]);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..6)) {
        let mut decoder = Decoder::new();
        for block in blocks {
            if decoder.decode(&block, &mut Taken::default()).is_err() {
                break;
            }
        }
    }

    #[test]
    fn both_ends_stay_in_step(
        blocks in prop::collection::vec(
            (
                prop::option::of(0..5000_u32),
                prop::collection::vec((0..12_u8, 0..6_u8, 0..60_usize, 0..3_u8), 0..20),
            ),
            1..30,
        ),
    ) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        for (limit, fields) in blocks {
            if let Some(limit) = limit {
                encoder.set_limit(limit);
            }
            let all: Vec<_> = fields
                .iter()
                .map(|(name, value, len, how)| {
                    let how = [Indexing::WhenRepeated, Indexing::Pointless, Indexing::Never][*how as usize];
                    (format!("x-name-{name}"), format!("{value}").repeat(*len), how)
                })
                .collect();
            let mut out = Vec::new();
            encoder.begin(&mut out);
            for (name, value, how) in &all {
                encoder.field(name.as_bytes(), value.as_bytes(), *how, &mut out);
            }
            let expected: Vec<_> = all.into_iter().map(|(name, value, _)| (name, value)).collect();
            prop_assert_eq!(decode(&mut decoder, &out), Ok(expected));
        }
    }
}
