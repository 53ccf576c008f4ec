// Command go-control-plane is a foreign ADS server for Weft's tests: one HTTP listener, one weighted route, two
// clusters with EDS, all of it made with envoyproxy/go-control-plane.
//
// It prints "listening ADDR" once it serves, then reads lines from standard input:
//
//	weights A B      publish a snapshot with these weights
//	break            publish a snapshot whose cluster "a" is refused by any client (connect_timeout below zero)
//
// and answers each with "version N". It ends with its standard input.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type upstreams struct {
	listen string
	a, b   string
}

// everyone gives all nodes the same snapshot.
type everyone struct{}

func (everyone) ID(*corev3.Node) string { return "all" }

func main() {
	var up upstreams
	flag.StringVar(&up.listen, "proxy-listen", "", "address that the proxy shall bind, HOST:PORT")
	flag.StringVar(&up.a, "a", "", "address of upstream a, HOST:PORT")
	flag.StringVar(&up.b, "b", "", "address of upstream b, HOST:PORT")
	flag.Parse()

	snapshots := cache.NewSnapshotCache(true, everyone{}, nil)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), snapshots, nil))
	go func() {
		if err := grpcServer.Serve(socket); err != nil {
			log.Fatal(err)
		}
	}()
	fmt.Println("listening", socket.Addr())

	lines := bufio.NewScanner(os.Stdin)
	for version := 1; lines.Scan(); version++ {
		words := strings.Fields(lines.Text())
		weights, timeout := [2]uint32{1, 1}, 250*time.Millisecond
		switch {
		case len(words) == 3 && words[0] == "weights":
			weights = [2]uint32{weight(words[1]), weight(words[2])}
		case len(words) == 1 && words[0] == "break":
			timeout = -time.Second
		default:
			log.Fatalf("unknown command %q", lines.Text())
		}
		snapshot, err := up.snapshot(strconv.Itoa(version), weights, timeout)
		if err != nil {
			log.Fatal(err)
		}
		if err := snapshots.SetSnapshot(context.Background(), "all", snapshot); err != nil {
			log.Fatal(err)
		}
		fmt.Println("version", version)
	}
	grpcServer.Stop()
}

func weight(word string) uint32 {
	value, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		log.Fatalf("weight %q: %v", word, err)
	}
	return uint32(value)
}

func (up upstreams) snapshot(version string, weights [2]uint32, connectTimeout time.Duration) (*cache.Snapshot, error) {
	return cache.NewSnapshot(version, map[resource.Type][]types.Resource{
		resource.ListenerType: {up.listener()},
		resource.RouteType:    {route(weights)},
		resource.ClusterType:  {cluster("a", connectTimeout), cluster("b", 250*time.Millisecond)},
		resource.EndpointType: {endpoints("a", up.a), endpoints("b", up.b)},
	})
}

func (up upstreams) listener() *listenerv3.Listener {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix:     "http",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: "routes", ConfigSource: ads()}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "envoy.filters.http.router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(&routerv3.Router{})},
		}},
	}
	return &listenerv3.Listener{
		Name:    "http",
		Address: address(up.listen),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(manager)},
		}}}},
	}
}

func route(weights [2]uint32) *routev3.RouteConfiguration {
	weighted := &routev3.WeightedCluster{Clusters: []*routev3.WeightedCluster_ClusterWeight{
		{Name: "a", Weight: wrapperspb.UInt32(weights[0])},
		{Name: "b", Weight: wrapperspb.UInt32(weights[1])},
	}}
	return &routev3.RouteConfiguration{
		Name: "routes",
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "all",
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted},
				}},
			}},
		}},
	}
}

func cluster(name string, connectTimeout time.Duration) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(connectTimeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	}
}

func endpoints(name, at string) *endpointv3.ClusterLoadAssignment {
	endpoint := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: address(at)},
	}}
	return &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{endpoint}}},
	}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func address(hostPort string) *corev3.Address {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		log.Fatalf("address %q: %v", hostPort, err)
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: weight(port)},
	}}}
}

func packed(message proto.Message) *anypb.Any {
	packed, err := anypb.New(message)
	if err != nil {
		log.Fatal(err)
	}
	return packed
}
