package client

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/flinktail/flinktail/pipeline"
)

// Conceal takes the secrets out of what a server said: one that refuses a request may repeat it.
func Conceal(said string, secrets ...pipeline.Secret) string {
	secrets = slices.Clone(secrets)
	slices.SortFunc(secrets, func(a, b pipeline.Secret) int { return cmp.Compare(len(b.Reveal()), len(a.Reveal())) }) // one may hold another
	for _, s := range secrets {
		said = s.ReplaceIn(said, s.String())
	}
	return said
}

// InHeader returns what is secret about the value of a request's header: a server may repeat it all, or the credential without the
// scheme before it.
func InHeader(value string) []pipeline.Secret {
	const shortest = 6 // of a credential; a scheme may be longer, which does no harm
	secrets := []pipeline.Secret{pipeline.NewSecret(value)}
	for _, part := range strings.Fields(value) {
		if len(part) >= shortest {
			secrets = append(secrets, pipeline.NewSecret(part))
		}
	}
	return secrets
}

// Basic returns the value of an Authorization header with a name and a password.
func Basic(name string, password pipeline.Secret) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password.Reveal()))
}
