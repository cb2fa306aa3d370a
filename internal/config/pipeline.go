// Package config reads pipeline configurations: load, expand, strict decode, schema.
package config

import (
	"slices"
	"time"

	"github.com/flinktail/flinktail/pipeline"
)

// Pipeline is one pipeline, decoded and checked: every plugin's options are in its Instance, none is initialised.
type Pipeline struct {
	Name string // the file's name without its extension
	File string

	Global     Global
	Inputs     []Plugin
	Processors []Plugin
	Flushers   []Plugin
}

// Global holds what concerns a pipeline as a whole.
type Global struct {
	Project    string     `jsonschema_description:"project name that flushers get with every batch"`
	Logstore   string     `jsonschema_description:"logstore name that flushers get with every batch"`
	Queue      Queue      `jsonschema_description:"the queue between the inputs and the flushers"`
	DeadLetter DeadLetter `jsonschema_description:"where events go that can never be delivered"`
}

// Queue bounds the queue of a pipeline; full means that inputs wait.
type Queue struct {
	Type         string        `jsonschema:"enum=disk,enum=memory" jsonschema_description:"disk: in the data folder; an event is settled when it is synced there. memory: it is settled when every flusher is done with it"`
	MaxBytes     pipeline.Size `jsonschema_description:"disk space, or memory, that queued events may take; 64MiB unless set when Type is memory"`
	MaxEvents    int           `jsonschema:"minimum=0" jsonschema_description:"events the queue may hold; 0 is as many as fit"`
	MinFreeBytes pipeline.Size `jsonschema_description:"disk: space of the file system that the queue leaves free"`
}

// Kinds of queues.
const (
	QueueDisk   = "disk"
	QueueMemory = "memory"
)

// memoryQueueBytes is MaxBytes' default in memory.
const memoryQueueBytes = 64 * pipeline.MiB

// DeadLetter bounds the dead letters of a pipeline; full means that flushers wait.
type DeadLetter struct {
	MaxBytes     pipeline.Size `jsonschema_description:"disk space of all dead letters; when it is used up flushers wait, nothing is deleted"`
	MaxFileBytes pipeline.Size `jsonschema_description:"a file of dead letters is closed at this size and the next begun"`
}

// Plugin is one plugin of a pipeline.
type Plugin struct {
	Type string // "flusher_kafka"
	Name string // the type, with "/ID" where one was given; unique in the pipeline
	Path string // where it stands: "flushers[1]"

	Instance any      // the plugin's struct, options decoded
	Delivery Delivery // flushers only

	New func() any // makes another Instance with the same options
	Sum string     // of the options, references expanded: plugins of a type with equal sums have equal options
}

// Anew returns p with instances that nobody has used.
func (p *Pipeline) Anew() *Pipeline {
	anew := *p
	for _, list := range []*[]Plugin{&anew.Inputs, &anew.Processors, &anew.Flushers} {
		*list = slices.Clone(*list)
		for i, plugin := range *list {
			(*list)[i] = plugin.Anew()
		}
	}
	return &anew
}

// Anew returns p with an instance that nobody has used.
func (p Plugin) Anew() Plugin {
	p.Instance = p.New()
	return p
}

// Delivery is what the engine does for a flusher; it stands beside its "detail".
type Delivery struct {
	Batch       Batch               `jsonschema_description:"how large a batch may become; one is cut as soon as the flusher is free"`
	Workers     int                 `jsonschema:"minimum=1,maximum=256" jsonschema_description:"batches in flight at once; events of one job stay in order"`
	Match       map[string]Patterns `jsonschema_description:"only events whose fields match: all fields, one of each field's patterns"`
	Retry       Retry               `jsonschema_description:"pauses between attempts, growing, with jitter"`
	WhenFull    string              `jsonschema:"enum=block,enum=dead_letter" jsonschema_description:"what happens when this flusher alone holds up the inputs, which wait for a full queue or for what they sent to be settled: block everybody, or dead_letter its oldest events"`
	MaxEventAge time.Duration       `jsonschema_description:"events older than this are dead-lettered instead of delivered; 0 is no limit"`
}

// Batch bounds what one Flush gets.
type Batch struct {
	MaxEvents int           `jsonschema:"minimum=1" jsonschema_description:"events in a batch"`
	MaxBytes  pipeline.Size `jsonschema_description:"memory of a batch"`
	MaxAge    time.Duration `jsonschema_description:"how long to wait for a batch to fill; 0 sends what there is"`
}

// Retry is exponential backoff: Initial, doubled up to Max, each with jitter.
type Retry struct {
	Initial    time.Duration `jsonschema_description:"first pause"`
	Max        time.Duration `jsonschema_description:"longest pause"`
	MaxElapsed time.Duration `jsonschema_description:"a batch is dead-lettered when it fails for this long; 0 retries for ever"`
}

// Patterns is a list of texts in which "*" stands for anything; a single text may stand for a list of one.
type Patterns []string

// DefaultGlobal returns the defaults of Global.
func DefaultGlobal() Global {
	return Global{
		Project:    "flink",
		Logstore:   "events",
		Queue:      Queue{Type: QueueDisk, MaxBytes: pipeline.GiB, MinFreeBytes: 32 * pipeline.MiB},
		DeadLetter: DeadLetter{MaxBytes: pipeline.GiB, MaxFileBytes: 16 * pipeline.MiB},
	}
}

// DefaultDelivery returns the defaults of Delivery.
func DefaultDelivery() Delivery {
	return Delivery{
		Batch:    Batch{MaxEvents: 2000, MaxBytes: 4 * pipeline.MiB},
		Workers:  1,
		Retry:    Retry{Initial: 500 * time.Millisecond, Max: 30 * time.Second},
		WhenFull: "block",
	}
}
