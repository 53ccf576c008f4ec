//! What must hold of bootstrap files: any text is read or refused, and never refused without a fault.

use weft_config::bootstrap::Bootstrap;
use weft_config::diag::Diagnostics;

pub(crate) fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut diag = Diagnostics::new();
    let read = Bootstrap::parse_file(text, "f", &mut diag);
    assert_eq!(read.is_none(), diag.has_faults(), "{:?}", diag.findings());
}
