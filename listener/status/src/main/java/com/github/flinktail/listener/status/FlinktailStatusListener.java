package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Failure;
import com.github.flinktail.listener.core.Json;
import com.github.flinktail.listener.core.Log;
import com.github.flinktail.listener.core.Reporter;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.core.execution.JobExecutionStatusEvent;
import org.apache.flink.core.execution.JobStatusChangedEvent;
import org.apache.flink.core.execution.JobStatusChangedListener;

/** Reports the changes of a job's status, and the job's lineage. Flink calls it on the JobMaster's main thread. */
final class FlinktailStatusListener implements JobStatusChangedListener {
    private final Reporter reporter;
    private final boolean adaptive;

    FlinktailStatusListener(Reporter reporter, boolean adaptive) {
        this.reporter = reporter;
        this.adaptive = adaptive;
    }

    @Override
    public void onEvent(JobStatusChangedEvent event) {
        try {
            // Lineage last: its classes are Flink's streaming API, and status must not depend on that.
            if (event instanceof JobExecutionStatusEvent) {
                JobExecutionStatusEvent status = (JobExecutionStatusEvent) event;
                reporter.report("job_status", json -> writeStatus(json, status));
            } else if (JobCreation.is(event)) {
                reporter.report("job_created", json -> writeCreation(json, event));
            }
        } catch (Throwable t) {
            Log.warnOnce("flinktail: an event could not be processed: " + Log.line(t));
        }
    }

    private void writeStatus(Json json, JobExecutionStatusEvent event) {
        writeJob(json, event);
        JobStatus to = event.newStatus();
        json.field("status_from", event.oldStatus().name());
        json.field("status_to", to.name());
        // Under an adaptive scheduler every restart and rescale cancels an execution graph.
        json.key("terminal").bool(to.isGloballyTerminalState() && !(adaptive && to == JobStatus.CANCELED));
        json.field("severity", severity(to));
        Failure.write(json, event.exception());
    }

    private static void writeCreation(Json json, JobStatusChangedEvent event) {
        writeJob(json, event);
        json.field("severity", "info");
        JobCreation.write(json, event);
    }

    private static void writeJob(Json json, JobStatusChangedEvent event) {
        json.field("job_id", event.jobId().toHexString());
        json.field("job_name", event.jobName());
    }

    private static String severity(JobStatus status) {
        switch (status) {
            case FAILED:
                return "error";
            case FAILING:
            case RESTARTING:
                return "warn";
            default:
                return "info";
        }
    }
}
