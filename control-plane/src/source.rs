//! Where desired state comes from: files, the API, sidecars, DNS.
