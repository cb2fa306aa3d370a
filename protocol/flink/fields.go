// Package flink is Flink's vocabulary: the kinds of events, their fields and their ids.
package flink

import "github.com/flinktail/flinktail/protocol"

// SchemaVersion is the version of this vocabulary that events carry. Readers accept the two before it.
const SchemaVersion = 1

// Kinds of events.
const (
	KindJobCreated     = "job_created"
	KindJobStatus      = "job_status"
	KindJobFailure     = "job_failure"
	KindCheckpoint     = "checkpoint"
	KindResourceStatus = "resource_status"
	KindResourceEvent  = "resource_event"
	KindClusterStatus  = "cluster_status"
	KindIncident       = "incident"
)

// Kinds lists every kind with its meaning.
var Kinds = []struct{ Name, Meaning string }{
	{KindJobCreated, "a job was submitted; carries its lineage"},
	{KindJobStatus, "a job changed its status"},
	{KindJobFailure, "a task or the whole job failed, with the exception"},
	{KindCheckpoint, "a checkpoint completed or failed"},
	{KindResourceStatus, "the status of a FlinkDeployment or FlinkSessionJob changed"},
	{KindResourceEvent, "a Kubernetes Event about such a resource"},
	{KindClusterStatus, "what observes Flink lost or regained sight of it"},
	{KindIncident, "several events that are one incident"},
}

// Severities of events.
const (
	SeverityInfo  = "info"
	SeverityWarn  = "warn"
	SeverityError = "error"
)

// Field names that code refers to; [Fields] declares them all.
const (
	FieldSchemaVersion = "schema_version"
	FieldEventID       = "event_id"
	FieldEventTime     = "event_time"
	FieldKind          = "kind"
	FieldSource        = "source"
	FieldCluster       = "cluster"
	FieldNamespace     = "namespace"
	FieldResource      = "resource"
	FieldJobID         = "job_id"
	FieldJobName       = "job_name"
	FieldStatusFrom    = "status_from"
	FieldStatusTo      = "status_to"
	FieldTaskName      = "task_name"
	FieldRootClass     = "root_class"
	FieldRootMessage   = "root_message"
	FieldExceptionName = "exception_class"
	FieldExceptionText = "exception_message"
	FieldLineage       = "lineage"
	FieldReason        = "reason"
	FieldSeverity      = "severity"
	FieldMessage       = "message"
)

