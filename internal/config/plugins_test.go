package config

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// The plugins that the tests configure.
func init() {
	pipeline.Register("input_probe", func() any { return &probeInput{Address: "127.0.0.1:1"} })
	pipeline.Register("processor_probe", func() any { return &probeProcessor{} })
	pipeline.Register("flusher_probe", func() any { return newProbe() })
	pipeline.Register("flusher_print", func() any { return &probeBare{} })
}

type base struct{}

func (base) Init(pipeline.Context) error { return nil }
func (base) Description() string         { return "takes part in tests" }
func (base) Stop() error                 { return nil }

type probeInput struct {
	base

	Address  string `jsonschema_description:"where to listen"`
	MaxLines int
}

func (*probeInput) Run(context.Context, pipeline.Sink) error { return nil }

type probeProcessor struct{ base }

func (*probeProcessor) Process(*protocol.LogGroup, func(*protocol.LogGroup)) error { return nil }

type flusherBase struct{ base }

func (flusherBase) IsReady(string, string, int64) bool                       { return true }
func (flusherBase) Flush(string, string, string, []*protocol.LogGroup) error { return nil }
func (flusherBase) SetUrgent(bool)                                           {}

type probeBare struct{ flusherBase }

type probeFlusher struct {
	flusherBase
	Common

	Brokers  []string          `jsonschema_description:"addresses to connect to"`
	Headers  map[string]string `jsonschema_description:"headers of every request"`
	Mode     string            `jsonschema:"enum=fast,enum=safe" jsonschema_description:"how to write"`
	Ports    []uint16
	Ratio    float64 `jsonschema:"minimum=0,maximum=1"`
	Small    int8
	Interval time.Duration
	Pauses   []time.Duration
	Size     pipeline.Size
	Password string
	Pin      pipeline.Secret `jsonschema_description:"number of the safe"`
	Pins     []pipeline.Secret
	Safes    map[string]pipeline.Secret
	Tokens   []string
	Auth     *probeAuth `jsonschema_description:"how to log in"`
	Rules    []probeRule
	Routes   map[string]probeRule

	Hook    func()  `jsonschema:"-"` // no option
	refused []error // returned by Validate
}

// Common is embedded: its fields are the plugin's own options.
type Common struct {
	Verbose bool `jsonschema_description:"say more"`
}

type probeAuth struct {
	User  string
	Token string
	TLS   struct{ CAFile string }
}

type probeRule struct {
	Name string `jsonschema_description:"name of the rule"`
	Max  int
}

var sharedHeaders = map[string]string{"A": "a"}

func newProbe() *probeFlusher {
	return &probeFlusher{Mode: "safe", Headers: sharedHeaders, Interval: 90 * time.Second, Size: 4 * pipeline.MiB, Brokers: []string{"a:1", "b:2"}}
}

func (p *probeFlusher) Validate() error {
	errs := p.refused
	if len(p.Brokers) == 0 {
		errs = append(errs, &pipeline.OptionError{Option: "Brokers", Err: errors.New("name at least one")})
	}
	for _, broker := range p.Brokers {
		if strings.HasPrefix(broker, "bad") {
			errs = append(errs, &pipeline.OptionError{Option: "Brokers[0]", Err: errors.New("no port in " + broker)})
		}
	}
	if pin := p.Pin.Reveal(); strings.HasPrefix(pin, "weak") {
		errs = append(errs, &pipeline.OptionError{Option: "Pin", Err: errors.New("too weak: " + pin)})
	}
	for _, pin := range p.Safes {
		if strings.HasPrefix(pin.Reveal(), "weak") {
			errs = append(errs, &pipeline.OptionError{Option: "Safes", Err: errors.New("too weak: " + pin.Reveal())})
		}
	}
	if strings.HasPrefix(p.Password, "weak") {
		errs = append(errs, &pipeline.OptionError{Option: "Password", Err: errors.New("too weak: " + p.Password)})
	}
	if p.Auth != nil && p.Auth.User == "" {
		errs = append(errs, &pipeline.OptionError{Option: "Auth", Err: errors.Join(
			&pipeline.OptionError{Option: "User", Err: errors.New("is missing")},
			errors.New("is incomplete"),
		)})
	}
	if p.Verbose && p.Mode == "fast" {
		errs = append(errs, errors.New("verbose and fast exclude each other"))
	}
	return errors.Join(errs...)
}
