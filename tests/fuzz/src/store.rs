//! What must hold of the records of the control plane's store: any bytes are read or refused, and what was read is
//! written as it was.

use weft_control_plane::store::Revision;

pub(crate) fn record(data: &[u8]) {
    let Ok(mut read) = Revision::parse_record(7, data) else {
        return;
    };
    // What has not changed an object is not written.
    read.changes.retain(|change| change.before != change.after);
    let again = Revision::parse_record(7, &read.to_record());
    assert_eq!(again.expect("we read what we write"), read);
}
