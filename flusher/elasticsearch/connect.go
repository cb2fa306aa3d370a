package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Connect asks a node who it is, and what we may do there. What a person must mend is a [pipeline.Blocked] error.
func (f *Flusher) Connect(ctx context.Context) error {
	if err := f.Validate(); err != nil {
		return err
	}
	c, err := f.connect()
	if err != nil {
		return pipeline.Blocked(err)
	}
	defer c.close()
	var body bytes.Buffer
	root, err := c.send(ctx, request{Request: esapi.InfoRequest{}}, &body, maxErrorBody)
	switch {
	case err != nil && (client.Refused(err) || errors.As(err, new(*productError))):
		return pipeline.Blocked(fmt.Errorf("connect to elasticsearch: %w", client.Hint(err)))
	case err != nil:
		return fmt.Errorf("connect to elasticsearch: %w", err)
	case root.status == http.StatusForbidden && root.fault().Type == "security_exception": // that is a right of its own, which we do not need
	case root.status != http.StatusOK:
		return refused(root)
	}
	return f.checkRights(ctx, c)
}

// checkRights asks whether we may do what Flush will do. Without security there is nobody to ask, and every right.
func (f *Flusher) checkRights(ctx context.Context, c *connection) error {
	index, err := f.exampleIndex()
	if err != nil {
		return err
	}
	var wanted struct {
		Cluster []string `json:"cluster,omitempty"`
		Index   []object `json:"index,omitempty"`
	}
	if f.InstallTemplate {
		wanted.Cluster = []string{"manage_index_templates"}
	}
	if index != "" {
		wanted.Index = []object{{"names": []string{index}, "privileges": []string{"create_doc"}}}
	}
	text, err := json.Marshal(wanted)
	if err != nil || string(text) == "{}" {
		return err
	}
	var body bytes.Buffer
	answer, err := c.send(ctx, request{Request: esapi.SecurityHasPrivilegesRequest{Body: bytes.NewReader(text)}}, &body, maxErrorBody)
	if err != nil {
		return fmt.Errorf("ask elasticsearch for our rights: %w", err)
	}
	if answer.status != http.StatusOK {
		return nil
	}
	var rights struct {
		Username string
		All      bool `json:"has_all_requested"`
		Cluster  map[string]bool
		Index    map[string]map[string]bool
	}
	if err := json.Unmarshal(answer.body, &rights); err != nil {
		return fmt.Errorf("ask elasticsearch for our rights: %w", err)
	}
	if rights.All {
		return nil
	}
	var missing []string
	for right, has := range rights.Cluster {
		if !has {
			missing = append(missing, right+" (or set InstallTemplate to false)")
		}
	}
	for _, of := range rights.Index {
		for right, has := range of {
			if !has {
				missing = append(missing, fmt.Sprintf("%s on %s", right, index))
			}
		}
	}
	slices.Sort(missing)
	return pipeline.Blocked(fmt.Errorf("elasticsearch's user %q lacks the privilege %s", rights.Username, strings.Join(missing, " and ")))
}

// exampleIndex returns the index of an event of now, "" when that depends on the event's fields.
func (f *Flusher) exampleIndex() (string, error) {
	p, err := pattern.Parse(f.Index)
	if err != nil || len(p.Fields()) > 0 {
		return "", err
	}
	now := uint32(time.Now().Unix())
	return string(appendIndex(nil, p, &protocol.LogGroup{}, &protocol.Log{Time: &now})), nil
}
