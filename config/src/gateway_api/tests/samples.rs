//! Objects that are in order.

/// The canary of the product's description.
pub(super) const CANARY: &str = "\
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews}
spec:
  ports: [{port: 9080, appProtocol: http}]
  discovery: {workloads: {selector: {app: reviews}}}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: reviews-v2}
spec:
  ports: [{port: 9080, appProtocol: http}]
  discovery: {workloads: {selector: {app: reviews, version: v2}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews}
spec:
  parentRefs: [{group: mesh.weft.dev, kind: MeshService, name: reviews, port: 9080}]
  rules:
  - backendRefs:
    - {group: mesh.weft.dev, kind: MeshService, name: reviews-v1, port: 9080, weight: 90}
    - {group: mesh.weft.dev, kind: MeshService, name: reviews-v2, port: 9080, weight: 10}
    timeouts: {request: 2s}
    retry: {codes: [503], attempts: 2, backoff: 25ms}
";

/// Every supported kind, with nearly every field.
pub(super) const EVERYTHING: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {app: cart}, annotations: {example.com/owner: team}}
spec:
  clusterIP: None
  selector: {app: cart}
  ports: [{name: grpc, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP, targetPort: dns}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
endpoints:
- {addresses: [10.1.2.3], conditions: {ready: false, terminating: true, serving: true}, zone: a, nodeName: n, hostname: h}
- {addresses: [10.1.2.4]}
ports: [{name: grpc, port: 8080, appProtocol: grpc}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: db}
spec:
  ports: [{name: sql, port: 3306, targetPort: 13306, appProtocol: mysql}]
  addresses: [10.9.0.1, "fd00::1"]
  discovery:
    static:
      endpoints: [{address: 127.0.0.1, port: 1, weight: 3, zone: z}, {address: "::1"}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: MeshService
metadata: {name: srv}
spec:
  ports: [{port: 80}]
  discovery: {dns: {host: _http._tcp.example.com, type: SRV, refresh: 30s}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, creationTimestamp: "2026-01-01T00:00:00Z", generation: 2}
spec:
  parentRefs:
  - {group: "", kind: Service, name: web, port: 80}
  - {group: mesh.weft.dev, kind: MeshService, namespace: other, name: web, sectionName: http}
  rules:
  - name: all
    matches:
    - path: {type: Exact, value: /a}
      method: GET
      headers: [{name: X-User, value: "1"}, {type: RegularExpression, name: x-b, value: "a+"}]
      queryParams: [{name: q, value: "1"}, {type: RegularExpression, name: r, value: "b*"}]
    - path: {type: RegularExpression, value: "/[a-z]+"}
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: a, value: b}], add: [{name: c, value: d}], remove: [e]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {remove: [server]}
    - type: URLRewrite
      urlRewrite: {hostname: example.com, path: {type: ReplaceFullPath, replaceFullPath: /x}}
    - type: ExtensionRef
      extensionRef: {group: mesh.weft.dev, kind: FaultInjection, name: slow}
    backendRefs:
    - {name: web, port: 80, weight: 0}
    - name: web.other.svc.cluster.local
      port: 80
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]
    timeouts: {request: 10s, backendRequest: 2s}
    retry: {codes: [500, 503], attempts: 3, backoff: 10ms}
  - matches: [{path: {type: PathPrefix, value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: new.example.com, port: 8443, statusCode: 308, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: cart}
spec:
  parentRefs: [{kind: Service, name: cart}]
  rules:
  - name: add
    matches:
    - method: {service: shop.v1.Cart, method: AddItem}
      headers: [{name: x, value: y}]
    - method: {type: RegularExpression, service: "shop\\..*"}
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: b}]}}]
    backendRefs: [{name: cart, port: 80, weight: 5}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db}
spec:
  parentRefs: [{group: mesh.weft.dev, kind: MeshService, name: db, port: 3306}]
  rules: [{name: all, backendRefs: [{group: mesh.weft.dev, kind: MeshService, name: db, port: 3306}]}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: from-default, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: web}, {group: mesh.weft.dev, kind: MeshService}]
