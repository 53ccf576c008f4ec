//! Editing a head in place: bytes are appended, spans moved, flags set; nothing is shifted.
//!
//! Edits do not check what they are given: a codec checks every edited part when it writes the head, and refuses
//! the whole rather than emit a malformed one.

use super::{Field, Flags, Head, Known, Method, Scheme, Span, Start};

impl Head {
    /// Starts a request in an empty head.
    pub fn start_request(&mut self, method: &[u8], authority: &[u8], path: &[u8]) {
        let method = match Method::standard(method) {
            Some(method) => method,
            None => Method::Other(self.put(method)),
        };
        self.start = Start::Request {
            method,
            path: self.put(path),
            authority: self.put(authority),
            scheme: Scheme::Http,
        };
    }

    /// Starts a response in an empty head.
    pub fn start_response(&mut self, status: u16) {
        self.start = Start::Response { status };
    }

    /// Adds a field behind the others, even where the name exists.
    ///
    /// A name that belongs to one hop (`Connection`, `Transfer-Encoding`) can be added, but is not sent: framing and
    /// connection management are the codec's.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        let (name, value) = (self.put(name), self.put(value));
        self.push(name, value, known);
    }

    /// Adds a field with a well-known name behind the others.
    pub fn add_known(&mut self, known: Known, value: &[u8]) {
        let (name, value) = (self.put(known.name().as_bytes()), self.put(value));
        self.push(name, value, known);
    }

    /// Gives the field `name` this one value: the first keeps its place and the case of its name, further ones go.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let value = self.put(value);
        let (known, mut placed) = (Known::of(name), false);
        let bytes = &self.bytes;
        for field in &mut self.fields {
            if field.flags.has(Flags::DROPPED) || !is_called(field, bytes, known, name) {
                continue;
            }
            if placed {
                field.flags.set(Flags::DROPPED);
            } else {
                replace_value(field, value);
                placed = true;
            }
        }
        if !placed {
            let name = self.put(name);
            self.push(name, value, known);
        }
        self.follow_host(known, value);
    }

    /// Makes `value` the last member of the list in field `name` (RFC 9110 §5.6.1), adding the field when there is none.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        let bytes = &self.bytes;
        let last = self.fields.iter().rposition(|field| {
            !field.flags.has(Flags::DROPPED) && is_called(field, bytes, known, name)
        });
        let old = last
            .and_then(|at| self.fields.get(at))
            .map(|field| field.value);
        let Some(old) = old.filter(|old| !old.is_empty()) else {
            return self.set(name, value);
        };
        let start = self.bytes.len();
        self.bytes.extend_from_within(old.start as usize..old.end());
        self.bytes.extend_from_slice(b", ");
        self.bytes.extend_from_slice(value);
        let joined = Span::new(start, self.bytes.len());
        if let Some(field) = last.and_then(|at| self.fields.get_mut(at)) {
            replace_value(field, joined);
        }
    }

    /// Removes every field called `known`; whether there was one.
    pub fn remove(&mut self, known: Known) -> bool {
        self.drop_where(|field, _| field.known == known && known != Known::Other)
    }

    /// Removes every field called `name`, in any case; whether there was one.
    pub fn remove_name(&mut self, name: &[u8]) -> bool {
        let known = Known::of(name);
        self.drop_where(|field, bytes| is_called(field, bytes, known, name))
    }

    /// Rewrites a request's path and query. Nothing happens to other heads.
    pub fn set_path(&mut self, path: &[u8]) {
        let span = self.put(path);
        if let Start::Request { path, .. } = &mut self.start {
            *path = span;
        }
    }

    /// Rewrites a request's authority, and `Host` with it. Nothing happens to other heads.
    pub fn set_authority(&mut self, authority: &[u8]) {
        let span = self.put(authority);
        if let Start::Request { authority, .. } = &mut self.start {
            *authority = span;
        }
        self.settle_host(span);
    }

    /// Gives every live `Host` field the value at `authority`: the first keeps its place, further ones go.
    pub(crate) fn settle_host(&mut self, authority: Span) {
        let mut placed = false;
        for field in &mut self.fields {
            if field.known != Known::Host || field.flags.has(Flags::DROPPED) {
                continue;
            }
            if placed {
                field.flags.set(Flags::DROPPED);
            } else {
                replace_value(field, authority);
                placed = true;
            }
        }
    }

    /// Appends bytes to the buffer.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Span::new(start, self.bytes.len())
    }

    fn push(&mut self, name: Span, value: Span, known: Known) {
        let mut flags = Flags::ADDED;
        if known.is_hop_by_hop() {
            flags.set(Flags::HOP_BY_HOP);
        }
        self.fields.push(Field {
            name,
            value,
            known,
            flags,
        });
        self.follow_host(known, value);
    }

    /// An edited `Host` is the request's new authority.
    fn follow_host(&mut self, known: Known, value: Span) {
        if known != Known::Host {
            return;
        }
        if let Start::Request { authority, .. } = &mut self.start {
            *authority = value;
        }
        self.settle_host(value);
    }

    fn drop_where(&mut self, mut judge: impl FnMut(&Field, &[u8]) -> bool) -> bool {
        let mut found = false;
        let bytes = &self.bytes;
        for field in &mut self.fields {
            if !field.flags.has(Flags::DROPPED) && judge(field, bytes) {
                field.flags.set(Flags::DROPPED);
                found = true;
            }
        }
        found
    }
}

fn replace_value(field: &mut Field, value: Span) {
    field.value = value;
    field.flags.set(Flags::ADDED);
    field.flags.unset(Flags::LINE);
}

fn is_called(field: &Field, bytes: &[u8], known: Known, name: &[u8]) -> bool {
    match known {
        Known::Other => {
            field.known == Known::Other && field.name.of(bytes).eq_ignore_ascii_case(name)
        }
        known => field.known == known,
    }
}
