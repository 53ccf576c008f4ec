//! Beside the `h2` crate: whatever is sent from one to the other is the same message on both sides.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic; the lints exempt test functions, not their helpers"
)]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use weft_proxy::http::codec::h2::{Conn, H2Limits};
use weft_proxy::http::codec::{Event, Out, ReadBuf, Reason, StreamId};
use weft_proxy::http::head::{Flags, Head, HeadPool, Known};

type Fields = Vec<(String, Vec<u8>)>;

/// A message as it is sent, and as either side understood it. Fields are sorted: `h2` keeps no order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Message {
    start: String,
    interims: Vec<u16>,
    fields: Fields,
    /// Fields that nobody may put into a table. `h2` says so when it writes, and not of what it has read.
    secret: Vec<String>,
    body: Vec<u8>,
    trailers: Fields,
    reset: Option<Reason>,
}

/// What is sent on a connection: each request, and what it is answered with.
type Plan = Vec<(Message, Message)>;

const NAMES: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-allow-origin",
    "cache-control",
    "content-type",
    "etag",
    "grpc-timeout",
    "traceparent",
    "user-agent",
    "via",
    "x-custom",
    "x-request-id",
    "x-user",
];

fn value(rng: &mut fastrand::Rng) -> Vec<u8> {
    let len = *rng.choice(&[0, 1, 7, 20, 60, 300]).unwrap();
    let mut value: Vec<u8> = (0..len).map(|_| rng.u8(0x21..0x7f)).collect();
    if len > 2 && rng.bool() {
        value[1] = b' ';
        value[len - 2] = 0xe9;
    }
    value
}

fn fields(rng: &mut fastrand::Rng, pool: &[Vec<u8>]) -> Fields {
    let count = rng.usize(0..10);
    let mut fields: Fields = (0..count)
        .map(|_| {
            let name = (*rng.choice(NAMES).unwrap()).to_owned();
            // Some come again, so that tables are used.
            let value = match rng.bool() {
                true => rng.choice(pool).unwrap().clone(),
                false => value(rng),
            };
            (name, value)
        })
        .collect();
    fields.sort();
    fields
}

fn message(rng: &mut fastrand::Rng, start: String, pool: &[Vec<u8>]) -> Message {
    let len = *rng.choice(&[0, 0, 1, 100, 20_000, 150_000]).unwrap();
    let mut message = Message {
        start,
        interims: Vec::new(),
        fields: fields(rng, pool),
        secret: Vec::new(),
        body: (0..len).map(|at| (at % 251) as u8).collect(),
        trailers: Vec::new(),
        reset: None,
    };
    if rng.bool() {
        let length = message.body.len().to_string().into_bytes();
        message.fields.push(("content-length".into(), length));
    }
    if rng.bool() {
        message
            .fields
            .push(("authorization".into(), b"Basic abc".to_vec()));
        message.secret.push("authorization".into());
    }
    if rng.bool() {
        message.trailers = fields(rng, pool);
    }
    message.fields.sort();
    message
}

fn plan(rng: &mut fastrand::Rng) -> Plan {
    let pool: Vec<Vec<u8>> = (0..6).map(|_| value(rng)).collect();
    (0..rng.usize(1..12))
        .map(|at| {
            let method = *rng.choice(&["GET", "POST", "PURGE"]).unwrap();
            let request = message(rng, format!("{method} host:1 /{at}?q"), &pool);
            let status = *rng.choice(&[200, 201, 404, 500, 999]).unwrap();
            let mut response = message(rng, status.to_string(), &pool);
            if rng.u8(0..5) == 0 {
                response.interims = vec![103; rng.usize(1..4)];
            }
            if rng.u8(0..6) == 0 {
                let reasons = [Reason::Cancelled, Reason::NotBegun, Reason::Internal];
                response = Message {
                    reset: Some(*rng.choice(&reasons).unwrap()),
                    ..Message::default()
                };
            }
            (request, response)
        })
        .collect()
}

