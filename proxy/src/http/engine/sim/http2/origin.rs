//! An origin that serves many requests on one connection.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::peer::Wish;
use super::super::plan::{self, Answer, Book, Fate, Framing, Kind};
use super::super::tunnel::{downward, upward};
use super::end::{End, Stream, field};
use super::frames;
use super::{Fields, Goals, draw_settings, owned};

/// An origin's end of one connection.
pub(in super::super) struct Origin {
    end: End,
    serves: BTreeMap<u32, Serve>,
    goals: Goals,
    whims: u8,
    clean: bool,
    leaving: Leaving,
    pub(in super::super) over: Option<Wish>,
}

/// How far its orderly end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// It has said that an end comes.
    Announced,
    /// It has said what the last stream is.
    Named,
}

/// One request.
struct Serve {
    request: usize,
    attempt: usize,
    answer: Answer,
    /// The request's body, how much of it was compared, and the answer's.
    asked: Vec<u8>,
    checked: usize,
    body: Vec<u8>,
    /// A tunnel is asked for, and granted.
    tunnel: bool,
    grants: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The answer has not begun.
    Waits,
    Body(usize),
    /// Nothing more is sent.
    Over,
}

impl Origin {
    pub(in super::super) fn new(rng: &mut Rng, clean: bool, window_max: i64) -> Self {
        Self {
            end: End::new(true, draw_settings(rng), window_max),
            serves: BTreeMap::new(),
            goals: Goals::draw(rng),
            whims: rng.u8(..6),
            clean,
            leaving: Leaving::No,
            over: None,
        }
    }

    pub(in super::super) fn is_acknowledged(&self) -> bool {
        self.end.is_answered()
    }

    pub(in super::super) fn unsent(&self) -> &[u8] {
        self.end.unsent()
    }

    pub(in super::super) fn sent(&mut self, n: usize) {
        self.end.sent(n);
    }

    pub(in super::super) fn wish(&self, told: bool) -> Wish {
        match self.over {
            _ if told => Wish::Close,
            // What was said before goes first.
            Some(_) if !self.end.unsent().is_empty() => Wish::Stay,
            Some(wish) => wish,
            None => Wish::Stay,
        }
    }

    pub(in super::super) fn received(&mut self, bytes: &[u8], book: &mut Book, rng: &mut Rng) {
        self.end.received(bytes);
        assert!(
            self.end
                .goaway
                .is_none_or(|(_, code)| code == frames::NO_ERROR || !self.clean),
            "the proxy blames us"
        );
        if self.over.is_some() {
            return;
        }
        let ids: Vec<u32> = self.end.streams.keys().copied().collect();
        for id in ids {
            if !self.serves.contains_key(&id) {
                self.take(id, book, rng);
            }
            self.check_request(id, book);
        }
    }

    /// A request has come: it is begun, or refused.
    fn take(&mut self, id: u32, book: &mut Book, rng: &mut Rng) {
        let stream = &self.end.streams[&id];
        let Some(head) = stream.head() else {
            return;
        };
        let path = field(head, ":path").unwrap();
        let at: usize = path.strip_prefix('/').unwrap().parse().unwrap();
        let request = &book.requests[at];
        let tunnel = request.kind != Kind::Plain;
        let method = if tunnel { "CONNECT" } else { request.method };
        assert_eq!(field(head, ":method"), Some(method));
        assert_eq!(field(head, ":protocol"), tunnel.then_some("websocket"));
        assert_eq!(field(head, ":authority"), Some("a"));
        let tries = &mut book.tries[at];
        request.check_told(|name| field(head, name));
        let answer = request.answer(tries.begun).clone();
        let grants = tunnel && answer.status == 200;
        let asked = match (grants, tunnel) {
            (true, _) => upward(request),
            (false, true) => Vec::new(),
            (false, false) => plan::body(at, request.body),
        };
        let body = match grants {
            true => downward(at, tries.begun, &answer),
            false => plan::body(Answer::salt(at, tries.begun), answer.body),
        };
        let mut serve = Serve {
            tunnel,
            grants,
            request: at,
            attempt: tries.begun,
            asked,
            checked: 0,
            body,
            answer,
            stage: Stage::Waits,
        };
        // Where nothing fails, what is refused is taken elsewhere.
        let refuses = !self.clean || (tries.refused < 2 && request.framing == Framing::None);
        if refuses && rng.u8(..12) == 0 {
            tries.refused += 1;
            serve.stage = Stage::Over;
            if stream.reset.is_none() {
                self.end.reset(id, frames::REFUSED_STREAM);
            }
        } else {
            tries.begun += 1;
        }
        self.serves.insert(id, serve);
    }

