//! Protobuf written by hand where the generated code would copy, or would write maps in no stable order.

use bytes::{BufMut, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use weft_xds_proto::pb::envoy::config::route::v3::{Route, VirtualHost};

/// Writes the key of a length-delimited field and its length.
pub(crate) fn put_key_and_length(buf: &mut impl BufMut, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, buf);
    encode_varint(length as u64, buf);
}

/// Writes a length-delimited field.
pub(crate) fn put_bytes(buf: &mut impl BufMut, tag: u32, bytes: &[u8]) {
    put_key_and_length(buf, tag, bytes.len());
    buf.put_slice(bytes);
}

/// The `routes` fields of a virtual host, filter configuration in the order of its keys.
///
/// The generated encoder walks `typed_per_filter_config`, a hash map, in an order that differs from run to run, and
/// with it would differ the version.
pub fn encode_routes(routes: Vec<Route>) -> Vec<u8> {
    const ROUTES: u32 = 3;
    const TYPED_PER_FILTER_CONFIG: u32 = 13;
    let mut all = BytesMut::new();
    for mut route in routes {
        let mut filters: Vec<_> = route.typed_per_filter_config.drain().collect();
        filters.sort_by(|a, b| a.0.cmp(&b.0));
        let mut one = BytesMut::from(route.encode_to_vec().as_slice());
        for (name, config) in filters {
            let mut entry = BytesMut::new();
            put_bytes(&mut entry, 1, name.as_bytes());
            put_bytes(&mut entry, 2, &config.encode_to_vec());
            put_bytes(&mut one, TYPED_PER_FILTER_CONFIG, &entry);
        }
        put_bytes(&mut all, ROUTES, &one);
    }
    all.to_vec()
}

/// A virtual host of these domains around routes that are encoded already.
pub fn encode_virtual_host(name: &str, domains: Vec<String>, routes: &[u8]) -> Vec<u8> {
    let host = VirtualHost {
        name: name.to_owned(),
        domains,
        ..VirtualHost::default()
    };
    let mut bytes = host.encode_to_vec();
    bytes.extend_from_slice(routes);
    bytes
}
