package com.github.flinktail.listener.enricher;

import java.util.EnumMap;
import java.util.Map;
import java.util.WeakHashMap;
import org.apache.flink.core.failure.FailureEnricher.Context;
import org.apache.flink.core.failure.FailureEnricher.Context.FailureType;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;

/**
 * The metric {@code numJobFailure} of each job, by type of failure. Safe for use by several threads.
 *
 * <p>Flink warns of a metric that is registered twice and keeps the first, while the context of a
 * failure, and so its metric group, comes again and again: the counters are remembered for as long
 * as Flink keeps the group.
 */
final class FailureCounters {
    private static final Map<MetricGroup, Map<FailureType, Counter>> COUNTERS = new WeakHashMap<>();

    private FailureCounters() {}

    static void count(Context context) {
        counter(context.getMetricGroup(), context.getFailureType()).inc();
    }

    private static Counter counter(MetricGroup group, FailureType type) {
        synchronized (COUNTERS) {
            return COUNTERS.computeIfAbsent(group, g -> new EnumMap<>(FailureType.class))
                    .computeIfAbsent(type, t -> group.addGroup("failureType", t.name()).counter("numJobFailure"));
        }
    }
}
