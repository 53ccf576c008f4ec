//! Parts of an authority that do not belong together.

use rcgen::{BasicConstraints, DnType, IsCa, Issuer, KeyUsagePurpose};

use crate::identity::generate::generate;
use crate::identity::material::{
    CERTIFICATE, CHAIN, KEY, Material, MaterialFault, ROOT, Unusable, check,
};

use super::*;

fn material() -> Material {
    generate(&domain(), now()).unwrap()
}

fn fault(material: &Material, at: Timestamp) -> Unusable {
    check(material, at).map(drop).unwrap_err()
}

/// A certificate of an authority called `name`.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

/// An authority of three levels, each as `change` makes it: 0 is the root.
fn levels(change: impl Fn(usize, &mut CertificateParams)) -> Material {
    let made = |level: usize| {
        let mut made = params(["root", "middle", "last"][level]);
        change(level, &mut made);
        made
    };
    let (root_key, middle_key, key) = (
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
    );
    let root = made(0).self_signed(&root_key).unwrap().pem();
    let root_issuer = Issuer::new(made(0), root_key);
    let middle = made(1).signed_by(&middle_key, &root_issuer).unwrap().pem();
    let middle_issuer = Issuer::new(made(1), middle_key);
    let certificate = made(2).signed_by(&key, &middle_issuer).unwrap().pem();
    Material {
        chain: format!("{certificate}{middle}"),
        root,
        certificate,
        key: key.serialize_pem(),
        root_key: None,
    }
}

#[test]
fn an_offline_root_with_two_levels_below_it_signs() {
    let material = levels(|_, _| {});
    let authority = Authority::build(&material, domain(), Lifetimes::default(), now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = ask(&authority, &request_for(&key, Vec::new())).unwrap();
    assert_eq!(issued.chain.len(), 3);
    assert_eq!(authority.roots().len(), 1);
}

#[test]
fn a_root_at_the_end_of_the_chain_is_not_sent_to_peers() {
    let mut material = levels(|_, _| {});
    let without = check(&material, now()).unwrap().intermediates;
    material.chain += &material.root;
    let with = check(&material, now()).unwrap().intermediates;
    assert_eq!(with, without);
    assert_eq!(with.len(), 2);
}

#[test]
fn parts_of_two_authorities_are_not_taken_for_one() {
    let (own, other) = (material(), material());
    let table: [(fn(&mut Material, &Material), &str, &str); 4] = [
        (
            |it, other| it.root.clone_from(&other.root),
            CHAIN,
            "is not signed by",
        ),
        (
            |it, other| it.certificate.clone_from(&other.certificate),
            CHAIN,
            "must begin with",
        ),
        (
            |it, other| it.chain.clone_from(&other.chain),
            CHAIN,
            "must begin with",
        ),
        (
            |it, other| it.key.clone_from(&other.key),
            KEY,
            "is not the key of",
        ),
    ];
    for (exchange, file, why) in table {
        let mut mixed = Material {
            root: own.root.clone(),
            certificate: own.certificate.clone(),
            key: own.key.clone(),
            chain: own.chain.clone(),
            root_key: None,
        };
        exchange(&mut mixed, &other);
        let fault = fault(&mixed, now());
        assert_eq!(fault.file, file, "{fault}");
        assert!(fault.to_string().contains(why), "{fault}");
    }
}

#[test]
fn what_is_not_valid_now_is_named_with_its_time() {
    let material = material();
    let early = fault(&material, now() - 2 * HOUR);
    assert!(
        matches!(early.fault, MaterialFault::NotYetValid { .. }),
        "{early}"
    );
    let late = fault(&material, now() + 6 * 365 * 24 * HOUR);
    assert_eq!(late.file, CERTIFICATE);
    assert!(late.to_string().contains("Weft intermediate"), "{late}");
    assert!(
        late.to_string()
            .contains("has expired at 2031-11-21T12:00:00Z"),
        "{late}"
    );
    let root = fault(&material, now() + 11 * 365 * 24 * HOUR);
    assert_eq!(root.file, ROOT);
    assert!(
        matches!(root.fault, MaterialFault::Expired { .. }),
        "{root}"
    );
}

#[test]
fn only_authorities_sign_and_no_more_of_them_than_is_allowed() {
    let no_authority = |level| {
        levels(move |at, it| {
            if at == level {
                it.is_ca = IsCa::ExplicitNoCa;
            }
        })
    };
    for (level, file) in [(0, ROOT), (1, CHAIN), (2, CERTIFICATE)] {
        let fault = fault(&no_authority(level), now());
        assert_eq!(fault.file, file);
        assert!(
            matches!(fault.fault, MaterialFault::NotAuthority { .. }),
            "{fault}"
        );
    }
    let usage = levels(|at, it| {
        if at == 2 {
            it.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
    });
    let usage = fault(&usage, now());
    assert!(
        matches!(usage.fault, MaterialFault::NotAuthority { .. }),
        "{usage}"
    );
    let allowed = |level, allowed| {
        levels(move |at, it| {
            if at == level {
                it.is_ca = IsCa::Ca(BasicConstraints::Constrained(allowed));
            }
        })
    };
    for (level, least) in [(0, 2), (1, 1), (2, 0)] {
        assert!(check(&allowed(level, least), now()).is_ok());
        if let Some(fewer) = least.checked_sub(1) {
            let fault = fault(&allowed(level, fewer), now());
            assert!(
                matches!(fault.fault, MaterialFault::PathLength { .. }),
                "{fault}"
            );
        }
    }
}

#[test]
fn an_intermediate_is_no_root() {
    let mut material = material();
    material.root.clone_from(&material.certificate);
    let fault = fault(&material, now());
    assert!(
        matches!(fault.fault, MaterialFault::NotRoot { .. }),
        "{fault}"
    );
}

#[test]
fn texts_that_are_something_else_are_refused_and_no_key_is_repeated() {
    let key = KeyPair::generate().unwrap().serialize_pem();
    let mut swapped = material();
    swapped.certificate.clone_from(&key);
    let fault = fault(&swapped, now());
    assert_eq!(fault.file, CERTIFICATE);
    for bad in [
        "",
        "text",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        let mut material = material();
        bad.clone_into(&mut material.key);
        let fault = self::fault(&material, now());
        assert_eq!((fault.file, &fault.fault), (KEY, &MaterialFault::Key));
    }
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{fault} {fault:?} {swapped:?}").contains(secret));
    let many = Material {
        root: swapped.root.repeat(17),
        ..material()
    };
    let many = self::fault(&many, now()).fault;
    assert_eq!(
        many,
        MaterialFault::Count {
            found: 17,
            limit: 16
        }
    );
}
