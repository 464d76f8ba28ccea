//go:build !linux

package builderagent

import "runtime"

func systemFacts(string) map[string]string { return map[string]string{"kernel": runtime.GOOS} }
