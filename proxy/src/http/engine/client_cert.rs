//! `x-forwarded-client-cert`: who the downstream has proved to be, told to whoever is served.

use std::fmt::Write;

use weft_config::listener::{ClientCertDetails, ForwardClientCert};
use weft_config::secret::SanKind;

use super::exchange::Exchange;
use crate::http::head::Known;
use crate::tls::TlsFacts;

impl Exchange {
    /// Takes out what a stranger claims, and notes whom the handshake has shown, as configured.
    pub(super) fn receive_client_cert(&mut self, forward: ForwardClientCert, text: &mut String) {
        let proved = self.facts.tls.as_ref().filter(|tls| tls.peer.is_some());
        let kept = matches!(
            forward,
            ForwardClientCert::ForwardOnly | ForwardClientCert::Append(_)
        );
        // What somebody has said before who has proved who he is may stand.
        if !kept || proved.is_none() {
            self.head.remove(Known::XForwardedClientCert);
        }
        // Servers that hand fields on as variables (RFC 3875 §4.1.18) cannot tell it from the true one.
        self.head.remove_name(b"x_forwarded_client_cert");
        let details = match forward {
            ForwardClientCert::Sanitize | ForwardClientCert::ForwardOnly => return,
            ForwardClientCert::Append(details) | ForwardClientCert::Set(details) => details,
        };
        if let Some(tls) = proved {
            text.clear();
            describe(tls, details, text);
            self.head.append(
                Known::XForwardedClientCert.name().as_bytes(),
                text.as_bytes(),
            );
        }
    }
}

/// Writes one element, with keys in the order that Envoy has them in.
fn describe(tls: &TlsFacts, details: ClientCertDetails, text: &mut String) {
    let Some(peer) = &tls.peer else {
        return;
    };
    if let Some(own) = &tls.own_uri {
        pair("By", own, text);
    }
    pair("Hash", &peer.sha256, text);
    if details.subject {
        let _ = write!(text, "{}Subject=", separator(text));
        quoted(&peer.subject, text);
    }
    for (wanted, kind, key) in [
        (details.uri, SanKind::Uri, "URI"),
        (details.dns, SanKind::Dns, "DNS"),
    ] {
        let names = peer.names.iter().filter(|(of, _)| wanted && *of == kind);
        names.for_each(|(_, name)| pair(key, name, text));
    }
}

/// A key with a value that needs no quotes, or has them.
fn pair(key: &str, value: &str, text: &mut String) {
    let _ = write!(text, "{}{key}=", separator(text));
    let plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\');
    if value.bytes().all(plain) {
        text.push_str(value);
        return;
    }
    quoted(value, text);
}

/// A field value holds no control character, whatever an issuer has signed.
fn quoted(value: &str, text: &mut String) {
    text.push('"');
    for character in value.chars().filter(|it| !it.is_control()) {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

fn separator(text: &str) -> &'static str {
    if text.is_empty() { "" } else { ";" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tls::PeerCertificate;

    #[test]
    fn values_that_could_be_taken_for_others_are_quoted() {
        let peer = PeerCertificate {
            subject: "CN=\"a\\b\",O=c\r\nx: y".into(),
            names: vec![
                (SanKind::Uri, "spiffe://td/a".into()),
                (SanKind::Uri, "spiffe://td/b;URI=spiffe://td/admin".into()),
                (SanKind::Dns, "a.test".into()),
            ],
            ..PeerCertificate::sample()
        };
        let tls = TlsFacts {
            version: "TLSv1.3",
            cipher_suite: "".into(),
            alpn: None,
            server_name: None,
            own_uri: Some("spiffe://td/own".into()),
            peer: Some(Arc::new(peer)),
            resumed: false,
        };
        let all = ClientCertDetails {
            subject: true,
            uri: true,
            dns: true,
        };
        let mut text = String::new();
        describe(&tls, all, &mut text);
        assert_eq!(
            text,
            r#"By=spiffe://td/own;Hash=00ff;Subject="CN=\"a\\b\",O=cx: y";URI=spiffe://td/a;URI="spiffe://td/b;URI=spiffe://td/admin";DNS=a.test"#
        );
        text.clear();
        describe(&tls, ClientCertDetails::default(), &mut text);
        assert_eq!(text, "By=spiffe://td/own;Hash=00ff");
    }
}
