//! HTTP/1 as simulated peers read it: no parser of ours, and nothing but what they are sent.

/// A message, as far as it has come.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) start: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    pub(super) end: End,
    /// Bytes of the input that belong to it.
    pub(super) taken: usize,
}

/// How the message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has ended.
    Here,
    /// There is more to come.
    Later,
    /// With the connection.
    WithConnection,
}

impl Message {
    /// The message at the beginning of `input`; `None` while its head is not whole.
    pub(super) fn read(input: &[u8], bodiless: bool, response: bool) -> Option<Self> {
        let head_end = input.windows(4).position(|at| at == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&input[..head_end - 4]).expect("a head of ASCII");
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let fields = lines.map(field).collect();
        let mut message = Self {
            start,
            fields,
            body: Vec::new(),
            trailers: Vec::new(),
            end: End::Here,
            taken: head_end,
        };
        let interim = response && message.status() < 200;
        if bodiless || interim || (response && message.status() == 204) {
            return Some(message);
        }
        let rest = &input[head_end..];
        if message.field("transfer-encoding").is_some() {
            message.read_chunks(rest);
        } else if let Some(length) = message.field("content-length") {
            let length: usize = length.parse().expect("a length");
            let here = rest.len().min(length);
            message.body.extend_from_slice(&rest[..here]);
            message.taken += here;
            if here < length {
                message.end = End::Later;
            }
        } else if response {
            message.body.extend_from_slice(rest);
            message.taken += rest.len();
            message.end = End::WithConnection;
        }
        Some(message)
    }

    fn read_chunks(&mut self, rest: &[u8]) {
        let mut at = 0;
        self.end = End::Later;
        while let Some(line) = rest[at..].windows(2).position(|at| at == b"\r\n") {
            let size = std::str::from_utf8(&rest[at..at + line]).expect("a chunk's size");
            let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).expect(size);
            let data = at + line + 2;
            if size == 0 {
                // From the end of that line on, so that what follows ends with an empty one in any case.
                let last = &rest[data - 2..];
                if let Some(end) = last.windows(4).position(|at| at == b"\r\n\r\n") {
                    let text = std::str::from_utf8(&last[..end]).expect("trailers of ASCII");
                    self.trailers = text.split("\r\n").skip(1).map(field).collect();
                    self.end = End::Here;
                    self.taken += data + end + 2;
                }
                return;
            }
            let here = rest.len().saturating_sub(data).min(size);
            self.body.extend_from_slice(&rest[data..data + here]);
            if rest.len() < data + size + 2 {
                return;
            }
            assert_eq!(&rest[data + size..data + size + 2], b"\r\n");
            at = data + size + 2;
        }
    }

    pub(super) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The field behind the body that peers here send.
    pub(super) fn sum(&self) -> Option<&str> {
        let found = self.trailers.iter().find(|(known, _)| known == "x-sum");
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').expect("a field");
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
