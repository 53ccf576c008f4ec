//! Compiles the messages that envoy-types does not have, and the descriptors for JSON from the proto files that it carries, so
//! that they are always of the same version as the generated types.

use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use protox::prost_reflect::{DescriptorPool, FieldDescriptor};

/// What can be read and written as JSON: these files, and all that they import.
const ROOTS: &[&str] = &[
    // First: it says `common.ratelimit` for `envoy.extensions.common.ratelimit`, which protox no longer finds once a
    // package `envoy.extensions.filters.common` is known from another file.
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/admin/v3/certs.proto",
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/listeners.proto",
    "envoy/admin/v3/memory.proto",
    "envoy/admin/v3/mutex_stats.proto",
    "envoy/admin/v3/server_info.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/upstream_codec/v3/upstream_codec.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/original_src/v3/original_src.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/load_balancing_policies/cluster_provided/v3/cluster_provided.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/pick_first/v3/pick_first.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/resource_monitors/cgroup_memory/v3/cgroup_memory.proto",
    "envoy/extensions/resource_monitors/cpu_utilization/v3/cpu_utilization.proto",
    "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto",
    "envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap.proto",
    "envoy/extensions/resource_monitors/injected_resource/v3/injected_resource.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/service/load_stats/v3/lrs.proto",
    "envoy/service/status/v3/csds.proto",
    // What `Any` most often holds besides.
    "google/protobuf/struct.proto",
    "google/protobuf/wrappers.proto",
    "google/rpc/status.proto",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../Cargo.lock");
    println!("cargo::rerun-if-changed=proto");
    own_messages();
    if std::env::var_os("CARGO_FEATURE_JSON").is_none() {
        return;
    }
    let includes = includes(&envoy_types_protos());
    let mut compiler = protox::Compiler::new(includes).expect("the proto folders can be read");
    compiler.include_imports(true).include_source_info(false);
    compiler
        .open_files(ROOTS)
        .expect("the proto files of envoy-types compile");
    let set = compiler.file_descriptor_set().encode_to_vec();
    let out = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    std::fs::write(Path::new(&out).join("descriptors.bin"), set).expect("OUT_DIR can be written");
    let sensitive = sensitive_fields(&compiler.descriptor_pool());
    std::fs::write(Path::new(&out).join("sensitive.txt"), sensitive)
        .expect("OUT_DIR can be written");
}

/// Types and services of our own proto files. What they import of protobuf itself is what envoy-types has.
fn own_messages() {
    let files = protox::compile(["istio/v1/auth/ca.proto"], ["proto"]).expect("they compile");
    tonic_prost_build::configure()
        .extern_path(
            ".google.protobuf.Struct",
            "::envoy_types::pb::google::protobuf::Struct",
        )
        .compile_fds(files)
        .expect("code can be written to OUT_DIR");
}

/// The full names of fields that must not be shown, one a line. The descriptor set itself carries no such options: they
/// would make it larger for the proxies that hold it.
fn sensitive_fields(pool: &DescriptorPool) -> String {
    let option = pool
        .get_extension_by_name("udpa.annotations.sensitive")
        .expect("the proto files mark what is sensitive");
    let marked = |field: &FieldDescriptor| {
        let options = field.options();
        options.get_extension(&option).as_bool() == Some(true)
    };
    let messages = pool.all_messages();
    let fields = messages.flat_map(|message| message.fields().collect::<Vec<_>>());
    let mut names: Vec<String> = fields
        .filter(marked)
        .map(|field| format!("{}\n", field.full_name()))
        .collect();
    names.sort();
    names.concat()
}

/// Every tree of proto files is an include folder of its own.
fn includes(protos: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(protos).expect("envoy-types has a folder `proto`");
    let mut includes: Vec<_> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
    includes.sort();
    includes
}

/// The folder `proto` of the envoy-types package that this build uses.
fn envoy_types_protos() -> PathBuf {
    let metadata = metadata(&["--offline"]).or_else(|| metadata(&[]));
    let metadata = metadata.expect("`cargo metadata` works");
    let packages = metadata
        .get("packages")
        .and_then(|packages| packages.as_array());
    let manifest = packages
        .into_iter()
        .flatten()
        .find(|package| {
            package
                .get("name")
                .is_some_and(|name| name == "envoy-types")
        })
        .and_then(|package| package.get("manifest_path")?.as_str())
        .expect("envoy-types is a dependency");
    Path::new(manifest).with_file_name("proto")
}

fn metadata(further: &[&str]) -> Option<serde_json::Value> {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO");
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let output = Command::new(cargo)
        .current_dir(package)
        .args(["metadata", "--format-version=1"])
        .args(further)
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()
}
