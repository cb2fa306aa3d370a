package com.github.flinktail.listener.status;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.github.flinktail.listener.core.Bytecode;
import com.github.flinktail.listener.core.Receiver;
import com.github.flinktail.listener.core.ThrowAway;
import java.util.AbstractList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executor;
import java.util.function.Consumer;
import org.apache.flink.api.common.JobID;
import org.apache.flink.api.common.JobStatus;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobStatusChangedListener;
import org.apache.flink.core.execution.JobStatusChangedListenerFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.streaming.api.lineage.DatasetConfigFacet;
import org.apache.flink.streaming.api.lineage.LineageGraph;
import org.apache.flink.streaming.api.lineage.LineageVertex;
import org.apache.flink.streaming.api.lineage.SourceLineageVertex;
import org.apache.flink.streaming.runtime.execution.DefaultJobCreatedEvent;
import org.junit.jupiter.api.Test;

class FlinktailStatusListenerTest {

    @Test
    void tellsOfAChange() throws Exception {
        JsonNode event = report(conf(), listener -> listener.onEvent(Job.status(JobStatus.CREATED, JobStatus.RUNNING, null)));
        assertEquals("job_status", event.get("kind").textValue());
        assertEquals("flink-status-listener", event.get("source").textValue());
        assertEquals(new JobID(1, 2).toHexString(), event.get("job_id").textValue());
        assertEquals("orders", event.get("job_name").textValue());
        assertEquals("CREATED", event.get("status_from").textValue());
        assertEquals("RUNNING", event.get("status_to").textValue());
        assertFalse(event.get("terminal").booleanValue());
        assertEquals("info", event.get("severity").textValue());
        assertNull(event.get("exception_class"));
    }

    @Test
    void tellsOfTheExceptionBehindIt() throws Exception {
        JsonNode event = report(
                conf(), listener -> listener.onEvent(Job.status(JobStatus.FAILING, JobStatus.FAILED, new Job.Broken())));
        assertTrue(event.get("terminal").booleanValue());
        assertEquals("error", event.get("severity").textValue());
        assertEquals(Job.Broken.class.getName(), event.get("exception_class").textValue());
        assertEquals("root", event.get("root_message").textValue());
    }

    @Test
    void onlyAGlobalEndIsTerminal() throws Exception {
        for (JobStatus status : JobStatus.values()) {
            boolean end = status == JobStatus.FINISHED || status == JobStatus.FAILED || status == JobStatus.CANCELED;
            assertEquals(end, terminal(conf(), status), status.name());
            boolean adaptiveEnd = end && status != JobStatus.CANCELED;
            assertEquals(adaptiveEnd, terminal(conf("jobmanager.scheduler", "Adaptive"), status), status.name());
            assertEquals(adaptiveEnd, terminal(conf("scheduler-mode", "REACTIVE"), status), status.name());
            assertEquals(end, terminal(conf("jobmanager.scheduler", "default"), status), status.name());
        }
    }

    private static boolean terminal(Configuration conf, JobStatus status) throws Exception {
        return report(conf, listener -> listener.onEvent(Job.status(JobStatus.RUNNING, status, null))).get("terminal").booleanValue();
    }

    @Test
    void warnsOfTrouble() throws Exception {
        for (JobStatus status : List.of(JobStatus.RESTARTING, JobStatus.FAILING)) {
            JsonNode event = report(conf(), listener -> listener.onEvent(Job.status(JobStatus.RUNNING, status, null)));
            assertEquals("warn", event.get("severity").textValue());
        }
    }

