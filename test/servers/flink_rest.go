package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"
)

// REST is the part of Flink's REST API that the tests and the demo use.
type REST struct {
	URL string
}

// Run is one submission of a job from an uploaded jar.
type Run struct {
	Class     string   `json:"entryClass"`
	Args      []string `json:"programArgsList"`
	Savepoint string   `json:"savepointPath,omitempty"`
}

// Job is what Flink tells about a job. Times are in milliseconds.
type Job struct {
	ID       string `json:"jid"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Start    int64  `json:"start-time"`
	End      int64  `json:"end-time"`
	Duration int64  `json:"duration"`
}

// Ended tells whether the job is in a state it never leaves.
func (j Job) Ended() bool {
	return j.State == "FINISHED" || j.State == "FAILED" || j.State == "CANCELED"
}

// Slots returns how many task slots the cluster has.
func (r REST) Slots(ctx context.Context) (int, error) {
	var overview struct {
		Slots int `json:"slots-total"`
	}
	err := r.call(ctx, http.MethodGet, "/overview", nil, "", &overview)
	return overview.Slots, err
}

// Upload sends a jar and returns its id.
func (r REST) Upload(ctx context.Context, jar string) (string, error) {
	text, err := os.ReadFile(jar)
	if err != nil {
		return "", fmt.Errorf("upload a jar: %w", err)
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("jarfile", filepath.Base(jar))
	if err != nil {
		return "", fmt.Errorf("upload a jar: %w", err)
	}
	_, _ = part.Write(text) // a bytes.Buffer takes everything
	_ = form.Close()
	var answer struct{ Filename string }
	err = r.call(ctx, http.MethodPost, "/jars/upload", &body, form.FormDataContentType(), &answer)
	return path.Base(answer.Filename), err
}

// Submit runs a job of an uploaded jar and returns the job's id.
func (r REST) Submit(ctx context.Context, jarID string, run Run) (string, error) {
	body, err := json.Marshal(run)
	if err != nil {
		return "", fmt.Errorf("submit %s: %w", run.Class, err)
	}
	var answer struct{ JobID string }
	err = r.call(ctx, http.MethodPost, "/jars/"+jarID+"/run", bytes.NewReader(body), "application/json", &answer)
	return answer.JobID, err
}

// Cancel asks for the end of a job.
func (r REST) Cancel(ctx context.Context, jobID string) error {
	return r.call(ctx, http.MethodPatch, "/jobs/"+jobID+"?mode=cancel", nil, "", nil)
}

// Jobs lists the jobs that the cluster knows.
func (r REST) Jobs(ctx context.Context) ([]Job, error) {
	var answer struct{ Jobs []Job }
	err := r.call(ctx, http.MethodGet, "/jobs/overview", nil, "", &answer)
	return answer.Jobs, err
}

// Metric returns the value of one of a job's metrics, "" while Flink does not know it.
func (r REST) Metric(ctx context.Context, jobID, name string) (string, error) {
	var answer []struct{ ID, Value string }
	err := r.call(ctx, http.MethodGet, "/jobs/"+jobID+"/metrics?get="+name, nil, "", &answer)
	if err != nil || len(answer) == 0 {
		return "", err
	}
	return answer[0].Value, nil
}

// Await polls until the job is as wanted, and returns it.
func (r REST) Await(ctx context.Context, jobID string, wanted func(Job) bool) (Job, error) {
	var last Job
	for {
		jobs, err := r.Jobs(ctx)
		for _, job := range jobs {
			if job.ID == jobID {
				if last = job; wanted(job) {
					return job, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("wait for job %s, now %q: %w", jobID, last.State, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (r REST) call(ctx context.Context, method, path string, body io.Reader, contentType string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, r.URL+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err // names the method and the URL
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s %s: %w: %s", method, path, err, text)
	}
	return nil
}
