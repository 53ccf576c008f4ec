// A server of secrets made of the handler that SPIRE's agent has, for Weft's tests. What stands behind it in an agent, attestation
// and the cache of a SPIRE server's answers, is an authority in memory here.
//
//	spire SOCKET
//
// It tells spiffe://example.org/shop its certificate and the roots of the trust domain, prints "listening", issues a certificate
// anew for each line "rotate", which it answers by "told", and ends with its standard input.
package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	secret_v3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/sirupsen/logrus"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/spire/pkg/agent/api/rpccontext"
	"github.com/spiffe/spire/pkg/agent/endpoints/sdsv3"
	"github.com/spiffe/spire/pkg/agent/manager/cache"
	"github.com/spiffe/spire/proto/spire/common"
	"google.golang.org/grpc"
)

const identity = "spiffe://example.org/shop"

// authority issues certificates and tells subscribers of each.
type authority struct {
	key    crypto.Signer
	root   *x509.Certificate
	lock   sync.Mutex
	update *cache.WorkloadUpdate
	heard  map[*subscriber]bool
}

type subscriber struct {
	of      *authority
	updates chan *cache.WorkloadUpdate
}

func (s *subscriber) Updates() <-chan *cache.WorkloadUpdate { return s.updates }

func (s *subscriber) Finish() {
	s.of.lock.Lock()
	defer s.of.lock.Unlock()
	delete(s.of.heard, s)
}

func template(serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{Country: []string{"US"}, Organization: []string{"SPIRE"}},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := template(1)
	root.IsCA = true
	root.BasicConstraintsValid = true
	root.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	root.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org"}}
	root, err = signed(root, root, key.Public(), key)
	if err != nil {
		return nil, err
	}
	of := &authority{key: key, root: root, heard: map[*subscriber]bool{}}
	return of, of.rotate()
}

func signed(it, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, it, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// rotate issues the workload's certificate anew.
func (a *authority) rotate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := template(time.Now().UnixNano())
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	leaf.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/shop"}}
	leaf, err = signed(leaf, a.root, key.Public(), a.key)
	if err != nil {
		return err
	}
	domain := spiffeid.RequireTrustDomainFromString("example.org")
	update := &cache.WorkloadUpdate{
		Identities: []cache.Identity{{
			Entry:      &common.RegistrationEntry{SpiffeId: identity},
			SVID:       []*x509.Certificate{leaf},
			PrivateKey: key,
		}},
		Bundle: spiffebundle.FromX509Authorities(domain, []*x509.Certificate{a.root}),
	}
	a.lock.Lock()
	defer a.lock.Unlock()
	a.update = update
	for heard := range a.heard {
		heard.tell(update)
	}
	return nil
}

// tell hands on the newest update; one that was not taken is of no use any more.
func (s *subscriber) tell(update *cache.WorkloadUpdate) {
	select {
	case <-s.updates:
	default:
	}
	s.updates <- update
}

// Attest finds out who calls: on this socket, always the same.
func (a *authority) Attest(context.Context) ([]*common.Selector, error) {
	return []*common.Selector{{Type: "unix", Value: "uid:0"}}, nil
}

func (a *authority) SubscribeToCacheChanges(context.Context, cache.Selectors) (cache.Subscriber, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	it := &subscriber{of: a, updates: make(chan *cache.WorkloadUpdate, 1)}
	a.heard[it] = true
	it.tell(a.update)
	return it, nil
}

func (a *authority) FetchWorkloadUpdate([]*common.Selector) *cache.WorkloadUpdate {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.update
}

// logged gives each call the logger that SPIRE's code takes from its context.
type logged struct {
	grpc.ServerStream
	ctx context.Context
}

func (l *logged) Context() context.Context { return l.ctx }

func main() {
	of, err := newAuthority()
	if err != nil {
		log.Fatal(err)
	}
	logger := logrus.New()
	logger.SetOutput(os.Stderr)
	stream := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		return handle(srv, &logged{stream, rpccontext.WithLogger(stream.Context(), logger)})
	}
	server := grpc.NewServer(grpc.StreamInterceptor(stream))
	secret_v3.RegisterSecretDiscoveryServiceServer(server, sdsv3.New(sdsv3.Config{
		Attestor:              of,
		Manager:               of,
		DefaultAllBundlesName: "ALL",
		DefaultBundleName:     "ROOTCA",
		DefaultSVIDName:       "default",
	}))
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(server.Serve(listener)) }()
	fmt.Println("listening")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := of.rotate(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("told")
	}
}
