//go:build e2e

package crash

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// event is the number-th of a job. Everything about it follows from these two, so that whoever receives it knows what it must look like.
type event struct{ job, number int }

func (e event) String() string { return fmt.Sprintf("%d-%d", e.job, e.number) }

// parseEvent reads what String returned.
func parseEvent(id string) (e event, ok bool) {
	job, number, _ := strings.Cut(id, "-")
	var err1, err2 error
	e.job, err1 = strconv.Atoi(job)
	e.number, err2 = strconv.Atoi(number)
	return e, err1 == nil && err2 == nil && e.String() == id
}

func (e event) jobName() string { return fmt.Sprintf("job %d", e.job) }

// filler is what messages are cut from.
var filler = func() string {
	rnd := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 4<<10)
	for i := range text {
		text[i] = "0123456789abcdefghijklmnopqrstuvwxyz ,.é"[rnd.IntN(39)]
	}
	return string(text)
}()

// message is up to 800 bytes.
func (e event) message() string {
	mix := uint32(e.job*7919+e.number) * 2654435761
	from := int(mix>>8) % (len(filler) - 800)
	return filler[from : from+int(mix>>20)%800]
}

var birth = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

// append appends the event's line of NDJSON.
func (e event) append(body []byte) []byte {
	b := bytes.NewBuffer(body)
	fmt.Fprintf(b, `{"event_id":"%s","event_time":"%s","kind":"job_status","cluster":"crash","job_name":"%s","status_to":"RUNNING","message":"%s"}`+"\n",
		e, birth.Add(time.Duration(e.number)*time.Millisecond).Format("2006-01-02T15:04:05.000Z"), e.jobName(), e.message())
	return b.Bytes()
}
