//! What must not be shown: the fields that Envoy's proto files mark as sensitive, private keys above all, in whichever
//! form they are given.

use std::collections::HashSet;
use std::sync::LazyLock;

use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, ReflectMessage, Value};

/// What stands in their place, as in Envoy.
const REDACTED: &str = "[redacted]";

/// The full names of fields with the option `udpa.annotations.sensitive`.
static SENSITIVE: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let names = include_str!(concat!(env!("OUT_DIR"), "/sensitive.txt"));
    names.lines().collect()
});

pub(super) fn is_sensitive(field: &FieldDescriptor) -> bool {
    SENSITIVE.contains(field.full_name())
}

/// Puts something that tells nothing in the place of a sensitive field's value.
///
/// The nesting is that of one decoded message, which decoding bounds: an `Any` is not opened.
pub(super) fn redact(field: &FieldDescriptor, value: &mut Value) {
    match value {
        Value::String(text) => *text = REDACTED.to_owned(),
        Value::Bytes(bytes) => *bytes = Bytes::from_static(REDACTED.as_bytes()),
        Value::Message(message) => fields(message),
        Value::List(values) => values.iter_mut().for_each(|value| redact(field, value)),
        Value::Map(values) => {
            let kind = field.kind();
            let entry = kind.as_message();
            if let Some(entry) = entry.map(|entry| entry.map_entry_value_field()) {
                values.values_mut().for_each(|value| redact(&entry, value));
            }
        }
        number => *number = Value::default_value(&field.kind()),
    }
}

fn fields(message: &mut DynamicMessage) {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        message.clear_field_by_name("value");
        // What is left says that there was something, and of which type.
        return;
    }
    for (field, value) in message.fields_mut() {
        redact(&field, value);
    }
}

#[cfg(test)]
mod tests {
    use crate::any::pack;
    use crate::json::{any_to_json, to_json};
    use crate::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
    use crate::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
    use crate::pb::google::protobuf::{Any, StringValue};

    fn key(specifier: Specifier) -> tls::TlsCertificate {
        let source = |specifier| {
            Some(DataSource {
                specifier: Some(specifier),
                ..Default::default()
            })
        };
        tls::TlsCertificate {
            certificate_chain: source(Specifier::InlineString("everybody may see it".to_owned())),
            private_key: source(specifier),
            password: source(Specifier::InlineString("hunter2".to_owned())),
            ..Default::default()
        }
    }

    #[test]
    fn private_keys_are_not_shown_in_whichever_form_they_are_given() {
        let forms = [
            Specifier::InlineString("hunter2".to_owned()),
            Specifier::InlineBytes(b"hunter2".to_vec()),
            Specifier::Filename("/etc/hunter2".to_owned()),
            Specifier::EnvironmentVariable("hunter2".to_owned()),
        ];
        for form in forms {
            let bytes = matches!(form, Specifier::InlineBytes(_));
            let secret = tls::Secret {
                name: "ours".to_owned(),
                r#type: Some(tls::secret::Type::TlsCertificate(key(form))),
            };
            let shown = any_to_json(&pack(&secret)).unwrap();
            let text = shown.to_string();
            assert!(
                !text.contains("hunter2") && !text.contains("aHVudGVyMg"),
                "{text}"
            );
            let certificate = &shown["tls_certificate"];
            assert_eq!(
                certificate["certificate_chain"]["inline_string"],
                "everybody may see it"
            );
            let key = certificate["private_key"].as_object().unwrap();
            let want = if bytes {
                "W3JlZGFjdGVkXQ=="
            } else {
                "[redacted]"
            };
            assert!(key.values().all(|value| value == want), "{text}");
            assert_eq!(certificate["password"]["inline_string"], "[redacted]");
        }
    }

    #[test]
    fn secrets_in_lists_maps_and_unopened_messages_are_not_shown() {
        let inline = |text: &str| DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..Default::default()
        };
        let secret = tls::GenericSecret {
            secret: Some(inline("hunter2")),
            secrets: [("token".to_owned(), inline("hunter2"))].into(),
        };
        let keys = tls::TlsSessionTicketKeys {
            keys: vec![inline("hunter2"), inline("hunter2")],
        };
        let provider = tls::PrivateKeyProvider {
            provider_name: "vault".to_owned(),
            config_type: Some(tls::private_key_provider::ConfigType::TypedConfig(pack(
                &StringValue {
                    value: "hunter2".to_owned(),
                },
            ))),
            ..Default::default()
        };
        let shown = [to_json(&secret), to_json(&keys), to_json(&provider)];
        for shown in shown {
            let text = shown.unwrap().to_string();
            assert!(!text.contains("hunter2"), "{text}");
            assert!(
                text.contains("[redacted]") || text.contains("vault"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_holds_a_secret_and_is_not_known_is_not_shown() {
        let unknown = Any {
            type_url: "type.googleapis.com/acme.Vault".to_owned(),
            value: b"hunter2".to_vec(),
        };
        let provider = tls::PrivateKeyProvider {
            config_type: Some(tls::private_key_provider::ConfigType::TypedConfig(unknown)),
            ..Default::default()
        };
        let text = to_json(&provider).unwrap().to_string();
        assert!(
            text.contains("acme.Vault") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