// Fields is the table of fields. A field that is not in it is kept with the type it came with.
var Fields = protocol.NewVocabulary(FieldEventTime, []protocol.Field{
	{Name: FieldSchemaVersion, Type: protocol.TypeLong, Meaning: "version of this vocabulary", Example: `1`},
	{Name: FieldEventID, Type: protocol.TypeString, Meaning: "identifies the event; a redelivery keeps it", Example: `"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-17"`},
	{Name: FieldEventTime, Type: protocol.TypeTimestamp, Meaning: "the event's own time, RFC 3339 in UTC", Example: `"2026-01-05T08:00:00.123Z"`},
	{Name: FieldKind, Type: protocol.TypeString, Meaning: "what happened, see the kinds", Example: `"job_status"`},
	{Name: FieldSource, Type: protocol.TypeString, Meaning: "who said so", Example: `"flink-status-listener"`},
	{Name: FieldCluster, Type: protocol.TypeString, Meaning: "the administrator's name for the environment", Example: `"prod-eu"`},
	{Name: FieldNamespace, Type: protocol.TypeString, Meaning: "Kubernetes namespace", Example: `"streaming"`},
	{Name: "resource_kind", Type: protocol.TypeString, Meaning: "FlinkDeployment or FlinkSessionJob", Example: `"FlinkDeployment"`},
	{Name: FieldResource, Type: protocol.TypeString, Meaning: "the Flink cluster in its namespace: Kubernetes cluster id, YARN application id, HA cluster id, else the JobManager's address", Example: `"orders"`},
	{Name: FieldJobID, Type: protocol.TypeString, Meaning: "Flink's job id; not unique between clusters, and one id may have several runs", Example: `"20239a63ed9b70000d5185757dae99c4"`},
	{Name: "run_id", Type: protocol.TypeString, Meaning: "one run of a job id", Example: `"b1946ac92492d234"`},
	{Name: FieldJobName, Type: protocol.TypeString, Meaning: "the job's name", Example: `"orders-enrichment"`},
	{Name: "job_key", Type: protocol.TypeString, Meaning: "a stable name of the job, from flinktail.job.key", Example: `"orders"`},
	{Name: FieldStatusFrom, Type: protocol.TypeString, Meaning: "the status before", Example: `"RUNNING"`},
	{Name: FieldStatusTo, Type: protocol.TypeString, Meaning: "the status after", Example: `"FAILED"`},
	{Name: "terminal", Type: protocol.TypeBoolean, Meaning: "the job has ended and will not come back by itself", Example: `true`},
	{Name: "execution_mode", Type: protocol.TypeString, Meaning: "STREAMING or BATCH", Example: `"STREAMING"`},
	{Name: "failure_scope", Type: protocol.TypeString, Meaning: "TASK or GLOBAL", Example: `"TASK"`},
	{Name: FieldTaskName, Type: protocol.TypeString, Meaning: "the task that failed", Example: `"Source: orders -> Map (1/4)"`},
	{Name: "task_manager", Type: protocol.TypeString, Meaning: "where it ran", Example: `"tm-1"`},
	{Name: FieldExceptionName, Type: protocol.TypeString, Meaning: "class of the outermost exception", Example: `"org.apache.flink.runtime.JobException"`},
	{Name: FieldExceptionText, Type: protocol.TypeString, Meaning: "its message", Example: `"Recovery is suppressed by FixedDelayRestartBackoffTimeStrategy"`},
	{Name: FieldRootClass, Type: protocol.TypeString, Meaning: "class of the deepest cause", Example: `"java.lang.NumberFormatException"`},
	{Name: FieldRootMessage, Type: protocol.TypeString, Meaning: "its message", Example: `"For input string: \"x-1500\""`},
	{Name: "stack_trace", Type: protocol.TypeString, Meaning: "the stack trace with its causes", Example: `"java.lang.IllegalStateException: …\n\tat …"`},
	{Name: "exception_chain", Type: protocol.TypeJSON, Meaning: "the causes, outermost first, each with class and message", Example: `[{"class":"java.io.IOException","message":"closed"}]`},
	{Name: "failure_category", Type: protocol.TypeString, Meaning: "what kind of failure it is", Example: `"OOM_HEAP"`},
	{Name: "failure_origin", Type: protocol.TypeString, Meaning: "whose fault it is: user code, Flink, external system, infrastructure", Example: `"user"`},
	{Name: "failure_rule", Type: protocol.TypeString, Meaning: "the rule that decided", Example: `"8"`},
	{Name: "fingerprint", Type: protocol.TypeString, Meaning: "the same for failures that are the same", Example: `"9a0364b9e99bb480"`},
	{Name: FieldLineage, Type: protocol.TypeJSON, Meaning: "what the job reads and writes: sources, sinks, relations", Example: `{"sources":[{"namespace":"kafka://broker:9092","name":"orders"}],"sinks":[],"relations":[]}`},
	{Name: "lifecycle_state", Type: protocol.TypeString, Meaning: "the operator's lifecycle state of the resource", Example: `"STABLE"`},
	{Name: FieldReason, Type: protocol.TypeString, Meaning: "the reason of a Kubernetes Event or of a change", Example: `"SpecChanged"`},
	{Name: FieldSeverity, Type: protocol.TypeString, Meaning: "info, warn or error", Example: `"error"`},
	{Name: FieldMessage, Type: protocol.TypeString, Meaning: "what happened, for a person", Example: `"Upgrading"`},
	{Name: "source_dropped", Type: protocol.TypeLong, Meaning: "events that the source could not keep since its last report", Example: `3`},
})
