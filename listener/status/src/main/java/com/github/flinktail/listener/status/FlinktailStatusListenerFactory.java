package com.github.flinktail.listener.status;

import com.github.flinktail.listener.core.Log;
import com.github.flinktail.listener.core.Reporter;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobStatusChangedListener;
import org.apache.flink.core.execution.JobStatusChangedListenerFactory;

/**
 * Makes a listener for a job, an execution graph or a client. Name this class in {@code
 * execution.job-status-changed-listeners}. Never throws: Flink would fail the job.
 */
public final class FlinktailStatusListenerFactory implements JobStatusChangedListenerFactory {

    @Override
    public JobStatusChangedListener createListener(Context context) {
        try {
            Configuration conf = context.getConfiguration();
            return new FlinktailStatusListener(Reporter.of("flink-status-listener", conf), Scheduling.adaptive(conf));
        } catch (Throwable t) {
            Log.warnOnce("flinktail: no status listener: " + Log.line(t));
            return event -> {};
        }
    }
}