fn limits(rng: &mut fastrand::Rng) -> H2Limits {
    H2Limits {
        stream_window: *rng.choice(&[1000, 65_535, 300_000]).unwrap(),
        connection_window: *rng.choice(&[65_535, 1 << 20]).unwrap(),
        frame_bytes_max: *rng.choice(&[16_384, 40_000]).unwrap(),
        header_table_bytes: *rng.choice(&[0, 200, 4096, 20_000]).unwrap(),
        ..H2Limits::default()
    }
}

/// Which answer belongs to a request: its path says so.
fn number(start: &str) -> usize {
    let digits: String = start
        .chars()
        .skip_while(|c| *c != '/')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number in the path")
}

// ---- ours

/// A message being sent by us.
struct Sending {
    body: Vec<u8>,
    trailers: Option<Head>,
}

struct Ours {
    conn: Conn,
    heads: HeadPool,
    input: ReadBuf,
    out: Out,
    from: ReadHalf<DuplexStream>,
    to: WriteHalf<DuplexStream>,
    sending: BTreeMap<u32, Sending>,
    seen: BTreeMap<u32, Message>,
}

impl Ours {
    fn new(conn: Conn, io: DuplexStream) -> Self {
        let (from, to) = tokio::io::split(io);
        Self {
            conn,
            heads: HeadPool::new(),
            input: ReadBuf::default(),
            out: Out::new(),
            from,
            to,
            sending: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn send(&mut self, stream: StreamId, mut head: Head, message: &Message) {
        for (name, value) in &message.fields {
            head.add(name.as_bytes(), value);
        }
        let trailers = (!message.trailers.is_empty()).then(|| {
            let mut head = Head::new();
            for (name, value) in &message.trailers {
                head.add(name.as_bytes(), value);
            }
            head
        });
        let end = message.body.is_empty() && trailers.is_none();
        self.conn
            .head(stream, &head, end, &mut self.out)
            .expect("a good head");
        if !end {
            let body = message.body.clone();
            self.sending.insert(stream.0, Sending { body, trailers });
            self.go_on(stream);
        }
    }

    fn go_on(&mut self, stream: StreamId) {
        let Some(sending) = self.sending.get_mut(&stream.0) else {
            return;
        };
        let last = sending.trailers.is_none();
        let taken = self
            .conn
            .data(stream, &sending.body, last, &mut self.out)
            .expect("in turn");
        sending.body.drain(..taken);
        if sending.body.is_empty() {
            if let Some(trailers) = &sending.trailers {
                self.conn
                    .trailers(stream, trailers, &mut self.out)
                    .expect("good trailers");
            }
            self.sending.remove(&stream.0);
        }
    }

    /// Writes what there is, reads once, and gives the streams whose messages have ended.
    async fn turn(&mut self) -> Vec<StreamId> {
        while let Some(stream) = self.conn.next_writable(&self.out) {
            self.go_on(stream);
        }
        self.conn.flush(&mut self.out);
        let mut buffer = [0; 5000];
        tokio::select! {
            written = self.to.write(self.out.pending()), if !self.out.is_empty() => {
                self.out.advance(written.expect("the pipe is open"));
                return Vec::new();
            }
            read = self.from.read(&mut buffer) => {
                let read = read.expect("the pipe is open");
                assert!(read > 0, "the peer has gone: {:?}", self.seen);
                self.input.extend(&buffer[..read]);
            }
        }
        self.events()
    }

    fn events(&mut self) -> Vec<StreamId> {
        let mut ended = Vec::new();
        loop {
            let event = self.conn.next(&mut self.input, &mut self.heads);
            let Some(event) = event.expect("the peer keeps the rules") else {
                return ended;
            };
            let (stream, end, data) = note(&mut self.seen, event);
            self.conn.consumed(stream, data);
            if end {
                ended.push(stream);
            }
        }
    }
}

/// Notes an event: its stream, whether that has ended, and how much data it brought.
fn note(seen: &mut BTreeMap<u32, Message>, event: Event<'_>) -> (StreamId, bool, usize) {
    match event {
        Event::Head { stream, head, end } => {
            let message = seen.entry(stream.0).or_default();
            message.start = match head.status() {
                0 => {
                    let parts = [head.method_bytes(), head.authority(), head.path()];
                    String::from_utf8(parts.join(&b' ')).unwrap()
                }
                status => status.to_string(),
            };
            message.fields = our_fields(&head);
            let secret = head.fields().filter(|it| it.flags.has(Flags::NEVER_INDEX));
            message.secret = secret
                .map(|it| String::from_utf8_lossy(it.name).into())
                .collect();
            (stream, end, 0)
        }
        Event::Interim { stream, head } => {
            seen.entry(stream.0)
                .or_default()
                .interims
                .push(head.status());
            (stream, false, 0)
        }
        Event::Data { stream, bytes, end } => {
            seen.entry(stream.0)
                .or_default()
                .body
                .extend_from_slice(bytes);
            (stream, end, bytes.len())
        }
        Event::Trailers { stream, head } => {
            seen.entry(stream.0).or_default().trailers = our_fields(&head);
            (stream, true, 0)
        }
        Event::Reset { stream, why } => {
            seen.entry(stream.0).or_default().reset = Some(why);
            (stream, true, 0)
        }
        other => panic!("{other:?}"),
    }
}

fn our_fields(head: &Head) -> Fields {
    let mut fields: Fields = head
        .forwarded()
        .filter(|field| field.known != Known::Host)
        .map(|field| {
            (
                String::from_utf8_lossy(field.name).into(),
                field.value.to_vec(),
            )
        })
        .collect();
    fields.sort();
    fields
}

// ---- theirs

fn header_map(message: &Message, fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let mut value = HeaderValue::from_bytes(value).unwrap();
        value.set_sensitive(message.secret.contains(name));
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    map
}

fn their_fields(map: &HeaderMap) -> Fields {
    let mut fields: Fields = map
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    fields.sort();
    fields
}

async fn send_theirs(mut stream: h2::SendStream<Bytes>, message: &Message) {
    let mut rest = Bytes::from(message.body.clone());
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return; // it was reset
        };
        let piece = rest.split_to(room.min(rest.len()));
        stream.send_data(piece, false).unwrap();
    }
    if message.trailers.is_empty() {
        stream.send_data(Bytes::new(), true).ok();
    } else {
        let trailers = header_map(message, &message.trailers);
        stream.send_trailers(trailers).ok();
    }
}

