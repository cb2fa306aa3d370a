//go:build e2e

package kafka

import (
	"testing"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
)

func TestContract(t *testing.T) {
	variants := map[string]struct {
		unordered bool
		choose    func(*Flusher)
	}{
		"json":          {choose: func(*Flusher) {}},
		"loggroup":      {choose: func(f *Flusher) { f.Format = FormatLogGroup }},
		"small batches": {choose: func(f *Flusher) { f.MaxMessageBytes, f.Compression = 10_000, "none" }},
		"topics by job": {choose: func(f *Flusher) {
			f.Topic += "-%{job_id}"
			f.CreateTopics.Partitions, f.RequiredAcks = 1, 1
		}},
		"roundrobin": {unordered: true, choose: func(f *Flusher) { f.PartitionerType = PartitionRoundRobin }},
	}
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			k := sharedBroker(t)
			flushertest.Run(t, flushertest.Suite{
				Unordered: v.unordered,
				Broken:    broken,
				Start: func(t testing.TB) *flushertest.Destination {
					topic := k.newTopic(t, 3)
					d := &flushertest.Destination{
						New:    func() pipeline.Flusher { return k.flusher(topic, v.choose) },
						Events: func() [][]byte { return k.events(t, topic) },
					}
					if name != "topics by job" {
						d.Refuse = func() func() {
							k.remove(t, topic)
							return func() { k.create(t, topic, 3) }
						}
					}
					return d
				},
			})
		})
	}
}

// TestContractOutage has a proxy in front of the broker, which can be away or not answer.
func TestContractOutage(t *testing.T) {
	k, p := proxiedBroker(t)
	flushertest.Run(t, flushertest.Suite{
		Start: func(t testing.TB) *flushertest.Destination {
			topic := k.newTopic(t, 3)
			return &flushertest.Destination{
				New:    func() pipeline.Flusher { return k.flusher(topic) },
				Events: func() [][]byte { return k.events(t, topic) },
				Down:   p.down,
				Hang:   p.mute,
			}
		},
	})
}

func broken(testing.TB) map[string]pipeline.Flusher {
	f, g := New(), New()
	f.Brokers, f.Topic = []string{"127.0.0.1:1"}, "%{kind"
	g.Brokers, g.Topic = []string{"127.0.0.1:1"}, "flink"
	g.Authentication.TLS.Enabled, g.Authentication.TLS.CAFile = true, "none.pem"
	return map[string]pipeline.Flusher{"Topic is not closed": f, "there is no CAFile": g}
}
