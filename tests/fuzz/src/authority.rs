//! What must hold of names that are asked for on demand: a name is `host:port`, and a name's own name is itself.

use weft_proxy::snapshot::authority_name;

pub(crate) fn name(data: &[u8]) {
    let (mut first, mut second) = (String::new(), String::new());
    let Some(name) = authority_name(data, &mut first) else {
        return;
    };
    let (host, port) = name.rsplit_once(':').expect("host and port");
    assert!(!host.is_empty() && port.parse::<u16>().is_ok(), "{name}");
    assert_eq!(authority_name(name.as_bytes(), &mut second), Some(name));
}
