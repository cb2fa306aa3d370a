package listen

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

func TestTokens(t *testing.T) {
	tokens := file(t, "# old and new", "old-token", "", "  new-token\r")
	s := serve(t, func(o *Options) { o.TokenFile = tokens })
	for _, wrong := range []string{"", "Bearer", "Bearer ", "Bearer old", "Bearer old-token2", "Bearer # old and new", "Basic old-token", "old-token"} {
		require.Equal(t, http.StatusUnauthorized, s.status(wrong), "%q", wrong)
	}
	require.EqualValues(t, 8, s.context.Counters()[`requests_refused_total{code="401",reason="credentials"}`])
	require.Equal(t, http.StatusOK, s.status("Bearer old-token"))
	require.Equal(t, http.StatusOK, s.status("bearer  new-token"))
	got, err := s.get(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{`Bearer realm="flinktail"`}, got.header.Values("WWW-Authenticate"))

	// Rotation: the old token goes, a third one comes.
	write(t, tokens, "new-token", "third-token")
	s.eventually(func() bool { return s.status("Bearer third-token") == http.StatusOK })
	require.Equal(t, http.StatusOK, s.status("Bearer new-token"))
	require.Equal(t, http.StatusUnauthorized, s.status("Bearer old-token"))

	// A file that is gone or broken locks nobody out and lets nobody in.
	write(t, tokens, "two words")
	s.eventually(func() bool {
		require.Equal(t, http.StatusOK, s.status("Bearer third-token"))
		return strings.Contains(s.context.Logs(), "stays valid")
	})
	require.Equal(t, http.StatusUnauthorized, s.status("Bearer two"))
	require.NotContains(t, s.context.Logs(), "-token", "no token in the log")
	require.NotContains(t, s.context.Logs(), "words", "no token in the log")
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// hashes are those of passwords as "htpasswd -B" writes them, of the lowest cost, which cheap makes enough.
var hashes = map[string]string{
	"secret":        "$2y$04$nOnsf2ZLoARse4r7AvhX1eFElHjl.zFLrLpmGXqEVrKtBIc.SzKpW",
	"ann's: secret": "$2y$04$kZi/3M0xU2rYLVti2LfZ4e/CrkRRxBzXnY1bKZR8u3o1XAuV9y6JK",
	"a new one":     "$2y$04$FX4OwHCFqtca.JNGRo.2CueR00pXY1OWlPMR8EvtXz8Gc4jwpSDq.",
	"":              "$2y$04$1pWXMJmL5Aj0KlTyAxtwqexy80t0AYSgXGd7.0o2zzUqAeGCjgVxC",
}

func cheap(t testing.TB) {
	usual := minCost
	minCost = bcrypt.MinCost
	t.Cleanup(func() { minCost = usual })
}

func TestUsers(t *testing.T) {
	cheap(t)
	list := file(t, "# people", "ann:"+hashes["ann's: secret"], "bob:"+hashes[""])
	s := serve(t, func(o *Options) { o.HtpasswdFile = list })
	for _, wrong := range []string{
		"", basic("ann", "ann's"), basic("eve", "ann's: secret"), basic("bob", "ann's: secret"),
		"Basic ann's", "Bearer ann's: secret", "Basic " + base64.StdEncoding.EncodeToString([]byte("ann")),
	} {
		require.Equal(t, http.StatusUnauthorized, s.status(wrong), "%q", wrong)
	}
	require.Equal(t, http.StatusOK, s.status(basic("ann", "ann's: secret")))
	require.Equal(t, http.StatusOK, s.status(basic("bob", "")))
	got, err := s.get(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{`Basic realm="flinktail", charset="UTF-8"`}, got.header.Values("WWW-Authenticate"))

	// A new password counts, and the old one, which was known to be right, does not any more.
	write(t, list, "ann:"+hashes["a new one"])
	s.eventually(func() bool { return s.users.current()["bob"] == nil })
	require.Equal(t, http.StatusOK, s.status(basic("ann", "a new one")))
	require.Equal(t, http.StatusUnauthorized, s.status(basic("ann", "ann's: secret")))
	require.Equal(t, http.StatusUnauthorized, s.status(basic("bob", "")))
}

func TestTokensAndUsers(t *testing.T) {
	cheap(t)
	s := serve(t, func(o *Options) { o.TokenFile, o.HtpasswdFile = file(t, "token"), file(t, "ann:"+hashes["secret"]) })
	require.Equal(t, http.StatusOK, s.status("Bearer token"))
	require.Equal(t, http.StatusOK, s.status(basic("ann", "secret")))
	got, err := s.get(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusUnauthorized, got.status)
	require.Len(t, got.header.Values("WWW-Authenticate"), 2)
}

func openUsers(t *testing.T, lines ...string) *users {
	s := serve(t, func(o *Options) { o.HtpasswdFile = file(t, lines...) })
	return s.users
}

// occupy takes all places for bcrypt and returns what frees them.
func occupy() (free func()) {
	for range cap(logins) {
		logins <- struct{}{}
	}
	return sync.OnceFunc(func() {
		for range cap(logins) {
			<-logins
		}
	})
}

// A password that was right needs no bcrypt again, so a flood of wrong ones does not lock its user out; what needs bcrypt is
// told to come again.
func TestAFloodOfWrongPasswords(t *testing.T) {
	cheap(t)
	s := serve(t, func(o *Options) { o.HtpasswdFile = file(t, "ann:"+hashes["secret"], "bob:"+hashes["secret"]) })
	require.Equal(t, http.StatusOK, s.status(basic("ann", "secret")))
	free := occupy()
	defer free()
	require.Equal(t, http.StatusOK, s.status(basic("ann", "secret")))
	got, err := s.get(nil, nil, func(r *http.Request) { r.SetBasicAuth("ann", "wrong") })
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.EqualValues(t, 1, s.context.Counters()[`requests_refused_total{code="429",reason="logins"}`])
	require.Equal(t, http.StatusTooManyRequests, s.status(basic("nobody", "wrong")), "an unknown user costs what a known one does")
	free()
	require.Equal(t, http.StatusOK, s.status(basic("bob", "secret")))
}

func TestALoginEndsWithItsRequest(t *testing.T) {
	cheap(t)
	u := openUsers(t, "ann:"+hashes["secret"])
	defer occupy()()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ok, err := u.allow(ctx, "ann", "secret")
	require.False(t, ok)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPasswordsAreNotKept(t *testing.T) {
	cheap(t)
	u := openUsers(t, "ann:"+hashes["secret"])
	ok, err := u.allow(t.Context(), "ann", "secret")
	require.NoError(t, err)
	require.True(t, ok)
	proven := *u.current()["ann"].proven.Load()
	for _, guess := range []string{"secret", "ann:secret", "3:ann:secret"} {
		require.NotEqual(t, sha256.Sum256([]byte(guess)), proven, "a hash without a key could be guessed from a memory dump as fast as SHA-256 runs")
	}
	require.NotEqual(t, u.proof("a", "nn:secret"), u.proof("ann", "secret"), "another user")
}

func TestFaultsInTokenFiles(t *testing.T) {
	for text, says := range map[string]string{
		"":                   "holds none",
		" \n\n# none\n":      "holds none",
		"good\nin two words": "line 2",
		"t\u00f6ken":         "line 1",
		"to\x00ken":          "line 1",
	} {
		_, err := parseTokens([]byte(text))
		require.ErrorContains(t, err, says, "%q", text)
		require.NotContains(t, err.Error(), "words")
	}
}

func TestFaultsInHtpasswdFiles(t *testing.T) {
	good := strings.Replace("ann:"+hashes["secret"], "$04$", "$10$", 1)
	_, err := parseUsers([]byte(good))
	require.NoError(t, err)
	for text, says := range map[string]string{
		"":                       "holds none; add one with: htpasswd -B -C 10 FILE USER",
		good + "\nbob":           `line 2 is not "user:hash"`,
		":" + good[4:]:           `line 1 is not "user:hash"`,
		good + "\n" + good:       `line 2: user "ann" is here twice`,
		"bob:secret":             `line 1: the hash of user "bob" is none of bcrypt`,
		"bob:$apr1$z$Yv2PUv":     `make it anew with: htpasswd -B -C 10 FILE "bob"`,
		"bob:{SHA}W6ph5Mm5Pz8":   "is none of bcrypt",
		good + "x":               "is none of bcrypt",
		good[:len(good)-1] + "!": "is none of bcrypt",
		"a:$2y$05$" + good[11:]:  "has cost 05, which must be between 10 and 14",
		"a:$2y$31$" + good[11:]:  "has cost 31",
		"a:$2y$00$" + good[11:]:  "has cost 00",
		"a:$2x$10$" + good[11:]:  "is none of bcrypt",
	} {
		_, err := parseUsers([]byte(text))
		require.ErrorContains(t, err, says, "%q", text)
		require.NotContains(t, err.Error(), good[20:30])
		require.NotContains(t, err.Error(), "secret")
	}
}

// FuzzTokens parses any file: what it takes as a token lets in when a header carries it.
func FuzzTokens(f *testing.F) {
	for _, text := range []string{"a\nb", "# comment\n\ntoken\r\n", " x y ", "t\u00f6ken", "\x00"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := parseTokens(text)
		if err != nil {
			return
		}
		accepted := &tokens{&reloader[[][sha256.Size]byte]{value: parsed}}
		count := 0
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if line != "" && line[0] != '#' {
				count++
				require.True(t, accepted.allow(line))
			}
		}
		require.Len(t, parsed, count)
		require.False(t, accepted.allow(""))
	})
}

// FuzzUsers parses any file: what it takes as a hash is one that passwords can be compared with.
func FuzzUsers(f *testing.F) {
	good := strings.Replace("ann:"+hashes["secret"], "$04$", "$10$", 1)
	for _, text := range []string{good, good + "\n# x\n\nbob" + good[3:], "a:b", "a:$2y$10$", good[:30], "::", "a:$apr1$z$Yv2PUv"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		byName, err := parseUsers(text)
		if err != nil {
			return
		}
		for name, u := range byName {
			require.NotEmpty(t, name)
			require.Len(t, u.hash, 60)
			cheap := fmt.Sprintf("%s04%s", u.hash[:4], u.hash[6:]) // the cost is what takes the time
			require.ErrorIs(t, bcrypt.CompareHashAndPassword([]byte(cheap), []byte("?")), bcrypt.ErrMismatchedHashAndPassword)
		}
	})
}
