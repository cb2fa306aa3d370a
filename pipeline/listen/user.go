package listen

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The costs of bcrypt that are accepted: below, a stolen or attacked hash is guessed too fast (htpasswd's own default is 5);
// above, one login takes more than a second. The lower one is a variable for tests, which bcrypt slows down much.
var minCost = 10

const maxCost = 14

// users are those of an htpasswd file.
type users struct {
	*reloader[map[string]*user]
	key [sha256.Size]byte // of what [user.proven] holds; another one in every process
}

// user is one line of the file.
type user struct {
	hash []byte
	// proven is the keyed hash of the password that was right last, which spares bcrypt on every request. It goes with
	// the user when the file changes, and there cannot be more of them than users.
	proven atomic.Pointer[[sha256.Size]byte]
}

func readUsers(file string, log *slog.Logger) (*users, error) {
	r, err := newReloader(log, func() (map[string]*user, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read users: %w", err)
		}
		byName, err := parseUsers(text)
		if err != nil {
			return nil, fmt.Errorf("read users from %s: %w", file, err)
		}
		return byName, nil
	}, file)
	if err != nil {
		return nil, err
	}
	u := &users{reloader: r}
	_, _ = rand.Read(u.key[:]) // it never fails
	return u, nil
}

// parseUsers parses lines of "name:hash". An error shows nothing of a hash.
func parseUsers(text []byte) (map[string]*user, error) {
	byName := map[string]*user{}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, hash, found := bytes.Cut(line, []byte{':'})
		switch {
		case !found || len(name) == 0:
			return nil, fmt.Errorf(`line %d is not "user:hash"`, number)
		case byName[string(name)] != nil:
			return nil, fmt.Errorf("line %d: user %q is here twice", number, name)
		}
		if err := checkHash(hash); err != nil {
			return nil, fmt.Errorf("line %d: the hash of user %q %w; make it anew with: htpasswd -B -C %d FILE %[2]q", number, name, err, minCost)
		}
		byName[string(name)] = &user{hash: bytes.Clone(hash)}
	}
	if len(byName) == 0 {
		return nil, errors.New("it holds none; add one with: htpasswd -B -C 10 FILE USER")
	}
	return byName, nil
}

var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func checkHash(hash []byte) error {
	if !bcryptHash.Match(hash) {
		return errors.New("is none of bcrypt, which is the only kind accepted")
	}
	cost, err := bcrypt.Cost(hash)
	if err != nil || cost < minCost || cost > maxCost {
		return fmt.Errorf("has cost %s, which must be between %d and %d", hash[4:6], minCost, maxCost)
	}
	return nil
}

// logins are the places for bcrypt in this process, so that a flood of wrong passwords cannot take the CPU from the pipelines.
var logins = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/4))

// loginWait is how long a login waits for a place.
const loginWait = time.Second

var errBusy = errors.New("too many logins at once")

// allow reports whether the password is that of the user. The error is errBusy or that of ctx.
func (u *users) allow(ctx context.Context, name, password string) (bool, error) {
	byName := u.current()
	known, found := byName[name]
	given := u.proof(name, password)
	if found && known.isProven(given) {
		return true, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, loginWait, errBusy)
	defer cancel()
	select {
	case logins <- struct{}{}:
		defer func() { <-logins }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	if !found { // takes as long as a wrong password, so that nobody learns who is a user
		_ = bcrypt.CompareHashAndPassword(anyOf(byName).hash, []byte(password))
		return false, nil
	}
	if known.isProven(given) { // by another request of the same client, meanwhile
		return true, nil
	}
	if bcrypt.CompareHashAndPassword(known.hash, []byte(password)) != nil {
		return false, nil
	}
	known.proven.Store(&given)
	return true, nil
}

func anyOf(byName map[string]*user) *user {
	for _, u := range byName {
		return u
	}
	return nil // not reached: a file without users is an error
}

func (u *users) proof(name, password string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, u.key[:])
	_, _ = fmt.Fprintf(h, "%d:%s:%s", len(name), name, password)
	h.Sum(sum[:0])
	return sum
}

func (u *user) isProven(given [sha256.Size]byte) bool {
	proven := u.proven.Load()
	return proven != nil && hmac.Equal(proven[:], given[:])
}
