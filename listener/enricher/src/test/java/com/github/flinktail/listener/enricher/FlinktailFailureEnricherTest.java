package com.github.flinktail.listener.enricher;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.github.flinktail.listener.core.Bytecode;
import com.github.flinktail.listener.core.Receiver;
import com.github.flinktail.listener.core.ThrowAway;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.function.Supplier;
import org.apache.flink.api.common.JobID;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.failure.FailureEnricher;
import org.apache.flink.core.failure.FailureEnricher.Context;
import org.apache.flink.core.failure.FailureEnricherFactory;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.SimpleCounter;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;

class FlinktailFailureEnricherTest {

    @Test
    void isFoundAsFlinkFindsIt() {
        List<FailureEnricherFactory> factories =
                ServiceLoader.load(FailureEnricherFactory.class).stream().map(ServiceLoader.Provider::get).toList();
        assertEquals(1, factories.size());
        FailureEnricher enricher = factories.get(0).createFailureEnricher(new Configuration());
        assertEquals("com.github.flinktail.listener.enricher.FlinktailFailureEnricher", enricher.getClass().getName());
        assertTrue(enricher.getOutputKeys().isEmpty());
    }

    @Test
    void tellsOfAFailure() throws Exception {
        try (Receiver receiver = new Receiver()) {
            CompletableFuture<Map<String, String>> labels =
                    enricher(receiver.conf()).processFailure(new FailingJob.Broken(), new Failed(Context.FailureType.TASK));
            assertEquals(Map.of(), labels.getNow(null), "complete at once");
            JsonNode event = receiver.await(1).get(0);
            assertEquals("job_failure", event.get("kind").textValue());
            assertEquals("flink-failure-enricher", event.get("source").textValue());
            assertEquals(new JobID(1, 2).toHexString(), event.get("job_id").textValue());
            assertEquals("orders", event.get("job_name").textValue());
            assertEquals("TASK", event.get("failure_scope").textValue());
            assertEquals("error", event.get("severity").textValue());
            assertEquals(FailingJob.Broken.class.getName(), event.get("exception_class").textValue());
            assertEquals("java.lang.IllegalStateException", event.get("root_class").textValue());
            assertEquals("root", event.get("root_message").textValue());
        }
    }

    @Test
    void countsByTypeAndRegistersOnce() throws Exception {
        FailureEnricher enricher = enricher(new Configuration());
        Metrics first = new Metrics();
        Metrics second = new Metrics();
        for (int i = 0; i < 3; i++) {
            // A new context each time, as the adaptive scheduler makes them.
            enricher.processFailure(new FailingJob.Broken(), new Failed(Context.FailureType.TASK, first));
        }
        enricher.processFailure(new FailingJob.Broken(), new Failed(Context.FailureType.GLOBAL, first));
        enricher(new Configuration()).processFailure(new FailingJob.Broken(), new Failed(Context.FailureType.TASK, second));
        assertEquals("{failureType.GLOBAL.numJobFailure=1, failureType.TASK.numJobFailure=3}", first.toString());
        assertEquals("{failureType.TASK.numJobFailure=1}", second.toString());
    }

    @Test
    void nothingLeavesAnEnricher() throws Exception {
        try (Receiver receiver = new Receiver()) {
            FailureEnricher enricher = enricher(receiver.conf());
            Context hostile = new Failed(Context.FailureType.TASK) {
                @Override
                public FailureType getFailureType() {
                    throw new NoSuchMethodError("another version");
                }

                @Override
                public MetricGroup getMetricGroup() {
                    throw new ExceptionInInitializerError("another version");
                }
            };
            assertEquals(Map.of(), enricher.processFailure(new FailingJob.Broken(), hostile).getNow(null));
            assertEquals(Map.of(), enricher.processFailure(null, null).getNow(null));
            assertEquals(Map.of(), enricher.processFailure(null, new Failed(Context.FailureType.GLOBAL)).getNow(null));
            List<JsonNode> events = receiver.await(3);
            assertEquals(FailingJob.Broken.class.getName(), events.get(0).get("exception_class").textValue());
            assertNull(events.get(0).get("failure_scope"));
            assertEquals("GLOBAL", events.get(2).get("failure_scope").textValue());
        }
        assertInstanceOf(FlinktailFailureEnricher.class, new FlinktailFailureEnricherFactory().createFailureEnricher(null));
    }

    @Test
    void fiveHundredJobsLeaveNothingBehind() throws Exception {
        try (Receiver receiver = new Receiver()) {
            FailureEnricher enricher = enricher(receiver.conf());
            ThrowAway.andForget(500, FailingJob.class, loader -> {
                Throwable failure = (Throwable) loader.make(FailingJob.class, Supplier.class).get();
                assertEquals(loader, failure.getClass().getClassLoader());
                Failed context = new Failed(Context.FailureType.TASK) {
                    @Override
                    public ClassLoader getUserClassLoader() {
                        return loader;
                    }
                };
                // Its metric group knows the job, as Flink's does.
                context.metrics.owner = context;
                for (int restart = 0; restart < 3; restart++) {
                    enricher.processFailure(failure, context);
                }
            });
            assertEquals(1500, receiver.await(1500).size());
        }
    }

    @Test
    void runsOnJava8() throws Exception {
        Bytecode.check(FlinktailFailureEnricher.class, Bytecode.JAVA_8);
    }

    private static FailureEnricher enricher(Configuration conf) {
        return new FlinktailFailureEnricherFactory().createFailureEnricher(conf);
    }

    /** The context of a failure, with the methods of Flink 1.18. */
    private static class Failed implements Context {
        final Metrics metrics;
        final FailureType type;

        Failed(FailureType type) {
            this(type, new Metrics());
        }

        Failed(FailureType type, Metrics metrics) {
            this.type = type;
            this.metrics = metrics;
        }

        @Override
        public JobID getJobId() {
            return new JobID(1, 2);
        }

        @Override
        public String getJobName() {
            return "orders";
        }

        @Override
        public MetricGroup getMetricGroup() {
            return metrics;
        }

        @Override
        public FailureType getFailureType() {
            return type;
        }

        @Override
        public ClassLoader getUserClassLoader() {
            return FlinktailFailureEnricherTest.class.getClassLoader();
        }

        @Override
        public Executor getIOExecutor() {
            return Runnable::run;
        }
    }

    /** Refuses a metric that is there already, as Flink does with a warning. */
    private static class Metrics extends UnregisteredMetricsGroup {
        final Map<String, Counter> counters;
        final String prefix;
        Object owner;

        Metrics() {
            this(new TreeMap<>(), "");
        }

        private Metrics(Map<String, Counter> counters, String prefix) {
            this.counters = counters;
            this.prefix = prefix;
        }

        @Override
        public MetricGroup addGroup(String key, String value) {
            return new Metrics(counters, prefix + key + "." + value + ".");
        }

        @Override
        public Counter counter(String name) {
            Counter counter = new SimpleCounter();
            if (counters.putIfAbsent(prefix + name, counter) != null) {
                throw new AssertionError("registered twice: " + prefix + name);
            }
            return counter;
        }

        @Override
        public String toString() {
            Map<String, Long> counts = new TreeMap<>();
            counters.forEach((name, counter) -> counts.put(name, counter.getCount()));
            return counts.toString();
        }
    }
}
