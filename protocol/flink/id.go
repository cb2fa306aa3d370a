package flink

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/flinktail/flinktail/protocol"
)

// EventID returns the deterministic id of an event whose source gave none: the same parts give the same id, on
// every machine and in every version. Parts are for example a file's identity and an offset; their borders count.
func EventID(parts ...string) string {
	text := make([]byte, 0, 256)
	for _, part := range parts {
		text = binary.AppendUvarint(text, uint64(len(part)))
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Key appends to dst what orders an event: events of equal keys are delivered in the order they were accepted. It is the job
// within its cluster, else the resource, else the cluster.
func Key(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	dst = append(dst, g.Field(log, FieldCluster)...)
	dst = append(dst, 0)
	if job := g.Field(log, FieldJobID); job != "" {
		return append(dst, job...)
	}
	dst = append(dst, g.Field(log, FieldNamespace)...)
	dst = append(dst, 0)
	return append(dst, g.Field(log, FieldResource)...)
}

// CheckVersion reports why an event of that schema_version cannot be read, "" if it can. An event
// without a version is of the current one.
func CheckVersion(version string) string {
	switch version {
	case "", "1":
		return ""
	}
	return fmt.Sprintf("schema_version %.32q is not one this flinktail reads (1)", version)
}
