package listen

import (
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// subject is a pattern for one of the names in a certificate.
type subject struct {
	kind  string // "CN", "DNS" or "URI"
	match *regexp.Regexp
}

// within is what "*" matches.
var within = map[string]string{"CN": `.*`, "DNS": `[^.]*`, "URI": `[^/]*`}

func parseSubjects(texts []string) ([]subject, error) {
	var subjects []subject
	for _, text := range texts {
		kind, pattern, _ := strings.Cut(text, "=")
		star, known := within[kind]
		if !known || pattern == "" {
			return nil, fmt.Errorf(`%q is none of "CN=NAME", "DNS=NAME", "URI=NAME"`, text)
		}
		flags := "(?s)"
		if kind == "DNS" {
			flags = "(?si)"
		}
		quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, star)
		match, err := regexp.Compile(flags + "^" + quoted + "$")
		if err != nil {
			return nil, errors.New("is not UTF-8")
		}
		subjects = append(subjects, subject{kind, match})
	}
	return subjects, nil
}

// allowed reports whether one of the names in the certificate is one of the subjects; no subjects allow every name.
func allowed(subjects []subject, certificate *x509.Certificate) bool {
	return len(subjects) == 0 || slices.ContainsFunc(subjects, func(s subject) bool { return s.matches(certificate) })
}

func (s subject) matches(certificate *x509.Certificate) bool {
	switch s.kind {
	case "CN":
		return s.match.MatchString(certificate.Subject.CommonName)
	case "DNS":
		return slices.ContainsFunc(certificate.DNSNames, s.match.MatchString)
	}
	for _, uri := range certificate.URIs {
		if s.match.MatchString(uri.String()) {
			return true
		}
	}
	return false
}