async fn receive_theirs(mut body: h2::RecvStream, message: &mut Message) {
    while let Some(piece) = body.data().await {
        let piece = piece.expect("the peer keeps the rules");
        body.flow_control().release_capacity(piece.len()).unwrap();
        message.body.extend_from_slice(&piece);
    }
    if let Some(trailers) = body.trailers().await.expect("good trailers") {
        message.trailers = their_fields(&trailers);
    }
}

fn code_of(why: Reason) -> h2::Reason {
    match why {
        Reason::Cancelled => h2::Reason::CANCEL,
        Reason::NotBegun => h2::Reason::REFUSED_STREAM,
        Reason::Internal => h2::Reason::INTERNAL_ERROR,
        _ => panic!("not in any plan"),
    }
}

/// A server of `h2` that answers by the plan; what it saw, by number.
async fn their_server(io: DuplexStream, plan: &Plan, limits: H2Limits) -> BTreeMap<usize, Message> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame_bytes_max)
        .header_table_size(limits.header_table_bytes)
        .handshake::<_, Bytes>(io)
        .await
        .expect("a handshake");
    let mut answers = tokio::task::JoinSet::new();
    let mut windows = (300_000..).step_by(50_000);
    while let Some(accepted) = connection.accept().await {
        // Settings change under way, unless the last change was not acknowledged yet. The windows grow, for `h2` keeps to
        // itself the credit that it has gathered when it narrows them, and then nothing moves any more.
        if let Some(window) = windows.next() {
            connection.set_initial_window_size(window).ok();
        }
        let Ok((request, respond)) = accepted else {
            break;
        };
        let uri = request.uri();
        let target = uri.path_and_query().unwrap();
        let start = format!("{} {} {target}", request.method(), uri.authority().unwrap());
        let (_, response) = plan[number(&start)].clone();
        answers.spawn(answer(request, respond, start, response));
    }
    let mut seen = BTreeMap::new();
    while let Some(answered) = answers.join_next().await {
        let message = answered.expect("no panic");
        seen.insert(number(&message.start), message);
    }
    seen
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    start: String,
    response: Message,
) -> Message {
    let mut seen = Message {
        start,
        fields: their_fields(request.headers()),
        ..Message::default()
    };
    receive_theirs(request.into_body(), &mut seen).await;
    if let Some(why) = response.reset {
        respond.send_reset(code_of(why));
        return seen;
    }
    for status in &response.interims {
        let interim = Response::builder().status(*status).body(()).unwrap();
        respond.send_informational(interim).unwrap();
    }
    let mut head = Response::builder()
        .status(response.start.as_str())
        .body(())
        .unwrap();
    *head.headers_mut() = header_map(&response, &response.fields);
    let end = response.body.is_empty() && response.trailers.is_empty();
    let stream = respond.send_response(head, end).unwrap();
    if !end {
        send_theirs(stream, &response).await;
    }
    seen
}

