package kafka

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// An issuer of tokens that refuses us may repeat our request.
func TestRepeatedClientSecret(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusServiceUnavailable, http.StatusOK} {
		issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, r.URL, user, " with ", password, r.Header)
		}))
		defer issuer.Close()
		tokens := &tokens{ctx: t.Context(), timeout: time.Minute, options: &SASL{TokenURL: issuer.URL + "?key=s3cret", ClientID: "carol", ClientSecret: pipeline.NewSecret("s3cret/1")}}
		_, err := tokens.Token()
		require.ErrorContains(t, err, "get a token from "+issuer.URL)
		for _, secret := range []string{"s3cret", "Y2Fyb2w6czNjcmV0JTJGMQ"} {
			require.NotContains(t, err.Error(), secret)
		}
		if status == http.StatusUnauthorized {
			require.ErrorContains(t, err, "carol with ***")
		}
	}
}
