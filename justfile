# What CI runs, step by step. `just check` before a commit.

check: fmt clippy test doc deny

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

test:
    cargo test --workspace --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deny:
    cargo deny --all-features check bans licenses sources

# Installs the real peers that the tests and benches talk to.
peers:
    tests/peers/setup.sh

demo:
    cargo build --release && target/release/weft demo
