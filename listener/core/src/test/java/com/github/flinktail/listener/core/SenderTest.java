package com.github.flinktail.listener.core;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SenderTest {

    @Test
    void eventsOfManyThreadsArriveOnceAndInOrder() throws Exception {
        try (Receiver receiver = new Receiver()) {
            long before = senders();
            Configuration conf = receiver.conf("flinktail.batch.events", "37");
            List<Thread> threads = IntStream.range(0, 8)
                    .mapToObj(t -> new Thread(() -> {
                        Reporter reporter = Reporter.of("t" + t, conf);
                        IntStream.range(0, 250).forEach(i -> reporter.report("k", json -> json.key("n").number(i)));
                    }))
                    .toList();
            threads.forEach(Thread::start);
            for (Thread thread : threads) {
                thread.join();
            }
            List<JsonNode> events = receiver.await(2000);
            Set<String> ids = new HashSet<>();
            int[] next = new int[8];
            for (JsonNode event : events) {
                assertTrue(ids.add(event.get("event_id").textValue()));
                int t = event.get("source").textValue().charAt(1) - '0';
                assertEquals(next[t]++, event.get("n").intValue());
            }
            assertEquals(2000, events.size());
            assertTrue(receiver.requests().stream().allMatch(r -> r.lines().size() <= 37));
            assertEquals(before + 1, senders(), "one thread for all");
        }
    }

    @Test
    void aFullBufferDropsTheNewestAndSaysHowMany() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            release.await();
            return 200;
        })) {
            Reporter reporter = Reporter.of("test", receiver.conf("flinktail.buffer.events", "5", "flinktail.batch.events", "2"));
            report(reporter, 0, 12);
            // Nobody has answered yet: had one of these waited, the test would hang here.
            Receiver.until(() -> receiver.requests().size() == 1);
            report(reporter, 12, 15);
            release.countDown();
            List<JsonNode> events = receiver.await(5);
            assertEquals(List.of(0, 1, 2, 3, 4), numbers(events));
            Receiver.until(() -> receiver.taken().stream().mapToLong(SenderTest::dropped).sum() == 10);
            report(reporter, 15, 16);
            assertEquals(0, dropped(receiver.await(6).get(5)), "said once");
        }
    }

    @Test
    void theBufferIsBoundedInBytes() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            release.await();
            return 200;
        })) {
            Reporter reporter = Reporter.of("test", receiver.conf("flinktail.buffer.bytes", "64 kb"));
            for (int i = 0; i < 10; i++) {
                reporter.report("k", json -> json.field("big", "x".repeat(20_000), 20_000));
            }
            release.countDown();
            receiver.await(3);
            reporter.report("k", json -> {});
            Receiver.until(() -> receiver.taken().stream().mapToLong(SenderTest::dropped).sum() == 7);
            assertEquals(4, receiver.await(4).size());
        }
    }

    @Test
    void anUnavailableReceiverGetsTheSameBytesAgainAndIsGivenTheTimeItAsksFor() throws Exception {
        AtomicInteger posts = new AtomicInteger();
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            switch (posts.getAndIncrement()) {
                case 0:
                    exchange.getResponseHeaders().add("Retry-After", "1");
                    return 503;
                case 1:
                    return 429;
                case 2:
                    return 500;
                default:
                    return 200;
            }
        })) {
            Reporter reporter = Reporter.of("test", receiver.conf());
            report(reporter, 0, 3);
            receiver.await(3);
            List<Receiver.Request> requests = receiver.requests();
            assertEquals(4, requests.size());
            assertEquals(1, requests.stream().map(Receiver.Request::lines).distinct().count());
            assertTrue(requests.get(1).nanos() - requests.get(0).nanos() >= 1_000_000_000L);
            assertEquals(List.of(0, 1, 2), numbers(receiver.taken()));
        }
    }

    @Test
    void aReceiverThatHangsIsLeftAfterTheTimeout() throws Exception {
        AtomicInteger posts = new AtomicInteger();
        CountDownLatch forever = new CountDownLatch(1);
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            if (posts.getAndIncrement() == 0) {
                forever.await();
            }
            return 200;
        })) {
            report(Reporter.of("test", receiver.conf("flinktail.request.timeout", "200 ms")), 0, 2);
            assertEquals(List.of(0, 1), numbers(receiver.await(2)));
            assertEquals(receiver.requests().get(0).lines(), receiver.requests().get(1).lines());
        }
    }

    @Test
    void aReceiverThatIsNotThereYetIsWaitedFor() throws Exception {
        int port;
        try (ServerSocket socket = new ServerSocket(0)) {
            port = socket.getLocalPort();
        }
        Configuration conf = new Configuration();
        conf.setString("flinktail.url", "http://127.0.0.1:" + port);
        try (LogLines log = new LogLines()) {
            report(Reporter.of("test", conf), 0, 5);
            Receiver.until(() -> log.with("cannot deliver to http://127.0.0.1:" + port).size() == 1);
            try (Receiver receiver = new Receiver(port)) {
                assertEquals(List.of(0, 1, 2, 3, 4), numbers(receiver.await(5)));
                Receiver.until(() -> log.with("delivers to http://127.0.0.1:" + port + "/v1/events again").size() == 1);
            }
            assertEquals(1, log.with("cannot deliver").size());
        }
    }

    @Test
    void aTooLargeBatchIsSplit() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        try (Receiver receiver = new Receiver().answering((request, exchange) -> {
            release.await();
            // Number 5 is too large by itself.
            boolean large = request.lines().size() > 2 || request.lines().stream().anyMatch(line -> line.contains("\"n\":5"));
            return large ? 413 : 200;
        })) {
            Reporter reporter = Reporter.of("test", receiver.conf());
            report(reporter, 0, 10);
            release.countDown();
            assertEquals(List.of(0, 1, 2, 3, 4, 6, 7, 8, 9), numbers(receiver.await(9)));
            report(reporter, 10, 11);
            assertEquals(1, dropped(receiver.await(10).get(9)));
        }
    }

    @Test
    void refusedEventsAreDroppedAndCountedAndSaidOnce() throws Exception {
        try (Receiver receiver = new Receiver(); LogLines log = new LogLines()) {
            receiver.answering((request, exchange) -> 400);
            Reporter reporter = Reporter.of("test", receiver.conf());
            report(reporter, 0, 1);
            Receiver.until(() -> receiver.requests().size() == 1);
            report(reporter, 1, 2);
            Receiver.until(() -> receiver.requests().size() == 2);
            receiver.answering((request, exchange) -> 200);
            report(reporter, 2, 3);
            Receiver.until(() -> receiver.taken().stream().mapToLong(SenderTest::dropped).sum() == 2);
            assertEquals(List.of(2), numbers(receiver.taken()));
            assertEquals(1, log.with("refuses events").size());
        }
    }

    @Test
    void aRotatedTokenIsUsedAtOnce(@TempDir Path dir) throws Exception {
        Path file = Files.writeString(dir.resolve("token"), "old-token\n");
        try (Receiver receiver = new Receiver(); LogLines log = new LogLines()) {
            receiver.answering((request, exchange) -> {
                if ("Bearer new-token".equals(request.authorization())) {
                    return 200;
                }
                exchange.getResponseHeaders().add("WWW-Authenticate", "Bearer");
                Files.writeString(file, "new-token\n");
                return 401;
            });
            report(Reporter.of("test", receiver.conf("flinktail.token.file", file.toString())), 0, 1);
            receiver.await(1);
            assertEquals("Bearer old-token", receiver.requests().get(0).authorization());
            assertEquals(2, receiver.requests().size());
            assertEquals(List.of(), log.with("-token"));
        }
    }

    @Test
    void aMissingTokenIsSaidAtOnceAndNotTriedAgainSoon() throws Exception {
        try (Receiver receiver = new Receiver(); LogLines log = new LogLines()) {
            receiver.answering((request, exchange) -> {
                // With a challenge, which the JDK tries to answer by itself.
                exchange.getResponseHeaders().add("WWW-Authenticate", "Bearer");
                return 401;
            });
            report(Reporter.of("test", receiver.conf()), 0, 1);
            Receiver.until(() -> log.with("cannot deliver").size() == 1);
            assertEquals(1, log.with("answer 401; events are kept").size());
            assertEquals(1, receiver.requests().size());
        }
    }

    @Test
    void withoutRightsEventsAreKeptAndItIsSaidOnce(@TempDir Path dir) throws Exception {
        Path file = dir.resolve("token");
        try (Receiver receiver = new Receiver(); LogLines log = new LogLines()) {
            Reporter reporter = Reporter.of("test", receiver.conf("flinktail.token.file", file.toString()));
            report(reporter, 0, 3);
            Receiver.until(() -> log.with("flinktail.token.file is unreadable").size() == 1);
            assertEquals(List.of(), receiver.requests());
            Files.writeString(file, "good");
            assertEquals(List.of(0, 1, 2), numbers(receiver.await(3)));
            assertEquals(1, log.with("cannot deliver").size());
        }
    }

    @Test
    void endsWhenIdleAndStartsAgain() throws Exception {
        try (Receiver receiver = new Receiver()) {
            Sender sender = new Sender(Options.read(receiver.conf()), 50);
            for (int round = 1; round <= 3; round++) {
                sender.offer("{\"n\":1}".getBytes());
                receiver.await(round);
                Receiver.until(() -> !sender.isRunning());
            }
        }
    }

    @Test
    void theThreadInheritsNothing() throws Exception {
        InheritableThreadLocal<Object> local = new InheritableThreadLocal<>();
        local.set(new Object());
        ClassLoader context = Thread.currentThread().getContextClassLoader();
        Object[] seen = new Object[2];
        ClassLoader jobs = new ClassLoader(context) {};
        Thread.currentThread().setContextClassLoader(jobs);
        try {
            Thread thread = Threads.daemon("test", () -> {
                seen[0] = local.get();
                seen[1] = Thread.currentThread().getContextClassLoader();
            });
            assertTrue(thread.isDaemon());
            assertNull(thread.getThreadGroup().getParent());
            thread.start();
            thread.join();
        } finally {
            Thread.currentThread().setContextClassLoader(context);
        }
        assertNull(seen[0]);
        assertEquals(ClassLoader.getSystemClassLoader(), seen[1]);
    }

    @Test
    void retryAfterIsSecondsOrADate() {
        assertEquals(0, Endpoint.waitMillis(null));
        assertEquals(3000, Endpoint.waitMillis(" 3 "));
        assertEquals(0, Endpoint.waitMillis("-3"));
        assertEquals(0, Endpoint.waitMillis("soon"));
        assertEquals(600_000, Endpoint.waitMillis("99999999999999999"));
        String date = DateTimeFormatter.RFC_1123_DATE_TIME.format(ZonedDateTime.now(ZoneOffset.UTC).plusSeconds(60));
        long wait = Endpoint.waitMillis(date);
        assertTrue(wait > 50_000 && wait <= 60_000, "it was " + wait);
    }

    @Test
    void pausesGrowAndVary() {
        Backoff backoff = new Backoff(100, 1000);
        Set<Long> seen = new HashSet<>();
        for (long bound : new long[] {100, 200, 400, 800, 1000, 1000, 1000}) {
            long pause = backoff.next();
            assertTrue(pause >= bound / 2 && pause <= bound, pause + " of " + bound);
            seen.add(pause);
        }
        assertFalse(seen.size() == 1);
        backoff.reset();
        assertTrue(backoff.next() <= 100);
    }

    private static void report(Reporter reporter, int from, int to) {
        for (int i = from; i < to; i++) {
            int n = i;
            reporter.report("k", json -> json.key("n").number(n));
        }
    }

    private static List<Integer> numbers(List<JsonNode> events) {
        return events.stream().map(event -> event.get("n").intValue()).toList();
    }

    private static long dropped(JsonNode event) {
        return event.path("source_dropped").longValue();
    }

    private static long senders() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().equals("flinktail-sender"))
                .count();
    }
}
