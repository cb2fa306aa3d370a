package httpinput

import (
	"bytes"
	"encoding/binary"
	"mime"
	"strings"

	"github.com/flinktail/flinktail/input/internal/intake"
	"github.com/flinktail/flinktail/protocol"
)

// format is what a body holds.
type format int

const (
	formatUnknown format = iota
	formatNDJSON
	formatJSON
	formatLogGroup
)

// formatOf tells the format by the Content-Type.
func formatOf(contentType string) format {
	switch contentType {
	case "application/x-ndjson":
		return formatNDJSON
	case "application/json":
		return formatJSON
	case "application/x-protobuf":
		return formatLogGroup
	}
	if strings.ContainsAny(contentType, ";ABCDEFGHIJKLMNOPQRSTUVWXYZ ") {
		if plain, _, err := mime.ParseMediaType(contentType); err == nil && plain != contentType {
			return formatOf(plain)
		}
	}
	return formatUnknown
}

// decode turns the body into p.batch. A refusal is about the body as a whole.
func (p *post) decode(f format) *refusal {
	body := *p.body
	cost := memoryBound(body, f)
	if refused := p.draw(cost); refused != nil {
		return refused
	}
	var refused *refusal
	switch f {
	case formatNDJSON:
		p.decodeLines(body)
	case formatJSON:
		refused = p.decodeJSON(body)
	case formatLogGroup:
		refused = p.decodeLogGroup(body)
	}
	if refused == nil && len(p.batch.Rejects) > intake.MaxRejects {
		refused = &refuseRejects
	}
	if refused != nil {
		return refused
	}
	used := 0
	for _, g := range p.batch.Groups() {
		p.accepted += len(g.Logs)
		used += logCost * len(g.Logs)
		for _, log := range g.Logs {
			used += fieldCost * len(log.Contents)
		}
	}
	p.giveBack(cost - min(used, cost))
	return nil
}

func (p *post) decodeLines(body []byte) {
	for number := int64(1); len(body) > 0 && len(p.batch.Rejects) <= intake.MaxRejects; number++ {
		end := bytes.IndexByte(body, '\n')
		next := end + 1
		if end < 0 {
			end, next = len(body), len(body)
		}
		if line := body[:end:end]; len(bytes.TrimSpace(line)) > 0 {
			p.batch.Line(number, line)
		}
		body = body[next:]
	}
}

func (p *post) decodeJSON(body []byte) *refusal {
	var err error
	if start := bytes.TrimLeft(body, " \t\r\n"); len(start) > 0 && start[0] == '[' {
		err = p.batch.Array(body)
	} else {
		err = p.batch.Object(body)
	}
	if err != nil {
		return refuseBody("malformed_json", err)
	}
	return nil
}

func (p *post) decodeLogGroup(body []byte) *refusal {
	g, err := protocol.UnmarshalGroup(body)
	if err != nil {
		return refuseBody("malformed_protobuf", err)
	}
	p.batch.Group(g)
	return nil
}

// What an event and a field take in memory beside their text, with the slack of the slabs they lie in.
const (
	logCost   = 256
	fieldCost = 192
)

// memoryBound returns at least as much as decoding the body can take, so that a body of many tiny fields cannot take
// more memory than there is.
func memoryBound(body []byte, f format) int {
	if f == formatLogGroup {
		logs, fields := countLogGroup(body)
		return logs*logCost + fields*fieldCost
	}
	// An object has a brace; a field has a colon and two quotes.
	fields := min(bytes.Count(body, []byte{':'}), bytes.Count(body, []byte{'"'})/2)
	return bytes.Count(body, []byte{'{'})*logCost + fields*fieldCost
}

// countLogGroup counts the messages in a LogGroup's wire form: logs and tags, and their fields. It stops at a fault.
func countLogGroup(group []byte) (logs, fields int) {
	eachMessage(group, func(log []byte) {
		logs++
		eachMessage(log, func([]byte) { fields++ })
	})
	return logs, fields
}

// eachMessage calls f for every length-delimited field of a protobuf message.
func eachMessage(p []byte, f func([]byte)) {
	for len(p) > 0 {
		tag, n := binary.Uvarint(p)
		if n <= 0 {
			return
		}
		p = p[n:]
		size := 0
		switch tag & 7 {
		case 0:
			_, size = binary.Uvarint(p)
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(p)
			if n <= 0 || length > uint64(len(p)-n) {
				return
			}
			p, size = p[n:], int(length)
			f(p[:size])
		case 5:
			size = 4
		default:
			return
		}
		if size > len(p) || tag&7 == 0 && size <= 0 {
			return
		}
		p = p[size:]
	}
}
