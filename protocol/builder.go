package protocol

import "sync"

// Builder makes log groups without allocating: the structs come from pooled slabs, keys and values are
// views into memory that the caller keeps unchanged until Release. A Builder belongs to one goroutine at a
// time; what it built may be read by many.
//
// A log is added with BeginLog, any number of Add, then EndLog or DropLog. Nothing moves once built, so
// groups are valid from the moment Groups returns them until Release.
//
// Keys and types may be shared between groups: to change a field of a built log, set its pointers, never what
// they point to.
type Builder struct {
	groups   slab[groupSlot]
	logs     slab[logSlot]
	logPtrs  slab[*Log]
	contents slab[contentSlot]
	ptrs     slab[*Log_Content]
	tags     slab[tagSlot]
	tagPtrs  slab[*LogTag]
	keys     slab[string]
	bytes    slab[byte]

	list    []*LogGroup
	group   *LogGroup
	log     *logSlot
	current []*Log_Content
}

// The slots are the generated structs together with what their pointers point to.
type (
	groupSlot struct {
		LogGroup
		category, topic, source, machine string
	}
	logSlot struct {
		Log
		seconds, nanos uint32
	}
	contentSlot struct {
		Log_Content
		value string
	}
	tagSlot struct {
		LogTag
		key, value string
	}
)

var builders = sync.Pool{New: func() any {
	b := &Builder{}
	b.groups.pools, b.logs.pools, b.logPtrs.pools = &groupPools, &logPools, &logPtrPools
	b.contents.pools, b.ptrs.pools = &contentPools, &ptrPools
	b.tags.pools, b.tagPtrs.pools = &tagPools, &tagPtrPools
	b.keys.pools, b.bytes.pools = &keyPools, &bytePools
	return b
}}

var (
	groupPools   slabPools[groupSlot]
	logPools     slabPools[logSlot]
	logPtrPools  slabPools[*Log]
	contentPools slabPools[contentSlot]
	ptrPools     slabPools[*Log_Content]
	tagPools     slabPools[tagSlot]
	tagPtrPools  slabPools[*LogTag]
	keyPools     slabPools[string]
	bytePools    slabPools[byte]
)

// NewBuilder returns an empty builder from the pool.
func NewBuilder() *Builder { return builders.Get().(*Builder) }

// BeginGroup starts a group; the logs that follow belong to it. Empty arguments are written as empty
// fields, as iLogtail's peers expect.
func (b *Builder) BeginGroup(topic, source string) *LogGroup {
	g := b.groups.one()
	g.topic, g.source = topic, source
	g.Category, g.Topic, g.Source, g.MachineUUID = &g.category, &g.topic, &g.source, &g.machine
	b.group = &g.LogGroup
	b.list = append(b.list, b.group)
	return b.group
}

// AddTag adds a tag to the current group.
func (b *Builder) AddTag(key, value string) {
	t := b.tags.one()
	t.key, t.value = key, value
	t.Key, t.Value = &t.key, &t.value
	b.group.LogTags = b.tagPtrs.push(b.group.LogTags, &t.LogTag)
}

// BeginLog starts a log with the event's own time: Unix seconds, and nanoseconds within the second.
func (b *Builder) BeginLog(seconds, nanos uint32) {
	b.log = b.logs.one()
	b.log.Time, b.log.TimeNs = &b.log.seconds, &b.log.nanos
	b.SetTime(seconds, nanos)
	b.current = nil
}

// SetTime changes the time of the log under construction.
func (b *Builder) SetTime(seconds, nanos uint32) { b.log.seconds, b.log.nanos = seconds, nanos }

// Add adds a field to the log under construction; its type is what the vocabulary declares, else string.
func (b *Builder) Add(key, value string) { b.addKey(b.keyPtr(key)).value = value }

// AddTyped adds a field whose value is the text of a JSON value of that type.
func (b *Builder) AddTyped(key, value string, t ValueType) {
	c := b.addKey(b.keyPtr(key))
	c.value, c.Type = value, &valueTypes[t]
}

// addKey adds a field whose value is still empty.
func (b *Builder) addKey(key *string) *contentSlot {
	c := b.contents.one()
	c.Key, c.Value = key, &c.value
	b.current = b.ptrs.push(b.current, &c.Log_Content)
	return c
}

// EndLog adds the log under construction to the current group.
func (b *Builder) EndLog() *Log {
	log := &b.log.Log
	log.Contents = b.current
	b.group.Logs = b.logPtrs.push(b.group.Logs, log)
	b.log = nil
	return log
}

// DropLog forgets the log under construction.
func (b *Builder) DropLog() { b.log = nil }

// Bytes returns n zero bytes that live until Release.
func (b *Builder) Bytes(n int) []byte { return b.bytes.take(n) }

// Groups returns the groups built so far.
func (b *Builder) Groups() []*LogGroup { return b.list }

// Release gives the memory of every group back; none may be used after it, nor may the builder.
func (b *Builder) Release() {
	b.groups.release()
	b.logs.release()
	b.logPtrs.release()
	b.contents.release()
	b.ptrs.release()
	b.tags.release()
	b.tagPtrs.release()
	b.keys.release()
	b.bytes.release()
	clear(b.list)
	b.list, b.group, b.log, b.current = b.list[:0], nil, nil, nil
	builders.Put(b)
}

func (b *Builder) keyPtr(key string) *string {
	p := b.keys.one()
	*p = key
	return p
}

// valueTypes are what Content.Type points to.
var valueTypes = [...]ValueType{ValueType_STRING, ValueType_NUMBER, ValueType_BOOLEAN, ValueType_NULL, ValueType_JSON}
