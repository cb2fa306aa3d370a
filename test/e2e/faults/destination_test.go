//go:build e2e

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// destination is where one flusher delivers to.
type destination interface {
	fmt.Stringer
	flusher() object           // its configuration
	ids(t testing.TB) []string // of all events that are there, each as often as it is
	exact() bool               // no event can be there twice
}

// httpServer is a recorder behind a gate.
type httpServer struct {
	*gate
	recorder *recorder
}

func newHTTPServer(t testing.TB) *httpServer {
	r := &recorder{}
	s := &httpServer{newGate(t, r), r}
	s.open(t, nil)
	return s
}

func (s *httpServer) String() string          { return "HTTP" }
func (s *httpServer) ids(testing.TB) []string { return s.recorder.ids() }
func (s *httpServer) exact() bool             { return false }
func (s *httpServer) flusher() object {
	return quick(object{"type": "flusher_http", "detail": object{"RemoteURL": "http://" + s.address + "/"}})
}

// secondTail is another flinktail, which writes a file.
type secondTail struct{ *tail }

func newSecondTail(t testing.TB) secondTail {
	f := newTail(t, setup{http: object{}, flushers: []object{{"type": "flusher_file", "detail": object{"FileName": "unset"}}}})
	text, err := os.ReadFile(f.path("faults.json"))
	require.NoError(t, err)
	text = bytes.ReplaceAll(text, []byte(`"unset"`), fmt.Appendf(nil, "%q", f.path("received.ndjson")))
	require.NoError(t, os.WriteFile(f.path("faults.json"), text, 0o600))
	f.start(t)
	t.Cleanup(func() { f.process.Kill() })
	return secondTail{f}
}

func (s secondTail) String() string { return "flinktail" }
func (s secondTail) exact() bool    { return false }

func (s secondTail) flusher() object {
	return quick(object{"type": "flusher_http", "detail": object{"RemoteURL": s.url, "Format": "loggroup", "Compression": "zstd"}})
}

func (s secondTail) ids(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile(s.path("received.ndjson"))
	require.NoError(t, err)
	var ids []string
	for line := range bytes.Lines(text) {
		var e struct {
			ID string `json:"event_id"`
		}
		require.NoError(t, json.Unmarshal(line, &e), "%s", line)
		ids = append(ids, e.ID)
	}
	return ids
}

// indices are what one test writes in an Elasticsearch: its name and whatever begins with it.
type indices struct {
	server  *servers.Elasticsearch
	address string // where the flusher connects to
	name    string
	detail  object // more options of the flusher
	auth    func(*http.Request)
}

func newIndices(t testing.TB, server *servers.Elasticsearch) *indices {
	return &indices{server: server, address: server.URL, name: name(t), detail: object{}}
}

func (d *indices) String() string { return "Elasticsearch" }
func (d *indices) exact() bool    { return true }

func (d *indices) flusher() object {
	detail := object{"Addresses": []string{d.address}, "Index": d.name}
	for k, v := range d.detail {
		detail[k] = v
	}
	return quick(object{"type": "flusher_elasticsearch", "detail": detail})
}

func (d *indices) ids(t testing.TB) (ids []string) {
	t.Helper()
	d.call(t, http.MethodPost, "/"+d.name+"*/_refresh", "", nil)
	var page struct {
		ScrollID string `json:"_scroll_id"`
		Hits     struct {
			Hits []struct {
				Source struct {
					ID string `json:"event_id"`
				} `json:"_source"`
			}
		}
	}
	d.call(t, http.MethodPost, "/"+d.name+"*/_search?scroll=1m&size=5000&_source=event_id&sort=_doc", "", &page)
	for len(page.Hits.Hits) > 0 {
		for _, hit := range page.Hits.Hits {
			ids = append(ids, hit.Source.ID)
		}
		body := fmt.Sprintf(`{"scroll":"1m","scroll_id":%q}`, page.ScrollID)
		page.Hits.Hits = nil
		d.call(t, http.MethodPost, "/_search/scroll", body, &page)
	}
	return ids
}

// call asks the server.
func (d *indices) call(t testing.TB, method, path, body string, into any) {
	t.Helper()
	request, err := http.NewRequest(method, d.server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	client := http.DefaultClient
	if d.auth != nil {
		d.auth(request)
		client = trusting
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, 2, response.StatusCode/100, "%s %s: %s %s", method, path, response.Status, text)
	if into != nil {
		require.NoError(t, json.Unmarshal(text, into), "%s", text)
	}
}

// topic is a topic of a Kafka.
type topic struct {
	server *servers.Kafka
	broker string // where the flusher connects to
	name   string
	auth   object // the flusher's Authentication
	read   []string
}

// newTopic creates a topic with three partitions, named after the test and whatever tells it from others.
func newTopic(t testing.TB, server *servers.Kafka, config map[string]*string, other ...string) *topic {
	t.Helper()
	d := &topic{server: server, broker: server.Plaintext, name: strings.Join(append([]string{name(t)}, other...), "-")}
	d.create(t, config)
	return d
}

// create returns when the broker knows the topic, which is later than when the controller does.
func (d *topic) create(t testing.TB, config map[string]*string) {
	t.Helper()
	admin := d.admin(t)
	defer admin.Close()
	await(t, "the topic is created", func() bool { // a deletion may still go on
		err := admin.CreateTopic(d.name, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: config}, false)
		return err == nil || errors.Is(err, sarama.ErrTopicAlreadyExists)
	})
	await(t, "the broker knows the topic", func() bool {
		found, err := admin.DescribeTopics([]string{d.name})
		return err == nil && len(found) == 1 && len(found[0].Partitions) == 3 && found[0].Partitions[0].Err == sarama.ErrNoError
	})
}

func (d *topic) admin(t testing.TB) sarama.ClusterAdmin {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	admin, err := sarama.NewClusterAdmin([]string{d.server.Plaintext}, config)
	require.NoError(t, err)
	return admin
}

func (d *topic) String() string { return "Kafka" }
func (d *topic) exact() bool    { return false }

func (d *topic) flusher() object {
	detail := object{"Brokers": []string{d.broker}, "Topic": d.name}
	if d.auth != nil {
		detail["Authentication"] = d.auth
	}
	return quick(object{"type": "flusher_kafka", "detail": detail})
}

// keep remembers what is in the topic now, which is to be deleted.
func (d *topic) keep(t testing.TB) { d.read = d.ids(t) }

func (d *topic) ids(t testing.TB) []string {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	client, err := sarama.NewClient([]string{d.server.Plaintext}, config)
	require.NoError(t, err)
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	require.NoError(t, err)
	defer consumer.Close()
	ids := append([]string(nil), d.read...)
	for partition := range int32(3) {
		end, err := client.GetOffset(d.name, partition, sarama.OffsetNewest)
		require.NoError(t, err)
		if end == 0 {
			continue
		}
		p, err := consumer.ConsumePartition(d.name, partition, sarama.OffsetOldest)
		require.NoError(t, err)
		for message := range p.Messages() {
			var e struct {
				ID string `json:"event_id"`
			}
			require.NoError(t, json.Unmarshal(message.Value, &e), "%s", message.Value)
			ids = append(ids, e.ID)
			if message.Offset == end-1 {
				break
			}
		}
		require.NoError(t, p.Close())
	}
	return ids
}
