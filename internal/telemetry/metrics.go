// Package telemetry publishes flinktail's own metrics.
package telemetry

import (
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flinktail/flinktail/pipeline"
)

// Metrics is a registry of its own: nothing a library registers globally shows up in it. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
}

// New returns a registry that holds the Go runtime's and the process's metrics.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Counter returns the counter of that name and labels, a new one the first time. The error is a name or label that
// Prometheus refuses; the counter then counts unseen.
func (m *Metrics) Counter(name, help string, labels ...pipeline.Label) (pipeline.Counter, error) {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: constLabels(labels)})
	if err := m.registry.Register(c); err != nil {
		var known prometheus.AlreadyRegisteredError
		if errors.As(err, &known) {
			if existing, ok := known.ExistingCollector.(prometheus.Counter); ok {
				return existing, nil
			}
		}
		return c, err
	}
	return c, nil
}

// Gauge publishes value, which is read at each scrape, until withdraw is called. The error is a name or label that Prometheus refuses,
// or that it knows already.
func (m *Metrics) Gauge(name, help string, value func() float64, labels ...pipeline.Label) (withdraw func(), err error) {
	return m.publish(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: constLabels(labels)}, value))
}

// Total publishes value, which only grows, as a counter: see Gauge.
func (m *Metrics) Total(name, help string, value func() float64, labels ...pipeline.Label) (withdraw func(), err error) {
	return m.publish(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: constLabels(labels)}, value))
}

func (m *Metrics) publish(c prometheus.Collector) (withdraw func(), err error) {
	if err := m.registry.Register(c); err != nil {
		return func() {}, err
	}
	return func() { m.registry.Unregister(c) }, nil
}

func constLabels(labels []pipeline.Label) prometheus.Labels {
	out := make(prometheus.Labels, len(labels))
	for _, l := range labels {
		out[l.Name] = l.Value
	}
	return out
}
