//! Tokens: who issues them, where they stand, and what becomes of them.

use schemars::JsonSchema;
use serde::Serialize;

/// Whose tokens requests may bring. A token that does not hold is refused, whatever else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtAuthentication {
    /// Whether a request must bring one. Default false: who brings none is nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub required: bool,
    /// Who issues them: 1 to 16.
    pub providers: Vec<JwtProvider>,
}

/// Who issues tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JwtProvider {
    /// What its tokens call it (`iss`).
    pub issuer: String,
    /// For whom tokens must be meant: one of these; none: it is not looked at. At most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub audiences: Vec<String>,
    /// Its keys.
    #[serde(flatten)]
    pub keys: Keys,
    /// Fields that tokens stand in. Without any place: `Authorization: Bearer` and the parameter `access_token`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub from_headers: Vec<JwtHeader>,
    /// Parameters of the query that tokens stand in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub from_params: Vec<String>,
    /// Cookies that tokens stand in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub from_cookies: Vec<String>,
    /// Whether the application is given the token. Default false; cookies stay.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub forward_original_token: bool,
    /// The field in which the application is given what the token says, as it was sent: Base64url of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_payload_to_header: Option<String>,
    /// Fields in which it is given single claims. At most 64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub output_claim_to_headers: Vec<ClaimToHeader>,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Keys {
    /// Fetched by the sidecars: an address with `http` or `https`, of a service of the mesh or of anybody else.
    #[serde(rename = "jwksUri")]
    Uri(String),
    /// Here: a JSON Web Key Set.
    #[serde(rename = "jwks")]
    Inline(String),
}

/// A field that a token stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct JwtHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub prefix: String,
}

/// A field for a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClaimToHeader {
    /// Its name. What callers write there themselves is removed.
    pub header: String,
    /// The claim; `a.b` is `b` within `a`. Lists and objects are Base64 of JSON.
    pub claim: String,
}