    @Test
    void lineageOfATable() throws Exception {
        Map<String, String> options = Map.of("connector", "jdbc", "url", "jdbc:mysql://u:hunter2@h/db", "password", "hunter2");
        JsonNode event = created(new Job()
                .from(new Job.Dataset("", "cat.db.orders", null).table(options, "id", "password"))
                .to(new Job.Dataset("", "cat.db.out", null).table(Map.of("connector", "print")))
                .related());
        assertEquals("job_created", event.get("kind").textValue());
        assertEquals("STREAMING", event.get("execution_mode").textValue());
        JsonNode source = event.at("/lineage/sources/0");
        assertEquals("cat.db.orders", source.get("name").textValue());
        assertEquals("", source.get("namespace").textValue());
        assertEquals("jdbc", source.get("connector").textValue());
        assertEquals("CONTINUOUS_UNBOUNDED", source.get("boundedness").textValue());
        assertEquals("***", source.at("/options/password").textValue());
        assertEquals("jdbc:mysql://u:***@h/db", source.at("/options/url").textValue());
        assertEquals("[{\"name\":\"id\",\"type\":\"STRING\"},{\"name\":\"password\",\"type\":\"STRING\"}]", source.get("schema").toString());
        assertEquals("print", event.at("/lineage/sinks/0/connector").textValue());
        assertNull(event.at("/lineage/sinks/0").get("boundedness"));
        assertEquals(
                "[{\"source\":{\"namespace\":\"\",\"name\":\"cat.db.orders\"},\"sink\":{\"namespace\":\"\",\"name\":\"cat.db.out\"}}]",
                event.at("/lineage/relations").toString());
        assertNull(event.get("lineage").get("truncated"));
        assertFalse(event.toString().contains("hunter2"));
    }

    @Test
    void lineageOfAConnector() throws Exception {
        JsonNode event = created(new Job().from(new Job.Dataset("kafka://u:hunter2@h:9092", "in", new Job.Bean())));
        assertEquals("kafka://u:***@h:9092", event.at("/lineage/sources/0/namespace").textValue());
        JsonNode bean = event.at("/lineage/sources/0/facets/bean");
        assertEquals("***", bean.at("/properties/sasl.jaas.config").textValue());
        assertEquals("lab", bean.at("/properties/group.id").textValue());
        assertEquals(3, bean.at("/properties/retries").intValue());
        assertTrue(bean.at("/properties/acks").booleanValue());
        assertEquals("[\"in\",\"in-2\"]", bean.at("/inner/topics").toString());
        assertFalse(bean.get("bounded").booleanValue());
        assertEquals("class java.lang.String", bean.get("type").textValue());
        assertNull(bean.get("pattern"));
        assertNull(bean.get("failing"));
        assertFalse(event.toString().contains("hunter2"));
    }

    @Test
    void lineageOfFlinksOwnFacets() throws Exception {
        Job.Dataset dataset = new Job.Dataset("", "t", null);
        dataset.facets.put("config", new DatasetConfigFacet() {
            @Override
            public Map<String, String> config() {
                return Map.of("token", "hunter2", "mode", "fast");
            }

            @Override
            public String name() {
                return "config";
            }
        });
        JsonNode event = created(new Job().to(dataset));
        assertEquals("***", event.at("/lineage/sinks/0/facets/config/token").textValue());
        assertEquals("fast", event.at("/lineage/sinks/0/facets/config/mode").textValue());
    }

    @Test
    void loopsAndRecursionAreCut() throws Exception {
        JsonNode event = created(new Job().from(new Job.Dataset("", "in", new Job.Looping())).to(new Job.Dataset("", "out", null)));
        assertEquals("in", event.at("/lineage/sources/0/name").textValue());
        assertEquals("out", event.at("/lineage/sinks/0/name").textValue());
        assertEquals("fine", event.at("/lineage/sources/0/facets/looping/fine").textValue());
        assertTrue(event.at("/lineage/truncated").booleanValue());
    }

    @Test
    void whatThrowsIsLeftOut() throws Exception {
        LineageGraph graph = new Job() {
            @Override
            public List<SourceLineageVertex> sources() {
                throw new NoSuchMethodError("another version");
            }
        }.to(new Job.Dataset("", "a", null) {
            @Override
            public String name() {
                throw new IllegalStateException();
            }
        }, new Job.Dataset("", "b", null) {
            @Override
            public Job.Table table() {
                throw new IllegalStateException();
            }
        });
        JsonNode event = created(graph);
        assertEquals(0, event.at("/lineage/sources").size());
        assertEquals(1, event.at("/lineage/sinks").size());
        assertEquals("b", event.at("/lineage/sinks/0/name").textValue());
        assertTrue(event.at("/lineage/truncated").booleanValue());
        assertEquals("STREAMING", event.get("execution_mode").textValue());
    }

    @Test
    void withoutAGraphThereIsNoLineage() throws Exception {
        JsonNode event = created(null);
        assertEquals("job_created", event.get("kind").textValue());
        assertNull(event.get("lineage"));
    }

