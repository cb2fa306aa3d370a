package com.github.flinktail.listener.enricher;

import com.github.flinktail.listener.core.Failure;
import com.github.flinktail.listener.core.Json;
import com.github.flinktail.listener.core.Log;
import com.github.flinktail.listener.core.Reporter;
import java.util.Collections;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.core.failure.FailureEnricher;

/**
 * Reports every failure of a job, and counts it on Flink's metrics. Name this class in {@code
 * jobmanager.failure-enrichers}.
 *
 * <p>Flink calls it on the JobMaster's main thread and catches nothing. It adds no label, so that it
 * can never collide with another enricher's keys.
 */
public final class FlinktailFailureEnricher implements FailureEnricher {
    private final Reporter reporter;

    FlinktailFailureEnricher(Reporter reporter) {
        this.reporter = reporter;
    }

    @Override
    public Set<String> getOutputKeys() {
        return Collections.emptySet();
    }

    @Override
    public CompletableFuture<Map<String, String>> processFailure(Throwable cause, Context context) {
        try {
            reporter.report("job_failure", json -> write(json, cause, context));
            FailureCounters.count(context);
        } catch (Throwable t) {
            Log.warnOnce("flinktail: a failure could not be processed: " + Log.line(t));
        }
        return CompletableFuture.completedFuture(Collections.emptyMap());
    }

    private static void write(Json json, Throwable cause, Context context) {
        JobOf job = JobOf.context(context);
        json.field("job_id", job.id);
        json.field("job_name", job.name);
        json.attempt(json.room(), j -> j.field("failure_scope", context.getFailureType().name()));
        json.field("severity", "error");
        Failure.write(json, cause);
    }
}
