package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Json;
import org.apache.flink.core.execution.JobStatusChangedEvent;
import org.apache.flink.streaming.api.lineage.LineageGraph;
import org.apache.flink.streaming.runtime.execution.JobCreatedEvent;

/** The event of a new job, apart from the others because its class may be missing. */
final class JobCreation {

    private JobCreation() {}

    static boolean is(JobStatusChangedEvent event) {
        return event instanceof JobCreatedEvent;
    }

    static void write(Json json, JobStatusChangedEvent event) {
        JobCreatedEvent created = (JobCreatedEvent) event;
        json.attempt(json.room(), j -> j.field("execution_mode", created.executionMode().name()));
        LineageGraph graph = created.lineageGraph();
        if (graph != null) {
            json.attempt(json.room(), j -> Lineage.write(j.key("lineage"), graph));
        }
    }
}
