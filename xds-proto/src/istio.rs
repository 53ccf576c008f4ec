//! Certificate signing (`istio.v1.auth.IstioCertificateService`), compiled from `proto/istio/v1/auth/ca.proto`.

#![expect(
    clippy::allow_attributes_without_reason,
    reason = "what is generated gives none"
)]

include!(concat!(env!("OUT_DIR"), "/istio.v1.auth.rs"));
