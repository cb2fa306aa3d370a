package flink_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// These ids are out in the world: another machine and a later version must make the same.
func TestEventIDIsForever(t *testing.T) {
	require.Equal(t, "e3b0c44298fc1c149afbf4c8996fb924", flink.EventID())
	require.Equal(t, "8ddd5eafbc8c33fcb2afcdca0b9b6e33", flink.EventID("file", "2049", "131", "1234567"))
}

func TestEventIDTellsPartsApart(t *testing.T) {
	seen := map[string][]string{}
	for _, parts := range [][]string{
		nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a\x00b"}, {"a\x00", "b"}, {"a", "\x00b"}, {"a\x01b"}, {"A", "b"},
	} {
		id := flink.EventID(parts...)
		require.Regexp(t, "^[0-9a-f]{32}$", id)
		require.Equal(t, id, flink.EventID(parts...))
		require.Nil(t, seen[id], "%q has the id of %q", parts, seen[id])
		seen[id] = append([]string{}, parts...)
	}
}

func TestKey(t *testing.T) {
	for _, tc := range []struct {
		fields map[string]string
		tags   map[string]string
		want   string
	}{
		{nil, nil, "\x00\x00"},
		{map[string]string{"cluster": "c"}, nil, "c\x00\x00"},
		{map[string]string{"cluster": "c", "namespace": "n", "resource": "r"}, nil, "c\x00n\x00r"},
		{map[string]string{"cluster": "c", "namespace": "n", "resource": "r", "job_id": "j"}, nil, "c\x00j"},
		{map[string]string{"job_id": "j"}, map[string]string{"cluster": "c"}, "c\x00j"},
		{map[string]string{"cluster": "own", "job_id": "j"}, map[string]string{"cluster": "c"}, "own\x00j"},
	} {
		b := protocol.NewBuilder()
		g := b.BeginGroup("", "")
		for key, value := range tc.tags {
			b.AddTag(key, value)
		}
		b.BeginLog(0, 0)
		for key, value := range tc.fields {
			b.Add(key, value)
		}
		log := b.EndLog()
		require.Equal(t, "before"+tc.want, string(flink.Key([]byte("before"), g, log)))
		b.Release()
	}
}

func TestCheckVersion(t *testing.T) {
	require.Empty(t, flink.CheckVersion(""))
	require.Empty(t, flink.CheckVersion("1"))
	for _, version := range []string{"0", "2", "01", "1.0", "one", string(make([]byte, 1<<20)), "\xff"} {
		fault := flink.CheckVersion(version)
		require.Contains(t, fault, "schema_version ")
		require.Less(t, len(fault), 250)
	}
}