/// A client of `h2` that sends the plan; what it was answered, by number.
async fn their_client(io: DuplexStream, plan: &Plan, limits: H2Limits) -> BTreeMap<usize, Message> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame_bytes_max)
        .header_table_size(limits.header_table_bytes)
        .handshake::<_, Bytes>(io)
        .await
        .expect("a handshake");
    let driver = tokio::spawn(connection);
    let mut asking = tokio::task::JoinSet::new();
    for (at, (request, _)) in plan.iter().enumerate() {
        let sender = sender.clone().ready().await.expect("room");
        asking.spawn(ask(sender, at, request.clone()));
    }
    let mut seen = BTreeMap::new();
    while let Some(answered) = asking.join_next().await {
        let (at, message) = answered.expect("no panic");
        seen.insert(at, message);
    }
    drop(sender);
    driver.abort();
    seen
}

async fn ask(
    mut sender: h2::client::SendRequest<Bytes>,
    at: usize,
    request: Message,
) -> (usize, Message) {
    let mut parts = request.start.split(' ');
    let (method, host, path) = (
        parts.next().unwrap(),
        parts.next().unwrap(),
        parts.next().unwrap(),
    );
    let mut head = Request::builder()
        .method(method)
        .uri(format!("http://{host}{path}"))
        .body(())
        .unwrap();
    *head.headers_mut() = header_map(&request, &request.fields);
    let end = request.body.is_empty() && request.trailers.is_empty();
    let (mut response, stream) = sender.send_request(head, end).expect("a good request");
    drop(sender);
    if !end {
        send_theirs(stream, &request).await;
    }
    let mut seen = Message::default();
    while let Some(interim) = poll_fn(|cx| response.poll_informational(cx)).await {
        match interim {
            Ok(interim) => seen.interims.push(interim.status().as_u16()),
            Err(_) => break,
        }
    }
    match response.await {
        Ok(response) => {
            seen.start = response.status().as_str().to_owned();
            seen.fields = their_fields(response.headers());
            receive_theirs(response.into_body(), &mut seen).await;
        }
        Err(error) => {
            seen.reset = match error.reason() {
                Some(h2::Reason::CANCEL) => Some(Reason::Cancelled),
                Some(h2::Reason::REFUSED_STREAM) => Some(Reason::NotBegun),
                Some(h2::Reason::INTERNAL_ERROR) => Some(Reason::Internal),
                other => panic!("{other:?}: {error}"),
            };
        }
    }
    (at, seen)
}

// ---- both