    /// What came of a request is what was sent.
    fn check_request(&mut self, id: u32, book: &Book) {
        let (Some(serve), stream) = (self.serves.get_mut(&id), &self.end.streams[&id]) else {
            return;
        };
        let request = &book.requests[serve.request];
        let came = serve.asked.get(serve.checked..stream.body.len());
        assert_eq!(
            came,
            Some(&stream.body[serve.checked..]),
            "another request's body"
        );
        serve.checked = stream.body.len();
        if stream.ended {
            assert_eq!(
                serve.asked.len(),
                stream.body.len(),
                "a cut request looks complete"
            );
            let sum = stream.trailers.as_ref().and_then(|it| field(it, "x-sum"));
            let told = request.trailers.then(|| plan::sum(request.id));
            assert_eq!(sum, told.as_deref(), "trailers of request {}", request.id);
        }
    }

    /// Does one of the things that it may do now. Whether there was any.
    pub(in super::super) fn think(&mut self, rng: &mut Rng, book: &mut Book) -> bool {
        if self.over.is_some() || self.end.unsent().len() > 20_000 {
            return false;
        }
        let mut ways = [0, 1, 2, 3];
        rng.shuffle(&mut ways);
        ways.into_iter().any(|way| match way {
            0 => self.go_on(rng, book),
            1 => {
                let Goals { stream, connection } = self.goals;
                self.end.credit(rng, stream, connection)
            }
            // One that takes no stream now is to change its mind.
            2 if self.end.last_told().streams_max == 0 => {
                self.end.tell(draw_settings(rng));
                true
            }
            2 if self.whims > 0 && rng.u8(..20) == 0 => {
                self.whims -= 1;
                match rng.u8(..4) {
                    0 => self.announce(),
                    1 if !self.clean => self.leave(rng, book),
                    _ => self.end.whim(rng),
                }
                true
            }
            3 => self.end_in_order(book),
            _ => false,
        })
    }

