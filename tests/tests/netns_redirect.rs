//! `weft-proxy redirect` in network namespaces: what is put in force, left alone, found out and taken out again.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, ensure};
use weft_tests::netns::Namespace;
use weft_tests::peers::{Peer, find};
use weft_tests::process::built;
use weft_tests::weft::Ended;

/// All packet filters that this machine has.
const BACKENDS: [&str; 3] = ["nft", "iptables-nft", "iptables-legacy"];

/// Rules and routes of others, in each kind of packet filter and in our own routing table.
const FOREIGN: &str = "
nft add table inet theirs
nft 'add chain inet theirs output { type nat hook output priority -100; }'
nft add rule inet theirs output tcp dport 5353 counter redirect to :53
for tables in iptables ip6tables; do
  for kind in nft legacy; do
    $tables-$kind -t nat -N THEIRS
    $tables-$kind -t nat -A THEIRS -p tcp --dport 99 -j RETURN
    $tables-$kind -t nat -A OUTPUT -p tcp --dport 7777 -j ACCEPT
    $tables-$kind -t nat -A PREROUTING -j THEIRS
    $tables-$kind -t mangle -A PREROUTING -p tcp --dport 98 -j MARK --set-mark 5
  done
done
ip rule add fwmark 0x77 lookup 133
ip route add 192.0.2.0/24 dev lo table 133
ip -6 route add 2001:db8::/64 dev lo table 133
";

/// All rules and routes, without the counters and the tools' own remarks.
const STATE: &str = "
nft -s list ruleset inet
for kind in nft legacy; do
  for tables in iptables ip6tables; do
    $tables-$kind-save 2>/dev/null | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'
  done
done
ip -4 rule; ip -6 rule
ip -4 route show table all; ip -6 route show table all
";

/// Flags that together ask for everything.
const EVERYTHING: [&str; 12] = [
    "--proxy-uid",
    "1337,1338",
    "--inbound-ports",
    "80,443,8000-8010,9090",
    "--exclude-inbound-ports",
    "8005,9,11,13,15,17,19,21,23,25-30,40,42,44,46,48,50",
    "--outbound-cidrs",
    "10.0.0.0/8,fd00::/8,192.168.7.0/24,192.168.8.0/24,0.0.0.0/1",
    "--exclude-outbound-cidrs",
    "10.9.0.0/16,10.8.0.1,fd00:1::/32,fd00:1:2::/48",
    "--exclude-outbound-ports",
    "25,3306-3310",
];

/// `weft-proxy redirect` in `namespace`.
async fn redirect(namespace: &Namespace, args: &[&str]) -> anyhow::Result<Ended> {
    let proxy = built("weft-proxy")?.display().to_string();
    let line = [&[proxy.as_str(), "redirect"], args].concat();
    namespace.run(&line).await
}

async fn succeeds(namespace: &Namespace, args: &[&str]) -> anyhow::Result<String> {
    let ended = redirect(namespace, args).await?;
    ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
    Ok(ended.out)
}

async fn refused(namespace: &Namespace, args: &[&str], why: &str) -> anyhow::Result<()> {
    let ended = redirect(namespace, args).await?;
    ensure!(ended.code == Some(1), "{args:?}: {ended:?}");
    let said = ended.out + &ended.err;
    ensure!(said.contains(why), "{args:?} does not say {why:?}: {said}");
    Ok(())
}

/// A namespace with the tools at hand.
async fn namespace() -> anyhow::Result<Option<Namespace>> {
    let tools = [Peer::Nft, Peer::IptablesNft, Peer::IptablesLegacy];
    if tools.into_iter().any(|tool| find(tool).is_none()) {
        return Ok(None);
    }
    Namespace::new().await
}

#[tokio::test]
async fn installing_twice_changes_nothing_and_removing_leaves_what_was_there() -> anyhow::Result<()>
{
    for backend in BACKENDS {
        for mode in ["redirect", "tproxy"] {
            let Some(namespace) = namespace().await? else {
                return Ok(());
            };
            namespace.shell(FOREIGN).await?;
            let before = namespace.shell(STATE).await?;
            for more in [&[][..], &EVERYTHING] {
                let flags = [&["--backend", backend, "--mode", mode], more].concat();
                twice(&namespace, &flags, &before).await?;
            }
            succeeds(&namespace, &["remove"]).await?;
            assert_eq!(namespace.shell(STATE).await?, before, "{backend} {mode}");
            let nothing = succeeds(&namespace, &["remove"]).await?;
            ensure!(nothing.contains("nothing to remove"), "{nothing}");
        }
    }
    Ok(())
}

