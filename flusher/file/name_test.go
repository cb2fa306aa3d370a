package file

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

func TestFileNameErrors(t *testing.T) {
	for name, reason := range map[string]string{
		"":                  "name the file",
		"/data/":            "is a folder",
		"/data/%{cluster":   "without its }",
		"/data/%{}.log":     "name a field",
		"%{event_time}.log": "write a date",
		"/data/%{+ww}.log":  "no part of a date",
		"%{event_id}":       "of every event",
		"/data/" + strings.Repeat("x", 180) + "%{kind}": "no room",
		strings.Repeat("%{kind}", 9):                    "no room",
	} {
		f := New()
		f.FileName = name
		err := f.Validate()
		require.ErrorContains(t, err, reason, name)
		require.ErrorContains(t, err, "FileName: ", name)
	}
	for _, name := range []string{"events.log", "/data/100%.log", "%{kind}", "/" + strings.Repeat("x/", 300) + "%{kind}.log", "a%{kind}/b%{cluster}"} {
		f := New()
		f.FileName = name
		require.NoError(t, f.Validate(), name)
	}
}

func TestFileNameOfEvent(t *testing.T) {
	g := &protocol.LogGroup{LogTags: []*protocol.LogTag{{Key: ptr("namespace"), Value: ptr("streaming")}}}
	for _, test := range []struct{ name, value, want string }{
		{"/d/%{cluster}.log", "prod-eu", "/d/prod-eu.log"},
		{"/d/%{cluster}.log", "", "/d/_.log"},
		{"/d/%{cluster}.log", "..", "/d/_..log"},
		{"/d/%{cluster}", "..", "/d/_."},
		{"/d/%{cluster}", ".", "/d/_"},
		{"/d/.%{cluster}", ".", "/d/._"},
		{"/d/%{cluster}/x", "../../etc/passwd", "/d/_._.._etc_passwd/x"},
		{"/d/%{cluster}/x", `..\..\x`, "/d/_._.._x/x"},
		{"/d/%{cluster}/x", "/etc", "/d/_etc/x"},
		{"/d/%{cluster}", "a\x00b\nc\x1b[31m", "/d/a_b_c__31m"},
		{"/d/%{cluster}", "a b:c*?<>|\"'", "/d/a_b_c_______"},
		{"/d/%{cluster}", "订单-é", "/d/订单-é"},
		{"/d/%{cluster}", "\u202egnp\u200b", "/d/_gnp_"},
		{"/d/%{cluster}", "\xff\xfe", "/d/__"},
		{"/d/%{namespace}/%{cluster}", "x", "/d/streaming/x"},
		{"/d/%{+yyyy/MM}/%{cluster}-%{+dd}.log", "x", "/d/2026/01/x-05.log"},
		{"/d/%{nothing}/%{cluster}", "x", "/d/_/x"},
		// Not the name that a rotated file could have.
		{"/d/%{cluster}", "x.20260105T080000.123Z", "/d/x.20260105T080000.123Z_"},
		{"/d/%{cluster}", "x.20260105T080000.123Z.gz", "/d/x.20260105T080000.123Z.gz_"},
		{"/d/%{cluster}.log", "x.20260105T080000.123Z", "/d/x.20260105T080000.123Z.log"},
	} {
		n, err := parseFileName(test.name)
		require.NoError(t, err)
		require.Equal(t, test.want, string(n.append(nil, g, logWith("cluster", test.value))), "%s with %q", test.name, test.value)
	}
}

func TestFileNameOfLongValues(t *testing.T) {
	n, err := parseFileName("/d/%{cluster}-%{job_name}.log")
	require.NoError(t, err)
	path := func(value string) string {
		return string(n.append(nil, &protocol.LogGroup{}, logWith("job_name", value)))
	}
	a, b := path(strings.Repeat("x", 5000)+"a"), path(strings.Repeat("x", 5000)+"b")
	require.NotEqual(t, a, b)
	require.Equal(t, a, path(strings.Repeat("x", 5000)+"a"))
	for _, value := range []string{strings.Repeat("x", 5000), strings.Repeat("订", 5000)} {
		base := filepath.Base(path(value))
		require.LessOrEqual(t, len(base), maxElement)
		require.True(t, utf8.ValidString(base))
		require.Regexp(t, `-[0-9a-f]{8}\.log$`, base)
	}
	full := strings.Repeat("x", maxValue)
	require.Equal(t, "/d/_-"+strings.Repeat("x", 97)+".log", path(strings.Repeat("x", 97)))
	require.NotContains(t, path(full+"x"), full)
}

func FuzzFileName(f *testing.F) {
	for _, value := range []string{"..", "../x", "a/b", "", "\x00", strings.Repeat("é", 300), "x.20260105T080000.123Z"} {
		f.Add(value, value)
	}
	n, err := parseFileName("root/%{cluster}/.%{job_name}%{cluster}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		log := logWith("cluster", a)
		log.Contents = append(log.Contents, logWith("job_name", b).Contents...)
		path := string(n.append(nil, &protocol.LogGroup{}, log))
		require.Equal(t, path, filepath.Clean(path))
		require.Len(t, strings.Split(path, "/"), 3)
		require.True(t, strings.HasPrefix(path, "root/"))
		require.True(t, filepath.IsLocal(path))
		require.NotContains(t, path, "\x00")
		for element := range strings.SplitSeq(path, "/") {
			require.LessOrEqual(t, len(element), maxElement+1)
		}
	})
}

func ptr(s string) *string { return &s }

func logWith(key, value string) *protocol.Log {
	seconds := uint32(1767600000)
	return &protocol.Log{Time: &seconds, Contents: []*protocol.Log_Content{
		{Key: ptr(flink.FieldKind), Value: ptr("job_status")}, {Key: &key, Value: &value},
	}}
}
