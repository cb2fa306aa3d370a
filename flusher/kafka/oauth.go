package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// tokens gives the token of OAUTHBEARER to every new connection. It is safe for concurrent use.
type tokens struct {
	ctx     context.Context
	options *SASL
	timeout time.Duration

	mu    sync.Mutex
	token string
	until time.Time
}

// Token returns the file's token, or one from TokenURL, which is kept for nine tenths of its life.
func (t *tokens) Token() (*sarama.AccessToken, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.options.TokenFile != "" {
		text, err := os.ReadFile(t.options.TokenFile)
		if err == nil && len(strings.TrimSpace(string(text))) == 0 {
			err = fmt.Errorf("%s is empty", t.options.TokenFile)
		}
		if err != nil {
			return nil, pipeline.Blocked(fmt.Errorf("read the token for OAUTHBEARER: %w", err))
		}
		return &sarama.AccessToken{Token: strings.TrimSpace(string(text))}, nil
	}
	if time.Now().Before(t.until) {
		return &sarama.AccessToken{Token: t.token}, nil
	}
	token, life, err := t.fetch()
	if err != nil {
		return nil, fmt.Errorf("get a token from %s: %w", withoutQuery(t.options.TokenURL), err)
	}
	t.token, t.until = token, time.Now().Add(life*9/10)
	return &sarama.AccessToken{Token: token}, nil
}

// forget has the next connection get a new token.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = time.Time{}
}

// fetch asks TokenURL as RFC 6749, section 4.4, has it.
func (t *tokens) fetch() (token string, life time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.ctx, t.timeout)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(t.options.Scopes) > 0 {
		form.Set("scope", strings.Join(t.options.Scopes, " "))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, t.options.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, pipeline.Blocked(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(t.options.ClientID), url.QueryEscape(t.options.ClientSecret.Reveal()))
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // a token lasts longer than a connection
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		var wrapped *url.Error // names the URL, which may hold a password
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return "", 0, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	switch {
	case err != nil:
		return "", 0, err
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return "", 0, fmt.Errorf("status %d", response.StatusCode)
	case response.StatusCode != http.StatusOK:
		secrets := append(client.InHeader(request.Header.Get("Authorization")), t.options.ClientSecret, pipeline.NewSecret(request.URL.RawQuery))
		said := client.Conceal(string(body), secrets...)
		return "", 0, pipeline.Blocked(fmt.Errorf("status %d: %.200q", response.StatusCode, said))
	}
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return "", 0, pipeline.Blocked(errors.New("the answer has no access_token"))
	}
	return answer.AccessToken, time.Duration(answer.ExpiresIn) * time.Second, nil
}

func withoutQuery(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "TokenURL"
	}
	u.User, u.RawQuery = nil, ""
	return u.String()
}