/// Installs twice; rules that were there `before` stay.
async fn twice(namespace: &Namespace, flags: &[&str], before: &str) -> anyhow::Result<()> {
    let install = [&["install"], flags].concat();
    let said = succeeds(namespace, &install).await?;
    ensure!(said.contains("is in force"), "{said}");
    let listed = namespace.shell(STATE).await?;
    let shown = succeeds(namespace, &["show"]).await?;
    ensure!(
        shown.contains("15006") && shown.contains("15001"),
        "{shown}"
    );
    // Handles tell rules that were replaced by equal ones.
    let handles = namespace.shell("nft -a list ruleset").await?;

    let again = succeeds(namespace, &install).await?;
    ensure!(again.contains("nothing was touched"), "{again}");
    assert_eq!(namespace.shell(STATE).await?, listed, "{flags:?}");
    assert_eq!(namespace.shell("nft -a list ruleset").await?, handles);
    assert_eq!(succeeds(namespace, &["show"]).await?, shown);
    succeeds(namespace, &[&["verify"], flags].concat()).await?;
    for line in before.lines().filter(|line| !line.trim().is_empty()) {
        ensure!(listed.contains(line), "{flags:?}: {line} is gone: {listed}");
    }
    Ok(())
}

#[tokio::test]
async fn counters_survive_an_installation_that_changes_nothing() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    let install = ["install", "--backend", "nft", "--outbound-to", "9"];
    succeeds(&namespace, &install).await?;
    // A way out that leads nowhere, and nobody at the port: the attempt is refused by this very machine, and counted.
    let way = "ip link add out type veth peer name far; ip link set out up; ip link set far up; ip route add 198.51.100.0/24 dev out";
    namespace.shell(way).await?;
    namespace
        .run(&["curl", "-sm", "5", "http://198.51.100.7/"])
        .await?;
    let counters = namespace.shell("nft list table inet weft").await?;
    ensure!(
        counters.contains("counter packets 1 "),
        "nothing was counted: {counters}"
    );
    succeeds(&namespace, &install).await?;
    assert_eq!(namespace.shell("nft list table inet weft").await?, counters);
    Ok(())
}

/// How nftables is tampered with, and what is said of it.
const NFT_TAMPERING: [(&str, &str); 7] = [
    (
        "nft insert rule inet weft outbound ip daddr 192.0.2.1 return",
        "not in the plan: ip daddr 192.0.2.1 return",
    ),
    (
        "nft flush chain inet weft outbound",
        "missing: meta skuid 1337 return",
    ),
    ("nft delete table inet weft", "chain output: is missing"),
    (
        "nft add chain inet weft more",
        "chain more: is not in the plan",
    ),
    (
        "nft flush chain inet weft output && nft add rule inet weft output meta l4proto tcp accept",
        "missing: meta l4proto tcp jump outbound",
    ),
    (
        "ip rule del fwmark 0x539",
        "routes for IPv4, rules: is missing",
    ),
    (
        "ip -6 route flush table 133",
        "routes for IPv6, table 133: is missing",
    ),
];

/// How iptables is tampered with, and what is said of it. `KIND` is one of both.
const IPTABLES_TAMPERING: [(&str, &str); 7] = [
    (
        "iptables-KIND -t nat -I WEFT_OUTBOUND -d 192.0.2.1 -j RETURN",
        "not in the plan: -A WEFT_OUTBOUND -d 192.0.2.1/32 -j RETURN",
    ),
    (
        "iptables-KIND -t nat -F WEFT_OUTBOUND",
        "missing: -A WEFT_OUTBOUND -m owner --uid-owner 1337 -j RETURN",
    ),
    (
        "iptables-KIND -t nat -D OUTPUT -p tcp -j WEFT_OUTBOUND",
        "nat OUTPUT: is missing",
    ),
    (
        "iptables-KIND -t nat -I OUTPUT -p tcp -j ACCEPT",
        "not in the plan: -A OUTPUT -p tcp -j ACCEPT",
    ),
    (
        "iptables-KIND -t nat -A OUTPUT -p tcp -j WEFT_OUTBOUND",
        "not in the plan: -A OUTPUT -p tcp -j WEFT_OUTBOUND",
    ),
    (
        "iptables-KIND -t mangle -F",
        "mangle PREROUTING: is missing",
    ),
    (
        "ip6tables-KIND -t nat -F WEFT_OUTBOUND",
        "iptables-KIND for IPv6, nat WEFT_OUTBOUND: missing",
    ),
];