/// Our client sends the plan; what it was answered, by number.
async fn our_client(io: DuplexStream, plan: &Plan, limits: H2Limits) -> BTreeMap<usize, Message> {
    let mut ours = Ours::new(Conn::client(limits), io);
    let mut streams = BTreeMap::new();
    for (at, (request, _)) in plan.iter().enumerate() {
        let mut parts = request.start.split(' ').map(str::as_bytes);
        let head = Head::request(
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let stream = ours.conn.open().expect("room");
        ours.send(stream, head, request);
        streams.insert(stream, at);
    }
    let mut left = streams.len();
    while left > 0 || ours.conn.streams() > 0 {
        let ended = ours.turn().await;
        for stream in ended {
            ours.sending.remove(&stream.0);
            left -= 1;
        }
    }
    let seen = ours.seen.into_iter();
    seen.map(|(stream, message)| (streams[&StreamId(stream)], message))
        .collect()
}

/// Our server answers by the plan; what it saw, by number.
async fn our_server(io: DuplexStream, plan: &Plan, limits: H2Limits) -> BTreeMap<usize, Message> {
    let mut ours = Ours::new(Conn::server(limits), io);
    let mut left = plan.len();
    while left > 0 || ours.conn.streams() > 0 || !ours.out.is_empty() {
        let ended = ours.turn().await;
        for stream in ended {
            left -= 1;
            let request = &ours.seen[&stream.0];
            let (_, response) = &plan[number(&request.start)];
            match response.reset {
                Some(why) => ours.conn.reset(stream, why),
                None => {
                    for status in &response.interims {
                        let interim = Head::response(*status);
                        ours.conn
                            .head(stream, &interim, false, &mut ours.out)
                            .expect("a good head");
                    }
                    let head = Head::response(response.start.parse().unwrap());
                    ours.send(stream, head, response);
                }
            }
        }
    }
    ours.conn.flush(&mut ours.out);
    ours.to.write_all(ours.out.pending()).await.ok();
    let seen = ours.seen.into_values();
    seen.map(|message| (number(&message.start), message))
        .collect()
}

fn check(
    seed: u64,
    plan: &Plan,
    requests: &BTreeMap<usize, Message>,
    answers: &BTreeMap<usize, Message>,
) {
    for (at, (request, response)) in plan.iter().enumerate() {
        same(seed, request, requests.get(&at));
        same(seed, response, answers.get(&at));
    }
}

fn same(seed: u64, sent: &Message, seen: Option<&Message>) {
    let seen = seen.expect("it was seen");
    assert!(sent.body == seen.body, "seed {seed}: bodies differ");
    let short = |message: &Message| Message {
        body: Vec::new(),
        ..message.clone()
    };
    assert_eq!(short(sent), short(seen), "seed {seed}");
}

const SEEDS: u64 = 60;

#[tokio::test]
async fn our_client_speaks_to_their_server() {
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (plan, ours, theirs) = (plan(&mut rng), limits(&mut rng), limits(&mut rng));
        let (near, far) = tokio::io::duplex(rng.usize(100..100_000));
        let both = async {
            tokio::join!(
                our_client(near, &plan, ours),
                their_server(far, &plan, theirs)
            )
        };
        let (answers, requests) = tokio::time::timeout(Duration::from_secs(60), both)
            .await
            .unwrap_or_else(|_| panic!("seed {seed} does not end"));
        let mut plan = plan;
        for (request, _) in &mut plan {
            request.secret.clear();
        }
        check(seed, &plan, &requests, &answers);
    }
}

#[tokio::test]
async fn their_client_speaks_to_our_server() {
    for seed in 0..SEEDS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (plan, ours, theirs) = (plan(&mut rng), limits(&mut rng), limits(&mut rng));
        let (near, far) = tokio::io::duplex(rng.usize(100..100_000));
        let both = async {
            tokio::join!(
                their_client(near, &plan, theirs),
                our_server(far, &plan, ours)
            )
        };
        let (answers, requests) = tokio::time::timeout(Duration::from_secs(60), both)
            .await
            .unwrap_or_else(|_| panic!("seed {seed} does not end"));
        let mut plan = plan;
        for (_, response) in &mut plan {
            response.secret.clear();
        }
        check(seed, &plan, &requests, &answers);
    }
}
