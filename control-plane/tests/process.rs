//! `weft` as a process: exit codes, messages, and what is refused.
#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn weft(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads no input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const GOOD: &str = "apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: web}
spec:
  ports: [{port: 80, appProtocol: http}]
  discovery: {static: {endpoints: [{address: 127.0.0.1, port: 8080}]}}
";

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["no-such-command"][..],
        &["apply"],
        &["split", "web", "v1"],
        &["get", "nonsense"],
        &["split", "web", "=5"],
        &["delete", "HTPRoute", "web"],
        &["--server", "127.0.0.1:15014", "get", "services"],
        &["serve", "--log-level", "inof"],
        &["serve", "--xds-listen", "15010"],
        &["serve", "--secure-listen", "15012"],
        &["serve", "--secure-name", "no name"],
        &["serve", "--trust-domain", "Mesh"],
        &["serve", "--kubernetes-issuer", "https://cluster"],
        &["token", "create"],
        &["token", "create", "--service-account", "web"],
        &["token", "create", "--role", "root"],
        &["token", "create", "--name", "a"],
        &[
            "token",
            "create",
            "--service-account",
            "a/web",
            "--name",
            "a",
        ],
        &["token", "create", "--service-account", "a/b/c"],
        &["token", "create", "--service-account", "Default/Web"],
        &["token", "create", "--service-account", "weft-system/weft"],
        &[
            "token",
            "create",
            "--service-account",
            "a/web",
            "--ttl",
            "1000h",
        ],
        &[
            "token",
            "create",
            "--service-account",
            "a/web",
            "--ttl",
            "0s",
        ],
        &["serve", "--certificate-lifetime", "0s"],
        &["serve", "--certificate-lifetime-max", "3000h"],
        &["serve", "--clock-skew", "2h"],
        &["certs", "--limit", "0"],
        &["token", "create", "--role", "read", "--uses", "2"],
        &[
            "token",
            "create",
            "--role",
            "read",
            "--service-account",
            "a/b",
        ],
        &[
            "token",
            "create",
            "--service-account",
            "a/web",
            "--uses",
            "0",
        ],
        &[],
    ] {
        assert_eq!(weft(arguments, "").status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_names_what_is_wrong_as_it_was_typed() {
    let cases: [(&[&str], &str); 4] = [
        (&["token", "create"], "--role"),
        (
            &[
                "token",
                "create",
                "--service-account",
                "a/web",
                "--ttl",
                "1000h",
            ],
            "--ttl of a join token must be at most 720h, got 1000h",
        ),
        (
            &["serve", "--certificate-lifetime", "0s"],
            "--certificate-lifetime must be above 0s and at most 2160h, got 0s",
        ),
        (
            &["token", "create", "--service-account", "weft-system/weft"],
            "the control plane itself",
        ),
    ];
    for (arguments, why) in cases {
        let output = weft(arguments, "");
        assert!(
            text(&output.stderr).contains(why),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn lint_accepts_what_is_right() {
    let output = weft(&["lint", "-f", "-"], GOOD);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn lint_names_every_fault_with_its_place_and_the_near_name() {
    let bad = GOOD.replace("ports:", "prots:").replace("8080", "99999");
    let output = weft(&["lint", "-f", "-"], &bad);
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stdout);
    assert!(out.contains("<stdin>:5:3: "), "{out}");
    assert!(out.contains("`prots`") && out.contains("`ports`"), "{out}");
    assert!(out.contains("<stdin>:6:") && out.contains("99999"), "{out}");
}

#[test]
fn an_object_with_a_fault_is_not_said_to_be_missing() {
    let route = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{group: mesh.weft.dev, kind: MeshService, name: web, port: 80}]
";
    let bad = GOOD.replace("ports:", "prots:") + route;
    let output = weft(&["lint", "-f", "-"], &bad);
    let out = text(&output.stdout);
    assert!(
        out.contains("`prots`") && !out.contains("there is no"),
        "{out}"
    );
}

#[test]
fn lint_tells_of_unreadable_files_beside_faults_and_counts_objects() {
    let output = weft(&["lint", "-f", "/no/such/file", "-f", "-"], "kind: [");
    assert_eq!(output.status.code(), Some(1));
    let out = text(&output.stdout);
    assert!(
        out.contains("/no/such/file: ") && out.contains("<stdin>:"),
        "{out}"
    );
    let output = weft(&["lint", "-f", "-"], GOOD);
    let out = text(&output.stdout);
    assert!(out.contains("1 object in 1 file, no faults"), "{out}");
}

/// As when `head` has seen enough.
#[test]
fn a_closed_pipe_is_no_panic() {
    for arguments in [
        &["completion", "bash"][..],
        &["explain", "UH"],
        &["lint", "-f", "-"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(GOOD.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn lint_as_json_is_one_list() {
    let output = weft(
        &["lint", "-o", "json", "-f", "-"],
        "kind: Nonsense\napiVersion: v1\nmetadata: {name: a}\n",
    );
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding["severity"] == "fault" && finding["line"] == 1),
        "{findings:?}"
    );
}

#[test]
fn without_a_control_plane_the_error_names_it() {
    let output = weft(&["--server", "http://127.0.0.1:1", "get", "services"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("http://127.0.0.1:1"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_not_built_is_refused() {
    for command in [
        "canary",
        "top",
        "tap",
        "inject",
        "install",
        "uninstall",
        "dashboard",
    ] {
        let output = weft(&[command, "--anything"], "");
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(
            text(&output.stderr).contains("not part of this version"),
            "{command}"
        );
    }
    let output = weft(&["serve", "--kubernetes"], "");
    assert!(text(&output.stderr).contains("--kubernetes is not part of this version"));
}

#[test]
fn a_flag_is_explained() {
    let output = weft(&["explain", "uh"], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stdout).starts_with("UH ("),
        "{}",
        text(&output.stdout)
    );
    let output = weft(&["explain", "XX"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("UH"),
        "names the flags there are"
    );
}

#[test]
fn an_api_that_others_can_reach_needs_a_token() {
    let output = weft(
        &[
            "serve",
            "--api-listen",
            "0.0.0.0:0",
            "--xds-listen",
            "127.0.0.1:0",
            "--store",
            "/nonexistent/x",
        ],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("token"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_token_of_the_api_that_is_none_or_can_be_guessed_is_refused() {
    let cases = [
        ("127.0.0.1:0", "", "is empty"),
        ("0.0.0.0:0", "0123456789abcde", "16 characters"),
    ];
    for (address, token, why) in cases {
        let output = weft(
            &[
                "serve",
                "--api-listen",
                address,
                "--token",
                token,
                "--xds-listen",
                "none",
                "--store",
                "/nonexistent/x",
            ],
            "",
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(why),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn xds_without_tls_can_be_turned_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
        .args([
            "serve",
            "--xds-listen",
            "none",
            "--secure-listen",
            "127.0.0.1:0",
        ])
        .args(["--api-listen", "127.0.0.1:0", "--store"])
        .arg(folder.path().join("store.redb"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = said.any(|line| line.unwrap().starts_with("xDS on TLS alone, "));
    let id = child.id();
    let sockets = std::fs::read_to_string(format!("/proc/{id}/net/tcp")).unwrap();
    let own = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap();
    let own = own.filter_map(|it| std::fs::read_link(it.unwrap().path()).ok());
    let own: Vec<String> = own.map(|it| it.display().to_string()).collect();
    let listening = sockets.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let socket = format!("socket:[{}]", fields.get(9).unwrap_or(&""));
        fields.get(3) == Some(&"0A") && own.contains(&socket)
    });
    let listening = listening.count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(listens);
    assert_eq!(listening, 2, "xDS with TLS, and the API");
}

#[test]
fn completion_scripts_are_written() {
    let output = weft(&["completion", "bash"], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("complete"));
}

#[test]
fn serve_takes_as_many_descriptors_as_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let script = "ulimit -Sn 64 && ulimit -Hn 512 && exec \"$0\" serve --xds-listen 127.0.0.1:0 --secure-listen 127.0.0.1:0 --api-listen 127.0.0.1:0 \
                  --store \"$1\"";
    let mut child = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_weft")])
        .arg(folder.path().join("store.redb"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = said
        .map_while(Result::ok)
        .any(|line| line.starts_with("xDS on "));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = files.and_then(|line| line.split_whitespace().nth(3));
    assert_eq!((listens, soft), (true, Some("512")));
}

/// A control plane over a store; ends when it is dropped.
struct Serve {
    child: Child,
    api: String,
    _stderr: Lines<BufReader<ChildStderr>>,
}

impl Serve {
    fn start(store: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weft"))
            .args([
                "serve",
                "--xds-listen",
                "127.0.0.1:0",
                "--secure-listen",
                "127.0.0.1:0",
                "--api-listen",
                "127.0.0.1:0",
                "--store",
            ])
            .arg(store)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let api = stderr.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, api) = line.split_once("HTTP API on ")?;
            Some(api.to_owned())
        });
        Self {
            child,
            api: api.unwrap(),
            _stderr: stderr,
        }
    }

    /// Standard output of a command that is done.
    fn done(&self, arguments: &[&str]) -> String {
        let output = weft(&[&["--server", &self.api], arguments].concat(), "");
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_join_token_is_known_and_revoked_over_restarts_and_its_secret_lies_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.redb");
    let serve = Serve::start(&store);
    let token = serve.done(&[
        "token",
        "create",
        "--service-account",
        "default/web",
        "--uses",
        "3",
    ]);
    let token = token.strip_suffix('\n').unwrap();
    assert!(
        token.starts_with("weft-join-"),
        "nothing but the token: {token}"
    );
    drop(serve);
    let kept = std::fs::read(&store).unwrap();
    assert!(!kept.windows(token.len()).any(|it| it == token.as_bytes()));
    let serve = Serve::start(&store);
    let list = serve.done(&["token", "list"]);
    let row = list
        .lines()
        .find(|line| line.contains("default/web"))
        .unwrap();
    assert!(row.ends_with("usable") && row.contains(" 3 "), "{list}");
    let id = row.split_whitespace().next().unwrap();
    serve.done(&["token", "revoke", id]);
    drop(serve);
    let serve = Serve::start(&store);
    let list = serve.done(&["token", "list"]);
    assert!(list.contains("revoked"), "{list}");
    let server = ["--server", &serve.api];
    for unknown in ["0000", "../tokens"] {
        let output = weft(&[&server[..], &["token", "revoke", unknown]].concat(), "");
        assert_eq!(output.status.code(), Some(1), "{unknown}");
    }
}
