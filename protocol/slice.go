package protocol

// Slice makes dst a view of g's logs from index from up to but not including to; all else is g's.
func (g *LogGroup) Slice(dst *LogGroup, from, to int) {
	dst.Logs = g.Logs[from:to:to]
	dst.Category, dst.Topic, dst.Source, dst.MachineUUID = g.Category, g.Topic, g.Source, g.MachineUUID
	dst.LogTags, dst.unknownFields = g.LogTags, g.unknownFields
}
