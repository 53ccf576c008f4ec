//! The kinds that users write: Kubernetes Gateway API in its mesh form, and the policies of `mesh.weft.dev`.
