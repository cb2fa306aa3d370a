package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Instant;
import java.util.List;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;

class ReporterTest {

    @Test
    void everyEventSaysWhatItIsAndWhereFrom() throws Exception {
        try (Receiver receiver = new Receiver()) {
            Instant before = Instant.now().minusMillis(1);
            Reporter.of("test", receiver.conf(
                            "flinktail.cluster", "prod-1",
                            "flinktail.job.key", "orders",
                            "kubernetes.namespace", "shop",
                            "kubernetes.cluster-id", "orders-flink",
                            "jobmanager.rpc.address", "10.0.0.1"))
                    .report("job_status", json -> json.field("job_id", "ab"));
            JsonNode event = receiver.await(1).get(0);
            assertEquals(1, event.get("schema_version").intValue());
            assertTrue(event.get("event_id").textValue().matches("[0-9a-f-]{36}-\\d+"), event.toString());
            String time = event.get("event_time").textValue();
            assertTrue(time.matches("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z"), time);
            assertFalse(Instant.parse(time).isBefore(before.minusMillis(1)));
            assertEquals("job_status", event.get("kind").textValue());
            assertEquals("test", event.get("source").textValue());
            assertEquals("prod-1", event.get("cluster").textValue());
            assertEquals("shop", event.get("namespace").textValue());
            assertEquals("orders-flink", event.get("resource").textValue());
            assertEquals("orders", event.get("job_key").textValue());
            assertEquals("ab", event.get("job_id").textValue());
            Receiver.Request request = receiver.requests().get(0);
            assertEquals("/v1/events", request.path());
            assertEquals("application/x-ndjson", request.type());
            assertEquals("gzip", request.encoding());
            assertNull(request.authorization());
        }
    }

    @Test
    void theResourceIsTheFirstOneKnown() {
        assertEquals("k8s", resource("kubernetes.cluster-id", "k8s", "yarn.application.id", "yarn"));
        assertEquals("yarn", resource("yarn.application.id", "yarn", "high-availability.cluster-id", "ha"));
        assertEquals("ha", resource("high-availability.cluster-id", "ha", "jobmanager.rpc.address", "host"));
        assertEquals("host", resource("high-availability.cluster-id", "/default", "jobmanager.rpc.address", "host"));
        assertNull(resource());
    }

    private static String resource(String... options) {
        Configuration conf = new Configuration();
        for (int i = 0; i < options.length; i += 2) {
            conf.setString(options[i], options[i + 1]);
        }
        Json json = new Json(1000);
        json.beginObject();
        new Origin(conf).write(json);
        JsonNode resource = Receiver.parse(new String(json.endObject().toBytes())).get("resource");
        return resource == null ? null : resource.textValue();
    }

    @Test
    void aUrlWithAPathIsUsedAsItIs() throws Exception {
        try (Receiver receiver = new Receiver()) {
            Reporter.of("test", receiver.conf("flinktail.url", receiver.url() + "/in/flink")).report("k", json -> {});
            receiver.await(1);
            assertEquals("/in/flink", receiver.requests().get(0).path());
        }
    }

    @Test
    void aBadOptionIsOneLineAndThenNothing() {
        bad("flinktail.url is not set");
        bad("flinktail.url: not a URL", "flinktail.url", "not a url");
        bad("only http and https", "flinktail.url", "file:///etc/passwd");
        bad("no host", "flinktail.url", "http://");
        bad("use flinktail.token.file", "flinktail.url", "http://user:hunter2@127.0.0.1:1");
        bad("flinktail.enabled", "flinktail.enabled", "perhaps", "flinktail.url", "http://127.0.0.1:1");
        bad("flinktail.batch.linger: not a duration", "flinktail.batch.linger", "soon", "flinktail.url", "http://127.0.0.1:1");
        bad("flinktail.buffer.bytes: not a size", "flinktail.buffer.bytes", "big", "flinktail.url", "http://127.0.0.1:1");
        bad("flinktail.buffer.events: 0 is not between", "flinktail.buffer.events", "0", "flinktail.url", "http://127.0.0.1:1");
        bad(
                "flinktail.batch.events: not a whole number; flinktail.flush.timeout: not a duration",
                "flinktail.flush.timeout", "x", "flinktail.batch.events", "x", "flinktail.url", "http://127.0.0.1:1");
    }

    private static void bad(String expected, String... options) {
        Configuration conf = new Configuration();
        for (int i = 0; i < options.length; i += 2) {
            conf.setString(options[i], options[i + 1]);
        }
        // Unlike any other source, as the same line is said only once.
        String source = "source " + expected;
        try (LogLines log = new LogLines()) {
            for (int i = 0; i < 3; i++) {
                Reporter.of(source, conf).report("k", json -> {
                    throw new AssertionError("a reporter that is off asks for no event");
                });
            }
            List<String> lines = log.with("no events from " + source);
            assertEquals(1, lines.size(), lines.toString());
            assertTrue(lines.get(0).contains(expected), lines.get(0));
            assertFalse(lines.get(0).contains("hunter2"), lines.get(0));
            assertFalse(lines.get(0).contains("\n"), lines.get(0));
        }
    }

    @Test
    void switchedOffIsSilent() {
        Configuration conf = new Configuration();
        conf.setString("flinktail.enabled", "false");
        try (LogLines log = new LogLines()) {
            Reporter.of("off", conf).report("k", json -> {
                throw new AssertionError("a reporter that is off asks for no event");
            });
            assertEquals(List.of(), log.with(""));
        }
    }

    @Test
    void anUnknownOptionIsSaidAndIgnored() throws Exception {
        try (Receiver receiver = new Receiver(); LogLines log = new LogLines()) {
            Reporter.of("test", receiver.conf("flinktail.brokers", "x")).report("k", json -> {});
            receiver.await(1);
            assertEquals(1, log.with("unknown options, ignored: flinktail.brokers").size());
        }
    }

    @Test
    void anEventThatCannotBeMadeIsCounted() throws Exception {
        try (Receiver receiver = new Receiver()) {
            Reporter reporter = Reporter.of("test", receiver.conf());
            reporter.report("k", json -> {
                throw new StackOverflowError();
            });
            reporter.report("k", json -> {
                throw new OutOfMemoryError();
            });
            reporter.report("k", json -> {});
            assertEquals(2, receiver.await(1).get(0).get("source_dropped").longValue());
        }
    }
}
