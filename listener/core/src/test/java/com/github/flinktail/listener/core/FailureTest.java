package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.util.SerializedThrowable;
import org.junit.jupiter.api.Test;

class FailureTest {

    @Test
    void tellsTheWholeChain() {
        JsonNode event = event(new RuntimeException("outer", new IOException(new IllegalStateException("root"))));
        assertEquals("java.lang.RuntimeException", event.get("exception_class").textValue());
        assertEquals("outer", event.get("exception_message").textValue());
        assertEquals("java.lang.IllegalStateException", event.get("root_class").textValue());
        assertEquals("root", event.get("root_message").textValue());
        assertEquals(
                "[{\"class\":\"java.lang.RuntimeException\",\"message\":\"outer\"},"
                        + "{\"class\":\"java.io.IOException\",\"message\":\"java.lang.IllegalStateException: root\"},"
                        + "{\"class\":\"java.lang.IllegalStateException\",\"message\":\"root\"}]",
                event.get("exception_chain").toString());
        String trace = event.get("stack_trace").textValue();
        assertTrue(trace.startsWith("java.lang.RuntimeException: outer\n\tat " + FailureTest.class.getName()), trace);
        assertTrue(trace.contains("Caused by: java.lang.IllegalStateException: root\n"), trace);
    }

    @Test
    void noFailureNoFields() {
        assertFalse(event(null).has("exception_class"));
    }

    @Test
    void aCycleOfCausesEnds() {
        RuntimeException a = new RuntimeException("a");
        RuntimeException b = new RuntimeException("b", a);
        RuntimeException c = new RuntimeException("c", b);
        a.initCause(c);
        JsonNode event = event(c);
        assertEquals("a", event.get("root_message").textValue());
        assertEquals(3, event.get("exception_chain").size());
    }

    @Test
    void anEndlessChainEnds() {
        JsonNode event = event(new Endless());
        assertEquals(Endless.class.getName(), event.get("root_class").textValue());
        assertEquals(32, event.get("exception_chain").size());
    }

    @Test
    void aHostileThrowableStillHasItsClass() {
        JsonNode event = event(new Hostile());
        assertEquals(Hostile.class.getName(), event.get("exception_class").textValue());
        assertNull(event.get("exception_message"));
        assertEquals(Hostile.class.getName(), event.get("stack_trace").textValue());
    }

    @Test
    void aSerializedThrowableTellsOfTheOriginal() {
        JsonNode event = event(new SerializedThrowable(
                new RuntimeException("Could not start", new SerializedThrowable(new IOException()))));
        assertEquals("java.lang.RuntimeException", event.get("exception_class").textValue());
        assertEquals("Could not start", event.get("exception_message").textValue());
        assertEquals("java.io.IOException", event.get("root_class").textValue());
        assertNull(event.get("root_message"));
        String trace = event.get("stack_trace").textValue();
        assertTrue(trace.startsWith("java.lang.RuntimeException: Could not start\n\tat "), trace);
    }

    @Test
    void anEventHasAtMost64KiB() {
        Throwable huge = new IOException("\u0001\u20ac".repeat(1 << 20));
        for (int i = 0; i < 400; i++) {
            huge = new RuntimeException("level " + i + " " + "\"".repeat(5000), huge);
        }
        byte[] event = bytes(huge);
        assertTrue(event.length <= 64 * 1024 - 32, "it has " + event.length);
        assertTrue(event.length > 60 * 1024, "it has only " + event.length);
        JsonNode json = Receiver.parse(new String(event, StandardCharsets.UTF_8));
        assertEquals("java.io.IOException", json.get("root_class").textValue());
        assertTrue(json.get("stack_trace").textValue().length() > 5000);
        JsonNode chain = json.get("exception_chain");
        assertEquals("java.io.IOException", chain.get(chain.size() - 1).get("class").textValue());
        byte[] reporting = Event.withDropped(event, Long.MAX_VALUE);
        assertTrue(reporting.length <= 64 * 1024);
        assertEquals(Long.MAX_VALUE, Receiver.parse(new String(reporting, StandardCharsets.UTF_8)).get("source_dropped").longValue());
    }

    private static JsonNode event(Throwable failure) {
        return Receiver.parse(new String(bytes(failure), StandardCharsets.UTF_8));
    }

    private static byte[] bytes(Throwable failure) {
        return Event.write("id", "job_failure", "test", new Origin(new Configuration()), json -> Failure.write(json, failure));
    }

    private static final class Endless extends RuntimeException {
        @Override
        public synchronized Throwable getCause() {
            return new Endless();
        }
    }

    private static final class Hostile extends RuntimeException {
        @Override
        public String getMessage() {
            return getMessage();
        }

        @Override
        public synchronized Throwable getCause() {
            throw new IllegalStateException("no cause for you");
        }

        @Override
        public void printStackTrace(PrintWriter out) {
            throw new NoClassDefFoundError("nothing to print with");
        }
    }
}
