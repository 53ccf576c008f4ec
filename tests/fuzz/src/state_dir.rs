//! What must hold of the tables on disk: any bytes are read or refused, and what was read is written as it was.

use weft_proxy::xds::state_dir::Saved;

/// As they are, and as the body of a file whose checksum fits.
pub(crate) fn file(data: &[u8]) {
    read(data);
    read(&sealed(data));
}

fn read(bytes: &[u8]) {
    if let Ok((owner, saved)) = Saved::parse(bytes) {
        let again = Saved::parse(&saved.clone().into_bytes(&owner));
        assert_eq!(again, Ok((owner, saved)));
    }
}

fn sealed(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let header = [
        *b"WEFTTBL1",
        (body.len() as u64).to_le_bytes(),
        sum.to_le_bytes(),
    ];
    [header.concat(), body.to_vec()].concat()
}
