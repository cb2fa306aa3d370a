package com.github.flinktail.listener.core;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.BooleanSupplier;
import java.util.zip.GZIPInputStream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/** A server that answers as a test wants and keeps every request. Checks each line with another JSON library. */
public final class Receiver implements AutoCloseable {

    /** One POST. */
    public record Request(String path, String type, String encoding, String authorization, List<String> lines, long nanos) {}

    /** Answers a request; the status alone, or by hand and then 0. */
    public interface Answer {
        int to(Request request, HttpExchange exchange) throws Exception;
    }

    private static final ObjectMapper JSON = new ObjectMapper();

    private final HttpServer server;
    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final List<Request> requests = new ArrayList<>();
    private final List<JsonNode> taken = new ArrayList<>();
    private volatile Answer answer = (request, exchange) -> 200;

    public Receiver() throws IOException {
        this(0);
    }

    public Receiver(int port) throws IOException {
        server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.setExecutor(threads);
        server.createContext("/", this::handle);
        server.start();
    }

    public Receiver answering(Answer answer) {
        this.answer = answer;
        return this;
    }

    public String url() {
        return "http://127.0.0.1:" + server.getAddress().getPort();
    }

    /** Flink's configuration with this receiver in it. */
    public Configuration conf(String... more) {
        Configuration conf = new Configuration();
        conf.setString("flinktail.url", url());
        conf.setString("flinktail.batch.linger", "10 ms");
        for (int i = 0; i < more.length; i += 2) {
            conf.setString(more[i], more[i + 1]);
        }
        return conf;
    }

    public synchronized List<Request> requests() {
        return new ArrayList<>(requests);
    }

    /** The events of the requests that were answered 200. */
    public synchronized List<JsonNode> taken() {
        return new ArrayList<>(taken);
    }

    /** Waits until so many events have been taken. */
    public List<JsonNode> await(int events) {
        until(() -> taken().size() >= events);
        return taken();
    }

    /** Waits for a condition. */
    public static void until(BooleanSupplier condition) {
        until(condition, 20);
    }

    /** Waits at most so many seconds for a condition. */
    static void until(BooleanSupplier condition, int seconds) {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() - end > 0) {
                throw new AssertionError("waited too long");
            }
            try {
                Thread.sleep(5);
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
        }
    }

    public static JsonNode parse(String line) {
        try {
            return JSON.readTree(line);
        } catch (IOException e) {
            throw new AssertionError("not JSON: " + line, e);
        }
    }

    private void handle(HttpExchange exchange) throws IOException {
        try (exchange) {
            byte[] body = new GZIPInputStream(exchange.getRequestBody()).readAllBytes();
            String text = new String(body, StandardCharsets.UTF_8);
            Request request = new Request(
                    exchange.getRequestURI().getPath(),
                    exchange.getRequestHeaders().getFirst("Content-Type"),
                    exchange.getRequestHeaders().getFirst("Content-Encoding"),
                    exchange.getRequestHeaders().getFirst("Authorization"),
                    text.lines().toList(),
                    System.nanoTime());
            List<JsonNode> events = request.lines().stream().map(Receiver::parse).toList();
            synchronized (this) {
                requests.add(request);
            }
            int status = answer.to(request, exchange);
            if (status == 200) {
                synchronized (this) {
                    taken.addAll(events);
                }
            }
            if (status > 0) {
                byte[] reply = ("{\"accepted\":" + events.size() + ",\"rejected\":[]}").getBytes(StandardCharsets.UTF_8);
                exchange.sendResponseHeaders(status, reply.length);
                exchange.getResponseBody().write(reply);
            }
        } catch (IOException | InterruptedException e) {
            // the sender gave up waiting, or the test is over
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }

    @Override
    public void close() {
        server.stop(0);
        threads.shutdownNow();
    }
}