---
apiVersion: mesh.weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: http}]
  loadBalancer: {type: LeastRequest, choices: 3}
  circuitBreakers: {maxConnections: 10, maxPendingRequests: 0, maxRequests: 20}
  connection: {idleTimeout: 0s, maxRequests: 100, keepalive: {time: 60s, interval: 10s, probes: 3}}
  outlierDetection: {consecutive5xx: 3, consecutiveGatewayFailures: 2, interval: 1s, baseEjectionTime: 5s, maxEjectionTime: 50s, maxEjectionPercent: 50}
  timeouts: {request: 15s, idle: 1m, connect: 250ms}
  retry: {attempts: 2, conditions: [5xx, Reset], codes: [409], grpcCodes: [UNAVAILABLE], perTryTimeout: 1s, backoff: 5ms, maxBackoff: 1s}
  retryBudget: {percent: 30, minRetries: 5}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web, sectionName: all}]
  statusCode: 503
  enforcedPercent: 12.5
  local:
    requests: 100
    interval: 1m
    burst: 200
    maxKeys: 50
    rules:
    - {by: [{type: Header, name: x-user}, {type: RemoteAddress}], requests: 5}
    - {by: [{type: Header, name: x-tier, value: gold}], requests: 50, interval: 10s, burst: 60}
---
apiVersion: mesh.weft.dev/v1alpha1
kind: FaultInjection
metadata: {name: slow}
spec:
  delay: {duration: 2s, percent: 0.5}
  abort: {grpcStatus: UNAVAILABLE, percent: 1}
  maxActive: 10
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthenticationPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: http}]
  mtls: {mode: STRICT}
  jwt:
    required: true
    providers:
    - issuer: https://idp.example
      audiences: [web, api]
      jwksUri: https://idp.example/jwks.json
      fromHeaders: [{name: x-token, prefix: "Token "}, {name: x-bare}]
      fromParams: [token]
      fromCookies: [session]
      forwardOriginalToken: true
      outputPayloadToHeader: x-payload
      outputClaimToHeaders: [{header: x-user, claim: sub}, {header: x-role, claim: realm.role}]
    - issuer: other
      jwks: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: http}]
  validation:
    caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]
    hostname: api.example.com
    subjectAltNames: [{type: Hostname, hostname: www.example.com}, {type: URI, uri: "spiffe://td/api"}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: roots}
data:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    MIIBdTCCARugAwIBAgIUTCWrugDi9WuC8YbTf68Kt3r4ZtQwCgYIKoZIzj0EAwIw
    DzENMAsGA1UEAwwEcm9vdDAgFw0yNjExMjIwNjAxMjlaGA8yMTI2MTAyOTA2MDEy
    OVowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABBDH
    uJhkr/Hferac9gftwDTa3mnWZGogIbHNQuUyWNrNSbrGbpzQyXBE2YLKjslLYGlb
    fPOLB3sxrEkqDr+4NBGjUzBRMB0GA1UdDgQWBBR7ErAimAdmQJpknQbhltKdjdjq
    QjAfBgNVHSMEGDAWgBR7ErAimAdmQJpknQbhltKdjdjqQjAPBgNVHRMBAf8EBTAD
    AQH/MAoGCCqGSM49BAMCA0gAMEUCICB8S3Akm0sSUXUonSkQ7TQo1Y4HiEQjGbWB
    qkv3UU5nAiEA0ACI3J3MF5hP4t4ZuoqSeTGFPCyvS+rL9hJIDmp975g=
    -----END CERTIFICATE-----
---
apiVersion: mesh.weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: web}
spec:
  targetRefs: [{group: "", kind: Service, name: web, sectionName: http}]
  action: Deny
  mode: DryRun
  onRevoke: Close
  rules:
  - name: all
    from:
    - identities: ["spiffe://td/ns/a/sa/b", "spiffe://td/ns/*", "*"]
      notIdentities: ["spiffe://td"]
      namespaces: [a]
      notNamespaces: [b]
      trustDomains: [td]
      notTrustDomains: [other]
      addresses: [10.0.0.0/8, "2001:db8::1"]
      notAddresses: [10.1.2.3]
    to:
    - ports: [80]
      notPorts: [81]
      methods: [GET]
      notMethods: [POST]
      paths: [/a, "/b/*", "*.png", "*"]
      notPaths: [/c]
      hosts: [a.example.com, "*.example.com"]
      notHosts: [b.example.com]
      headers: [{name: X-Tier, values: [gold, "s*"], notValues: [silver]}, {name: x-other}]
  - {}
"#;
