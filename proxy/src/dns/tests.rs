use super::*;

#[tokio::test]
async fn an_address_is_its_own_answer() {
    let resolver = Resolver::system();
    for (host, address) in [("192.0.2.7", "192.0.2.7"), ("[2001:db8::1]", "2001:db8::1")] {
        let answer = resolver.lookup(host, DnsFamily::Auto).await.unwrap();
        assert_eq!(answer.addresses, [address.parse::<IpAddr>().unwrap()]);
        assert_eq!(answer.ttl, None);
    }
}
