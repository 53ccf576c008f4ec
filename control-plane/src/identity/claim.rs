//! What a workload may say of itself, by what it proved to be.

use weft_config::gateway_api::names::{is_dns_label, is_dns_subdomain};
use weft_config::spiffe::{ROOT_NAMESPACE, SpiffeId};

/// Why a workload may not call itself what it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefused {
    /// It is in another namespace.
    #[error("{identity} may not register in the namespace {namespace}")]
    Namespace {
        /// Who it is.
        identity: SpiffeId,
        /// What it said.
        namespace: String,
    },
    /// It is of another service.
    #[error(
        "{identity} may not register as the service {service}: that is for the service account {}",
        accounts.join(", ")
    )]
    Service {
        /// Who it is.
        identity: SpiffeId,
        /// What it said.
        service: String,
        /// Who may.
        accounts: Vec<String>,
    },
}

/// Whether a workload may register as one of `service` in `namespace`: its service account is one of those that the service lists,
/// and where it lists none, or is not there, has the service's name.
///
/// # Errors
/// If not, and why.
pub fn may_register(
    identity: &SpiffeId,
    namespace: &str,
    service: &str,
    listed: &[String],
) -> Result<(), ClaimRefused> {
    may_be_in(identity, namespace)?;
    let is_right = |account: &str| match listed {
        [] => account == service,
        listed => listed.iter().any(|it| it == account),
    };
    match identity.as_workload() {
        Ok((_, account)) if is_right(account) => Ok(()),
        _ => Err(ClaimRefused::Service {
            identity: identity.clone(),
            service: service.to_owned(),
            accounts: match listed {
                [] => vec![service.to_owned()],
                listed => listed.to_vec(),
            },
        }),
    }
}

/// Whether a workload can ever be of this namespace and service account: names of objects have capitals nowhere, and one is the
/// control plane itself.
///
/// # Errors
/// If not, and why.
pub fn check_account(namespace: &str, account: &str) -> Result<(), String> {
    if !is_dns_label(namespace) || !is_dns_subdomain(account) {
        let got = format!("{namespace}/{account}");
        return Err(format!(
            "must be NAMESPACE/SERVICE-ACCOUNT, of a-z, 0-9 and `-` (of the account also `.`), got {got:?}"
        ));
    }
    match (namespace, account) {
        (ROOT_NAMESPACE, CONTROL_PLANE) => Err(format!(
            "{namespace}/{account} is the control plane itself: no workload gets its name"
        )),
        _ => Ok(()),
    }
}

/// The service account of the control plane, in the root namespace.
const CONTROL_PLANE: &str = "weft";

/// Whether a workload is in `namespace`.
///
/// # Errors
/// If not.
pub fn may_be_in(identity: &SpiffeId, namespace: &str) -> Result<(), ClaimRefused> {
    match identity.as_workload() {
        Ok((own, _)) if own == namespace => Ok(()),
        _ => Err(ClaimRefused::Namespace {
            identity: identity.clone(),
            namespace: namespace.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_of_the_service_that_its_account_is_called() {
        let id = SpiffeId::parse("spiffe://mesh.test/ns/shop/sa/cart").unwrap();
        may_register(&id, "shop", "cart", &[]).unwrap();
        for (namespace, service) in [("shop", "pay"), ("default", "cart"), ("", ""), ("shop", "")] {
            may_register(&id, namespace, service, &[]).unwrap_err();
        }
        let other = SpiffeId::parse("spiffe://mesh.test/shop/cart").unwrap();
        may_register(&other, "shop", "cart", &[]).unwrap_err();
    }

    #[test]
    fn accounts_that_no_workload_can_have_are_told() {
        for (namespace, account) in [
            ("shop", "cart"),
            ("shop", "a.b-c"),
            ("weft-system", "agent"),
        ] {
            check_account(namespace, account).unwrap();
        }
        for (namespace, account) in [
            ("Default", "web"),
            ("shop", "Web"),
            ("", "web"),
            ("shop", ""),
            ("a.b", "web"),
            ("shop", "b/c"),
            ("weft-system", "weft"),
        ] {
            check_account(namespace, account).unwrap_err();
        }
    }

    #[test]
    fn the_accounts_that_a_service_lists_decide_and_no_others() {
        let id = |account: &str| {
            SpiffeId::parse(&format!("spiffe://mesh.test/ns/shop/sa/{account}")).unwrap()
        };
        let listed = ["shopping".to_owned(), "buying".to_owned()];
        may_register(&id("shopping"), "shop", "cart", &listed).unwrap();
        may_register(&id("buying"), "shop", "cart", &listed).unwrap();
        let refused = may_register(&id("cart"), "shop", "cart", &listed).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("service account shopping, buying")
        );
        may_register(&id("shopping"), "default", "cart", &listed).unwrap_err();
    }
}
