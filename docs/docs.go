// Package docs carries the documents that are served.
package docs

import _ "embed"

// OpenAPI describes the coordinator's HTTP interface.
//
//go:embed openapi.yaml
var OpenAPI []byte
