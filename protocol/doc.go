// Package protocol is the log group: its wire format, which is SLS's and iLogtail's, its form in memory, built from pooled
// slabs, and its JSON.
package protocol
