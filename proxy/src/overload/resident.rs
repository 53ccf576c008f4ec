//! How much memory the process holds.

use std::fs::File;
use std::io;

use rustix::io::pread;
use rustix::param::page_size;

/// Where the kernel tells it. Kept open: a look is one system call and allocates nothing.
#[derive(Debug)]
pub(super) struct Resident(File);

impl Resident {
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// Resident bytes: all of it, pages of the executable included, as `process_resident_memory_bytes` has it.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        let mut text = [0; 128];
        let read = pread(&self.0, &mut text, 0)?;
        let pages = text.get(..read).and_then(pages);
        let pages = pages.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(pages.saturating_mul(page_size() as u64))
    }
}

/// The second number of `statm` (proc_pid_statm(5)).
fn pages(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_the_resident_one() {
        assert_eq!(pages(b"5000 123 80 1 0 9 0\n"), Some(123));
        assert_eq!(pages(b"5000\n"), None);
        assert_eq!(pages(b"5000 many"), None);
        assert_eq!(pages(b""), None);
    }

    #[test]
    fn touched_memory_is_resident() {
        let resident = Resident::open().unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let bytes = resident.bytes().unwrap();
        assert!(bytes >= held.len() as u64, "{bytes}");
        assert!(bytes < 1 << 40, "pages and bytes are told apart: {bytes}");
    }
}