#[tokio::test]
async fn tampering_is_found_and_named_and_the_next_installation_mends_it() -> anyhow::Result<()> {
    for backend in BACKENDS {
        let (kind, tampering) = match backend.strip_prefix("iptables-") {
            Some(kind) => (kind, IPTABLES_TAMPERING),
            None => ("", NFT_TAMPERING),
        };
        for (how, said) in tampering {
            let Some(namespace) = namespace().await? else {
                return Ok(());
            };
            let flags = ["--backend", backend, "--mode", "tproxy"];
            let install = [&["install"], &flags[..]].concat();
            let verify = [&["verify"], &flags[..]].concat();
            let (how, said) = (how.replace("KIND", kind), said.replace("KIND", kind));
            succeeds(&namespace, &install).await?;
            namespace.shell(&how).await?;
            let found = refused(&namespace, &verify, &said).await;
            found.with_context(|| how.clone())?;
            if how.contains("ACCEPT") {
                // It is not ours to remove; ours goes before it.
                succeeds(&namespace, &install).await?;
                let rules = namespace.shell(&format!("{backend}-save -t nat")).await?;
                ensure!(rules.contains("-A OUTPUT -p tcp -j ACCEPT"), "{rules}");
            }
            succeeds(&namespace, &install).await?;
            succeeds(&namespace, &verify).await.with_context(|| how)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_can_be_read_without_being_applied() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    for backend in BACKENDS {
        let before = namespace.shell(STATE).await?;
        let flags = ["install", "--dry-run", "--backend", backend];
        let tproxy = [&flags[..], &["--mode", "tproxy", "--ipv6", "on"]].concat();
        let plan = succeeds(&namespace, &tproxy).await?;
        ensure!(
            plan.contains("# ip -6 rule add fwmark 0x539 lookup 133"),
            "{plan}"
        );
        assert_eq!(namespace.shell(STATE).await?, before);
        // What is printed is what the tool takes, word by word.
        let off = [&flags[..], &["--ipv6", "off"]].concat();
        let plan = succeeds(&namespace, &off).await?;
        let tool: &[&str] = match backend {
            "nft" => &["nft", "-f", "-"],
            "iptables-nft" => &["iptables-nft-restore", "--noflush"],
            _ => &["iptables-legacy-restore", "--noflush"],
        };
        let applied = namespace.run_with(tool, &plan).await?;
        ensure!(applied.code == Some(0), "{applied:?}");
        let verify = ["verify", "--backend", backend, "--ipv6", "off"];
        succeeds(&namespace, &verify).await?;
        succeeds(&namespace, &["remove"]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn whoever_may_not_hears_what_is_missing() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    let proxy = built("weft-proxy")?.display().to_string();
    let without = ["setpriv", "--bounding-set", "-net_admin", "--"];
    for backend in BACKENDS {
        let install = [&proxy, "redirect", "install", "--backend", backend];
        let ended = namespace.run(&[&without[..], &install].concat()).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        ensure!(ended.err.contains("CAP_NET_ADMIN"), "{ended:?}");
        ensure!(ended.err.contains("init container"), "{ended:?}");
        let verify = [&proxy, "redirect", "verify", "--backend", backend];
        let ended = namespace.run(&[&without[..], &verify].concat()).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_written_wrongly_is_wrong_usage() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    for (flag, value, said) in [
        ("--inbound-ports", "80,x", "must be a port"),
        ("--inbound-ports", "90-80", "must be a port"),
        ("--outbound-cidrs", "10.0.0.1/8", "write 10.0.0.0/8"),
        (
            "--exclude-outbound-cidrs",
            "fd00::/129",
            "must be an address",
        ),
        ("--mark", "0", "above 0"),
    ] {
        let ended = redirect(&namespace, &["install", flag, value]).await?;
        ensure!(ended.code == Some(2), "{flag} {value}: {ended:?}");
        ensure!(ended.err.contains(said), "{flag} {value}: {ended:?}");
    }
    Ok(())
}

/// `weft-proxy redirect` with `script` in the place of `program`.
async fn with_stand_in(
    namespace: &Namespace,
    program: &str,
    script: &str,
    args: &[&str],
) -> anyhow::Result<Ended> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(program);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let usual = "/usr/sbin:/usr/bin:/sbin:/bin";
    let path = format!("PATH={}:{usual}", folder.path().display());
    let proxy = built("weft-proxy")?.display().to_string();
    let line = [&["env", &path, &proxy, "redirect"], args].concat();
    namespace.run(&line).await
}

#[tokio::test]
async fn what_the_kernel_cannot_do_is_named_and_changes_nothing() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    let before = namespace.shell(STATE).await?;
    // As nft says it where a module is missing.
    let script = "case \"$*\" in
      *-f*) echo 'Error: Could not process rule: No such file or directory' >&2; exit 1;;
      *) exec /usr/sbin/nft \"$@\";;
    esac";
    let args = ["install", "--backend", "nft", "--mode", "tproxy"];
    let ended = with_stand_in(&namespace, "nft", script, &args).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ensure!(ended.err.contains("the kernel lacks"), "{ended:?}");
    ensure!(ended.err.contains("nft_tproxy"), "{ended:?}");
    assert_eq!(namespace.shell(STATE).await?, before);
    Ok(())
}

/// A tool that reads its input and fails, as one does whose kernel has no such table.
const BROKEN: &str = "cat >/dev/null; echo \"can't initialize ip6tables table nat: Table does not exist\" >&2; exit 3";

/// A tool that fails only in earnest.
fn broken_in_earnest() -> String {
    format!("case \"$*\" in *--test*) cat >/dev/null;; *) {BROKEN};; esac")
}

#[tokio::test]
async fn where_ipv6_cannot_be_covered_nothing_is_unless_that_is_asked_for() -> anyhow::Result<()> {
    for backend in ["iptables-nft", "iptables-legacy"] {
        let Some(namespace) = namespace().await? else {
            return Ok(());
        };
        let program = format!("ip6{}-restore", backend.trim_start_matches("ip"));
        let install = ["install", "--backend", backend];
        for script in [BROKEN, &broken_in_earnest()] {
            let ended = with_stand_in(&namespace, &program, script, &install).await?;
            assert_eq!(ended.code, Some(1), "{ended:?}");
            ensure!(ended.err.contains("IPv6 is in use"), "{ended:?}");
            ensure!(ended.err.contains("--ipv6 off"), "{ended:?}");
            let shown = succeeds(&namespace, &["show"]).await?;
            ensure!(shown.contains("no redirection"), "{shown}");
        }
        let off = [&install[..], &["--ipv6", "off"]].concat();
        let ended = with_stand_in(&namespace, &program, BROKEN, &off).await?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_change_leaves_the_rules_before_it_in_force() -> anyhow::Result<()> {
    for backend in ["iptables-nft", "iptables-legacy"] {
        let Some(namespace) = namespace().await? else {
            return Ok(());
        };
        let program = format!("ip6{}-restore", backend.trim_start_matches("ip"));
        succeeds(&namespace, &["install", "--backend", backend]).await?;
        let before = namespace.shell(STATE).await?;
        let change = [
            "install",
            "--backend",
            backend,
            "--exclude-outbound-ports",
            "25",
        ];
        let script = broken_in_earnest();
        let ended = with_stand_in(&namespace, &program, &script, &change).await?;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(namespace.shell(STATE).await?, before);
        succeeds(&namespace, &["verify", "--backend", backend]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_packet_filters_do_not_capture_twice() -> anyhow::Result<()> {
    let Some(namespace) = namespace().await? else {
        return Ok(());
    };
    succeeds(&namespace, &["install", "--backend", "iptables-legacy"]).await?;
    // Who does not say which is there where the rules are.
    let again = succeeds(&namespace, &["install"]).await?;
    ensure!(again.contains("already (iptables-legacy"), "{again}");
    succeeds(&namespace, &["verify"]).await?;
    let said = "iptables-legacy has rules of weft-proxy already";
    refused(&namespace, &["install", "--backend", "nft"], said).await?;
    succeeds(&namespace, &["remove"]).await?;
    let said = succeeds(&namespace, &["install", "-o", "json"]).await?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    assert_eq!(said["backend"], "nft");
    assert_eq!(said["changed"], true);
    Ok(())
}
