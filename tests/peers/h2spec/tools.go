//go:build tools

// Package tools names h2spec, so that go.mod keeps its version and those of what it needs.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
