package file

import (
	"encoding/binary"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// maxKept bounds the buffers that a batch keeps for the next one.
const maxKept = 8 << 20

// batch sorts the events of one Flush by file and encodes them. It belongs to one goroutine at a time; its memory
// is used again.
type batch struct {
	name   *fileName
	path   string // of every event, when it is constant
	format string
	json   *protocol.JSONEncoder

	all    []part // the first used ones are this batch's
	used   int
	byPath map[string]int

	scratchPath    []byte
	scratchMessage []byte
	logParts       []int // of the group at hand: each log's part
}

// part is what goes into one file.
type part struct {
	path string
	data []byte
	logs []*protocol.Log // protobuf: those of the group at hand
}

func newBatch(name *fileName, format string) *batch {
	b := &batch{name: name, format: format, json: protocol.NewJSONEncoder(flink.Fields), byPath: map[string]int{}}
	b.path, _ = name.constant()
	return b
}

func (b *batch) parts() []part { return b.all[:b.used] }

// reset makes b empty again.
func (b *batch) reset() {
	kept := 0
	for i := range b.all {
		p := &b.all[i]
		if kept += cap(p.data); kept > maxKept {
			p.data = nil
		}
		p.data = p.data[:0]
	}
	if cap(b.scratchMessage) > maxKept {
		b.scratchMessage = nil
	}
	b.used = 0
	clear(b.byPath)
}

// encode encodes every event into its file's part and returns those that cannot be encoded.
func (b *batch) encode(groups []*protocol.LogGroup) (failures []pipeline.Failure) {
	for gi, g := range groups {
		if b.format == FormatProtobuf {
			failures = b.encodeMessages(failures, gi, g)
			continue
		}
		for i, log := range g.Logs {
			p := &b.all[b.partOf(g, log)]
			p.data = append(b.json.Append(p.data, g, i), '\n')
		}
	}
	return failures
}

// partOf returns the index of the event's part, which is a new one for a path that is new in this batch.
func (b *batch) partOf(g *protocol.LogGroup, log *protocol.Log) int {
	if b.path != "" {
		if b.used == 0 {
			b.addPart(b.path)
		}
		return 0
	}
	b.scratchPath = b.name.append(b.scratchPath[:0], g, log)
	if i, ok := b.byPath[string(b.scratchPath)]; ok {
		return i
	}
	return b.addPart(string(b.scratchPath))
}

func (b *batch) addPart(path string) int {
	if b.used == len(b.all) {
		b.all = append(b.all, part{})
	}
	b.all[b.used].path = path
	b.byPath[path] = b.used
	b.used++
	return b.used - 1
}

// encodeMessages writes g, or for each file the group of those of its logs that belong there.
func (b *batch) encodeMessages(failures []pipeline.Failure, gi int, g *protocol.LogGroup) []pipeline.Failure {
	if len(g.Logs) == 0 {
		return failures
	}
	b.logParts = b.logParts[:0]
	same := true
	for _, log := range g.Logs {
		b.logParts = append(b.logParts, b.partOf(g, log))
		same = same && b.logParts[0] == b.logParts[len(b.logParts)-1]
	}
	if same && b.appendMessage(b.logParts[0], g) == nil {
		return failures
	}
	for i, log := range g.Logs {
		p := &b.all[b.logParts[i]]
		one := subgroup(g, []*protocol.Log{log})
		data, err := protocol.AppendGroup(b.scratchMessage[:0], one)
		b.scratchMessage = data
		if err != nil {
			failures = append(failures, pipeline.Failure{Group: gi, Log: i, Err: err})
			continue
		}
		p.logs = append(p.logs, log)
	}
	for i := range b.parts() {
		p := &b.all[i]
		if len(p.logs) > 0 {
			// Its logs were encoded one by one just now.
			_ = b.appendMessage(i, subgroup(g, p.logs))
		}
		clear(p.logs)
		p.logs = p.logs[:0]
	}
	return failures
}

func (b *batch) appendMessage(part int, g *protocol.LogGroup) error {
	data, err := protocol.AppendGroup(b.scratchMessage[:0], g)
	b.scratchMessage = data
	if err != nil {
		return err
	}
	p := &b.all[part]
	p.data = binary.AppendUvarint(p.data, uint64(len(data)))
	p.data = append(p.data, data...)
	return nil
}

// subgroup returns a group with everything of g but its logs.
func subgroup(g *protocol.LogGroup, logs []*protocol.Log) *protocol.LogGroup {
	sub := &protocol.LogGroup{
		Logs: logs, Category: g.Category, Topic: g.Topic, Source: g.Source, MachineUUID: g.MachineUUID, LogTags: g.LogTags,
	}
	sub.ProtoReflect().SetUnknown(g.ProtoReflect().GetUnknown())
	return sub
}

// appendFailures lists the events whose file is path, unless they are listed already.
func (b *batch) appendFailures(failures []pipeline.Failure, groups []*protocol.LogGroup, path string, err error) []pipeline.Failure {
	type place struct{ group, log int }
	listed := map[place]bool{}
	for _, f := range failures {
		listed[place{f.Group, f.Log}] = true
	}
	for gi, g := range groups {
		for i, log := range g.Logs {
			if b.all[b.partOf(g, log)].path == path && !listed[place{gi, i}] {
				failures = append(failures, pipeline.Failure{Group: gi, Log: i, Err: err, Retryable: true})
			}
		}
	}
	return failures
}
