package com.github.flinktail.listener.core;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.List;
import java.util.regex.Pattern;
import java.util.zip.GZIPOutputStream;

/** Posts batches of events and says what the answer means for them. For use by one thread. */
final class Endpoint {

    enum Verdict {
        /** The receiver has every event, the ones it refused among its dead letters. */
        DELIVERED,
        /** It cannot take them now. */
        RETRY,
        /** It will not take anything from us until somebody changes something. */
        BLOCKED,
        /** It would take fewer. */
        TOO_LARGE,
        /** It will never take these. */
        REFUSED
    }

    static final class Answer {
        final Verdict verdict;
        /** What to tell the administrator; null when all is well. */
        final String reason;
        /** How long the receiver asks us to wait; 0 if it does not say. */
        final long waitMillis;

        Answer(Verdict verdict, String reason, long waitMillis) {
            this.verdict = verdict;
            this.reason = reason;
            this.waitMillis = waitMillis;
        }
    }

    private static final int CONNECT_MILLIS = 10_000;
    private static final int ANSWER_BYTES = 64 * 1024;
    private static final long MAX_WAIT_MILLIS = 600_000;
    private static final int TOKEN_BYTES = 16 * 1024;
    private static final Pattern TOKEN = Pattern.compile("[\\x21-\\x7E]+");
    private static final Pattern REJECTED = Pattern.compile("\"rejected\"\\s*:\\s*\\[\\s*\\{");

    private final URL url;
    private final Path tokenFile;
    private final int timeoutMillis;

    Endpoint(Options options) {
        url = options.url;
        tokenFile = options.tokenFile == null ? null : Paths.get(options.tokenFile);
        timeoutMillis = options.timeoutMillis;
    }

    /** Where the events go, for the log: without a query, which may hold a secret. */
    @Override
    public String toString() {
        return url.getProtocol() + "://" + url.getAuthority() + url.getPath();
    }

    /** Never throws but for an Error. Takes up to about the request timeout. */
    Answer post(List<byte[]> events) {
        String token = null;
        try {
            if (tokenFile != null) {
                // Read for each batch, so that a rotated token is used at once.
                token = token();
            }
            Answer answer = exchange(gzip(events), token);
            boolean rotated = answer.verdict == Verdict.BLOCKED && token != null && !token().equals(token);
            return rotated ? new Answer(Verdict.RETRY, answer.reason, 0) : answer;
        } catch (TokenException e) {
            return new Answer(Verdict.BLOCKED, e.getMessage(), 0);
        } catch (IOException | RuntimeException e) {
            return new Answer(Verdict.RETRY, Log.line(e), 0);
        }
    }

    private Answer exchange(byte[] body, String token) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        try {
            connection.setConnectTimeout(Math.min(CONNECT_MILLIS, timeoutMillis));
            connection.setReadTimeout(timeoutMillis);
            connection.setRequestMethod("POST");
            connection.setUseCaches(false);
            // A followed redirect turns a POST into a GET.
            connection.setInstanceFollowRedirects(false);
            connection.setDoOutput(true);
            // Without it the JDK silently posts a second time when a kept connection turns out to be dead.
            connection.setFixedLengthStreamingMode(body.length);
            connection.setRequestProperty("Content-Type", "application/x-ndjson");
            connection.setRequestProperty("Content-Encoding", "gzip");
            connection.setRequestProperty("Accept", "application/json");
            connection.setRequestProperty("User-Agent", "flinktail-listener");
            if (token != null) {
                connection.setRequestProperty("Authorization", "Bearer " + token);
            }
            try (OutputStream out = connection.getOutputStream()) {
                out.write(body);
            }
            int code = connection.getResponseCode();
            return judge(code, text(connection, code), connection.getHeaderField("Retry-After"));
        } catch (IOException | RuntimeException e) {
            connection.disconnect();
            throw e;
        }
    }

    private static Answer judge(int code, String text, String retryAfter) {
        String reason = "answer " + code;
        switch (code) {
            case 200:
                if (REJECTED.matcher(text).find()) {
                    Log.warnOnce("flinktail: the receiver rejected events and keeps them as dead letters: "
                            + text.substring(0, Math.min(text.length(), 300)));
                }
                return new Answer(Verdict.DELIVERED, null, 0);
            case 413:
                return new Answer(Verdict.TOO_LARGE, reason, 0);
            case 400:
            case 415:
            case 422:
                return new Answer(Verdict.REFUSED, reason, 0);
            case 408:
            case 425:
            case 429:
                return new Answer(Verdict.RETRY, reason, waitMillis(retryAfter));
            default:
                Verdict verdict = code >= 500 || code < 0 ? Verdict.RETRY : Verdict.BLOCKED;
                return new Answer(verdict, reason, waitMillis(retryAfter));
        }
    }

    /** Seconds or a date, as HTTP allows. */
    static long waitMillis(String retryAfter) {
        if (retryAfter == null) {
            return 0;
        }
        long millis;
        try {
            millis = Math.multiplyExact(Long.parseLong(retryAfter.trim()), 1000L);
        } catch (ArithmeticException e) {
            millis = MAX_WAIT_MILLIS;
        } catch (NumberFormatException e) {
            try {
                Instant until = ZonedDateTime.parse(retryAfter.trim(), DateTimeFormatter.RFC_1123_DATE_TIME).toInstant();
                millis = Duration.between(Instant.now(), until).toMillis();
            } catch (DateTimeException f) {
                millis = 0;
            }
        }
        return Math.max(0, Math.min(MAX_WAIT_MILLIS, millis));
    }

    private static byte[] gzip(List<byte[]> events) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        try (GZIPOutputStream gzip = new GZIPOutputStream(out)) {
            for (byte[] event : events) {
                gzip.write(event);
                gzip.write('\n');
            }
        }
        return out.toByteArray();
    }

    /**
     * Reads the answer to its end, so that the connection can be used again, or gives up on a long or
     * broken one: the status alone decides.
     */
    private String text(HttpURLConnection connection, int code) {
        long end = System.nanoTime() + timeoutMillis * 1_000_000L;
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] chunk = new byte[4096];
        try (InputStream in = code < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            for (int n; in != null && (n = in.read(chunk)) >= 0; ) {
                out.write(chunk, 0, n);
                if (out.size() > ANSWER_BYTES || System.nanoTime() - end > 0) {
                    connection.disconnect();
                    break;
                }
            }
        } catch (IOException e) {
            connection.disconnect();
        }
        return new String(out.toByteArray(), StandardCharsets.UTF_8);
    }

    private String token() throws TokenException {
        String text;
        try {
            if (Files.size(tokenFile) > TOKEN_BYTES) {
                throw new TokenException("too large");
            }
            text = new String(Files.readAllBytes(tokenFile), StandardCharsets.US_ASCII).trim();
        } catch (IOException | RuntimeException e) {
            throw new TokenException("unreadable");
        }
        if (!TOKEN.matcher(text).matches()) {
            throw new TokenException("empty, or with characters that a token cannot have");
        }
        return text;
    }

    /** Says what is wrong with the file of the token, never what is in it. */
    private static final class TokenException extends Exception {
        TokenException(String what) {
            super("the file of flinktail.token.file is " + what);
        }
    }
}