    /// Says that an end comes (RFC 9113 §6.8).
    fn announce(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            self.end.leave(i32::MAX as u32, frames::NO_ERROR);
            self.end.ping(0);
        }
    }

    /// Says that an end comes, which some streams will not see.
    fn leave(&mut self, rng: &mut Rng, book: &mut Book) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Named;
        let waits = |serve: &Serve| serve.stage == Stage::Waits;
        let begun = self.serves.iter().filter(|(_, serve)| !waits(serve));
        let from = begun.map(|(id, _)| *id).max().unwrap_or(0);
        let last = rng.u32(from..=self.end.highest.max(from));
        self.name_last(last, book);
        self.end.ping(0);
    }

    fn name_last(&mut self, last: u32, book: &mut Book) {
        self.end.leave(last, frames::NO_ERROR);
        for (_, serve) in self.serves.range_mut(last + 1..) {
            if serve.stage == Stage::Waits {
                book.tries[serve.request].begun -= 1;
            }
            serve.stage = Stage::Over;
        }
    }

    /// The last stream is named once no other can be under way, and the connection closed behind it.
    fn end_in_order(&mut self, book: &mut Book) -> bool {
        match self.leaving {
            Leaving::Announced if self.end.pings.is_empty() => {
                self.leaving = Leaving::Named;
                self.name_last(self.end.highest, book);
                true
            }
            Leaving::Named if self.end.kept().all(Stream::is_over) => {
                // Credit that comes for what was sent last would be answered by a reset.
                self.over = Some(if self.clean {
                    Wish::Shutdown
                } else {
                    Wish::Close
                });
                true
            }
            _ => false,
        }
    }

    /// Sends something more of an answer.
    fn go_on(&mut self, rng: &mut Rng, book: &Book) -> bool {
        let mut ids: Vec<u32> = self.serves.keys().copied().collect();
        rng.shuffle(&mut ids);
        ids.into_iter().any(|id| self.answer(id, rng, book))
    }

    fn answer(&mut self, id: u32, rng: &mut Rng, book: &Book) -> bool {
        let stream = &self.end.streams[&id];
        let Some(serve) = self.serves.get_mut(&id) else {
            return false;
        };
        if stream.is_over() || stream.done {
            serve.stage = Stage::Over;
        }
        let request = &book.requests[serve.request];
        let answer = &serve.answer;
        let at = match serve.stage {
            Stage::Over => return false,
            Stage::Waits => 0,
            Stage::Body(at) => at,
        };
        if serve.stage == Stage::Waits && !answer.early && !stream.ended && !serve.tunnel {
            return false;
        }
        match answer.fate {
            Fate::Cut(until) if at >= until.min(answer.body) => {
                serve.stage = Stage::Over;
                let code = *rng.choice(&[1, 2, frames::CANCEL, 11]).unwrap();
                self.end.reset(id, code);
                return true;
            }
            Fate::Reset(until) if at >= until.min(answer.body) => {
                self.over = Some(Wish::Reset);
                return true;
            }
            Fate::Stalled(until) if at >= until.min(answer.body) => {
                serve.stage = Stage::Over;
                return false;
            }
            _ => {}
        }
        let bodiless = request.method == "HEAD";
        let body: &[u8] = if bodiless { &[] } else { &serve.body };
        let trailers = answer.trailers && !bodiless;
        if serve.stage == Stage::Waits {
            if answer.interim {
                self.end.head(rng, id, &vec![pair(":status", "103")], false);
            }
            let ends = body.is_empty() && !trailers && (bodiless || rng.bool());
            let mut head = head(answer, serve.request, serve.attempt);
            if serve.grants {
                head.retain(|(name, _)| name != "content-length");
            }
            self.end.head(rng, id, &head, ends);
            serve.stage = Stage::Body(0);
            return true;
        }
        if at == body.len() && trailers {
            let salt = Answer::salt(serve.request, serve.attempt);
            let fields = owned(answer.trailer_fields(salt)).collect();
            self.end.head(rng, id, &fields, true);
        } else {
            let before = self.end.unsent().len();
            let n = self.end.data(rng, id, &body[at..], !trailers);
            serve.stage = Stage::Body(at + n);
            if self.end.unsent().len() == before {
                return false;
            }
        }
        let stream = &self.end.streams[&id];
        if stream.done {
            let stop = !stream.ended && !serve.grants && rng.bool();
            match serve.answer.fate {
                Fate::Closed => self.announce(),
                Fate::Surplus => {
                    frames::put(&mut self.end.out, frames::DATA, 0, id, b"");
                }
                // RFC 9113 §8.1: what is left of the request is not needed.
                _ if stop => self.end.reset(id, frames::NO_ERROR),
                _ => {}
            }
        }
        true
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn head(answer: &Answer, request: usize, attempt: usize) -> Fields {
    let mut fields = vec![
        pair(":status", &answer.status.to_string()),
        pair("x-id", &format!("{request}.{attempt}")),
    ];
    if answer.framing == Framing::Length {
        fields.push(pair("content-length", &answer.body.to_string()));
    }
    fields.extend(owned(answer.call_fields()));
    fields
}
