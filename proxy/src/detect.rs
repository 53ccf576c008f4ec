//! First bytes, within a deadline, become a protocol.