    @Test
    void aHugeGraphKeepsTheNamesAndFits() throws Exception {
        Job job = new Job();
        for (int i = 0; i < 100; i++) {
            String name = "cat.db.table_" + i;
            Map<String, String> options = Map.of("connector", "filesystem", "path", "p".repeat(3000));
            job.from(new Job.Dataset("", name, new Job.Bean()).table(options, "id", "name"));
            job.to(new Job.Dataset("", "out_" + i, null).table(options, "id"));
        }
        JsonNode event = created(job.related());
        assertTrue(event.toString().length() <= 64 * 1024, "it has " + event.toString().length());
        assertEquals(100, event.at("/lineage/sources").size());
        assertEquals(100, event.at("/lineage/sinks").size());
        assertTrue(event.at("/lineage/relations").size() > 50);
        assertTrue(event.at("/lineage/truncated").booleanValue());
    }

    @Test
    void anEndlessGraphEnds() throws Exception {
        LineageVertex vertex = new Job.Sink(endless(new Job.Dataset("", "d", null)));
        JsonNode event = created(new Job() {
            @Override
            public List<LineageVertex> sinks() {
                return endless(vertex);
            }
        });
        assertTrue(event.at("/lineage/sinks").size() > 100);
        assertTrue(event.at("/lineage/truncated").booleanValue());
    }

    private static <T> List<T> endless(T element) {
        return new AbstractList<>() {
            @Override
            public T get(int index) {
                return element;
            }

            @Override
            public int size() {
                return Integer.MAX_VALUE;
            }
        };
    }

    @Test
    void nothingLeavesAListenerOrItsFactory() {
        JobStatusChangedListener listener = new FlinktailStatusListenerFactory().createListener(new JobStatusChangedListenerFactory.Context() {
            @Override
            public Configuration getConfiguration() {
                throw new LinkageError("another version");
            }

            @Override
            public ClassLoader getUserClassLoader() {
                return null;
            }

            @Override
            public Executor getIOExecutor() {
                return null;
            }
        });
        listener.onEvent(Job.status(JobStatus.CREATED, JobStatus.RUNNING, null));
        listener(conf()).onEvent(null);
        listener(new Configuration()).onEvent(new Job().created());
    }

    @Test
    void fiveHundredJobsLeaveNothingBehind() throws Exception {
        try (Receiver receiver = new Receiver()) {
            Configuration conf = receiver.conf();
            ThrowAway.andForget(500, Job.class, loader -> {
                @SuppressWarnings("unchecked")
                Consumer<JobStatusChangedListener> life = loader.make(Job.Life.class, Consumer.class);
                Thread.currentThread().setContextClassLoader(loader);
                life.accept(listener(conf));
                Thread.currentThread().setContextClassLoader(ClassLoader.getSystemClassLoader());
            });
            assertEquals(2000, receiver.await(2000).size());
        }
    }

    @Test
    void runsOnJava11() throws Exception {
        Bytecode.check(FlinktailStatusListener.class, Bytecode.JAVA_11);
    }

    private static Configuration conf(String... options) {
        Configuration conf = new Configuration();
        for (int i = 0; i < options.length; i += 2) {
            conf.setString(options[i], options[i + 1]);
        }
        return conf;
    }

    private static JsonNode created(LineageGraph graph) throws Exception {
        return report(conf(), listener -> listener.onEvent(new DefaultJobCreatedEvent(
                new JobID(1, 2), "orders", graph, RuntimeExecutionMode.STREAMING)));
    }

    private static JsonNode report(Configuration options, Consumer<JobStatusChangedListener> events) throws Exception {
        try (Receiver receiver = new Receiver()) {
            Configuration conf = receiver.conf();
            conf.addAll(options);
            events.accept(listener(conf));
            return receiver.await(1).get(0);
        }
    }

    private static JobStatusChangedListener listener(Configuration conf) {
        return new FlinktailStatusListenerFactory().createListener(new JobStatusChangedListenerFactory.Context() {
            @Override
            public Configuration getConfiguration() {
                return conf;
            }

            @Override
            public ClassLoader getUserClassLoader() {
                return FlinktailStatusListenerTest.class.getClassLoader();
            }

            @Override
            public Executor getIOExecutor() {
                return Runnable::run;
            }
        });
    }
}
