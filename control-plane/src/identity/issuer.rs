//! What the certificates that this authority makes have in common.

use aws_lc_rs::rand;
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, SerialNumber};
use x509_parser::time::ASN1Time;

/// Parameters of a certificate that names nobody and may do nothing, with a serial number of its own.
///
/// `None`: the system gives no random bytes, or the times are none that a certificate can say.
pub(super) fn blank(not_before: Timestamp, not_after: Timestamp) -> Option<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = time(not_before)?.to_datetime();
    params.not_after = time(not_after)?.to_datetime();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial()?);
    params.use_authority_key_identifier_extension = true;
    Some(params)
}

fn time(at: Timestamp) -> Option<ASN1Time> {
    ASN1Time::from_timestamp(at.as_second()).ok()
}

/// A random serial number of 128 bits, of which the first two are given: so it is above zero and never shorter (RFC 5280
/// §4.1.2.2).
fn serial() -> Option<SerialNumber> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).ok()?;
    let [first, ..] = &mut bytes;
    *first = *first & 0x3f | 0x40;
    Some(SerialNumber::from_slice(&bytes))
}

/// A serial number in hexadecimal, without separators.
pub(super) fn serial_text(serial: &SerialNumber) -> String {
    let bytes = serial.to_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
