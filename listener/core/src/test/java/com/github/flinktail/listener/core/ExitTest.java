package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.flink.configuration.Configuration;
import org.junit.jupiter.api.Test;

/** What becomes of buffered events when a JVM ends: a client that has submitted a job ends at once. */
class ExitTest {

    /** Reports and ends when its input does, with events still in the buffer. */
    public static final class Client {
        public static void main(String[] args) throws IOException {
            Configuration conf = new Configuration();
            conf.setString("flinktail.url", args[0]);
            conf.setString("flinktail.flush.timeout", args[1]);
            conf.setString("flinktail.batch.linger", args[2]);
            Reporter reporter = Reporter.of("client", conf);
            IntStream.range(0, 50).forEach(i -> reporter.report("k", json -> json.key("n").number(i)));
            while (System.in.read() >= 0) {
                // not yet
            }
            System.exit(3);
        }
    }

    @Test
    void whatIsBufferedIsSent() throws Exception {
        try (Receiver receiver = new Receiver()) {
            assertEquals(3, end(start(receiver, "5 s", "30 s")), "the exit code is the client's");
            assertEquals(50, receiver.taken().size());
        }
    }

    @Test
    void aReceiverThatIsBackInTimeGetsThem() throws Exception {
        try (Receiver receiver = new Receiver()) {
            receiver.answering((request, exchange) -> {
                exchange.getResponseHeaders().add("Retry-After", "60");
                return receiver.requests().size() < 4 ? 503 : 200;
            });
            Process client = start(receiver, "10 s", "1 ms");
            Receiver.until(() -> receiver.requests().size() == 1);
            assertEquals(3, end(client));
            assertEquals(50, receiver.taken().size());
        }
    }

    @Test
    void aReceiverThatHangsDoesNotKeepTheJvm() throws Exception {
        CountDownLatch forever = new CountDownLatch(1);
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            forever.await();
            return 200;
        })) {
            Process client = start(receiver, "300 ms", "1 ms");
            Receiver.until(() -> receiver.requests().size() == 1);
            long start = System.nanoTime();
            assertEquals(3, end(client));
            // Far below the 30 s of a request, with room for a slow machine.
            assertTrue(System.nanoTime() - start < 10_000_000_000L);
        }
    }

    private static Process start(Receiver receiver, String flushTimeout, String linger) throws IOException {
        String java = System.getProperty("java.home") + File.separator + "bin" + File.separator + "java";
        String path = System.getProperty("java.class.path");
        return new ProcessBuilder(java, "-XX:+UseSerialGC", "-cp", path, Client.class.getName(), receiver.url(), flushTimeout, linger)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                .start();
    }

    private static int end(Process client) throws Exception {
        client.getOutputStream().close();
        assertTrue(client.waitFor(30, TimeUnit.SECONDS));
        return client.exitValue();
    }
}
